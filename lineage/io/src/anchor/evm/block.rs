//! What is captured when a transaction is included: the header, and everything under one of its two roots, since nodes may
//! drop it later. All of it proves itself by the block's hash, so that any one node will do.

use countermark_lineage::anchor::evm::header::Header;
use countermark_lineage::anchor::evm::hex::{Address, Fixed, Word};
use countermark_lineage::anchor::evm::receipt::{Log, Receipt};
use countermark_lineage::anchor::evm::trie::{self, Proof};
use countermark_lineage::anchor::evm::{EventProof, TransactionProof, eas, erc7053, keccak256, rlp};
use countermark_lineage::anchor::{self, Anchor, Bound, Commitment, Evidence, Standing, Trust};
use countermark_lineage::bundle::Bytes;
use countermark_lineage::credential::policy::{Chain, Policy};
use serde::Deserialize;
use serde_json::json;

use super::endpoints::Endpoints;
use super::rpc::{self, Data, Fault, LONG, Quantity, SHORT};
use super::work::Backend;
use crate::Error;

/// Transactions that are asked for in one request.
const AT_ONCE: usize = 100;

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    pub block_hash: Word,
    pub block_number: Quantity,
    pub transaction_index: Quantity,
    /// 1: it was carried out.
    pub status: Quantity,
    /// Of the contract that it made.
    pub contract_address: Option<Address>,
}

/// A header in JSON (execution API), without what no field of the header is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    parent_hash: Word,
    sha3_uncles: Word,
    miner: Address,
    state_root: Word,
    transactions_root: Word,
    receipts_root: Word,
    logs_bloom: Fixed<256>,
    difficulty: Quantity,
    number: Quantity,
    gas_limit: Quantity,
    gas_used: Quantity,
    timestamp: Quantity,
    extra_data: Data,
    mix_hash: Word,
    nonce: Fixed<8>,
    base_fee_per_gas: Option<Quantity>,
    withdrawals_root: Option<Word>,
    blob_gas_used: Option<Quantity>,
    excess_blob_gas: Option<Quantity>,
    parent_beacon_block_root: Option<Word>,
    requests_hash: Option<Word>,
    block_access_list_hash: Option<Word>,
    transactions: Vec<Word>,
}

impl Block {
    /// RLP: the fields in their order, each fork's behind those of the fork before.
    fn header(&self) -> Vec<u8> {
        let word = |word: &Word| rlp::bytes(&word.0);
        let number = |number: &Quantity| rlp::number(number.0.into());
        let first = [
            word(&self.parent_hash),
            word(&self.sha3_uncles),
            rlp::bytes(&self.miner.0),
            word(&self.state_root),
            word(&self.transactions_root),
            word(&self.receipts_root),
            rlp::bytes(&self.logs_bloom.0),
            number(&self.difficulty),
            number(&self.number),
            number(&self.gas_limit),
            number(&self.gas_used),
            number(&self.timestamp),
            rlp::bytes(&self.extra_data.0),
            word(&self.mix_hash),
            rlp::bytes(&self.nonce.0),
        ];
        let later = [
            self.base_fee_per_gas.as_ref().map(number),
            self.withdrawals_root.as_ref().map(word),
            self.blob_gas_used.as_ref().map(number),
            self.excess_blob_gas.as_ref().map(number),
            self.parent_beacon_block_root.as_ref().map(word),
            self.requests_hash.as_ref().map(word),
            self.block_access_list_hash.as_ref().map(word),
        ];
        rlp::list(&first.into_iter().chain(later.into_iter().flatten()).collect::<Vec<_>>())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonReceipt {
    #[serde(rename = "type")]
    kind: Quantity,
    status: Quantity,
    cumulative_gas_used: Quantity,
    logs_bloom: Fixed<256>,
    logs: Vec<JsonLog>,
    /// Only of deposits on chains of the OP Stack.
    deposit_nonce: Option<Quantity>,
    deposit_receipt_version: Option<Quantity>,
}

#[derive(Deserialize)]
struct JsonLog {
    address: Address,
    topics: Vec<Word>,
    data: Data,
}

impl JsonReceipt {
    fn read(self) -> Result<Receipt, Fault> {
        let strange = || Fault::Unusable("describes a receipt of an unknown form".to_owned());
        let log = |log: JsonLog| Log { address: log.address, topics: log.topics, data: log.data.0 };
        let extra = [self.deposit_nonce, self.deposit_receipt_version];
        Ok(Receipt {
            kind: u8::try_from(self.kind.0).map_err(|_| strange())?,
            status: match self.status.0 {
                0 => false,
                1 => true,
                _ => return Err(strange()),
            },
            cumulative_gas: self.cumulative_gas_used.0,
            bloom: self.logs_bloom.0,
            logs: self.logs.into_iter().map(log).collect(),
            extra: extra.into_iter().flatten().map(|number| rlp::number(number.0.into())).collect(),
        })
    }
}

/// What a block is called, and its header in RLP.
pub(super) struct Captured {
    pub header: Vec<u8>,
    pub parsed: Header,
    transactions: usize,
}

/// The header of the block with this hash.
pub(super) fn header(endpoints: &Endpoints, hash: &Word) -> Result<Captured, Error> {
    let hash = *hash;
    endpoints.first("header of the block", |url| {
        let block: Option<Block> = rpc::call(url, "eth_getBlockByHash", &json!([hash, false]), SHORT)?;
        let block = block.ok_or_else(|| Fault::Unusable(format!("does not know block {hash}")))?;
        let header = block.header();
        let unknown = || Fault::Unusable("describes a header of an unknown layout, or another one".to_owned());
        if keccak256(&header) != hash {
            return Err(unknown());
        }
        let parsed = Header::parse(&header).map_err(|_| unknown())?;
        Ok(Captured { header, parsed, transactions: block.transactions.len() })
    })
}

/// All receipts of the block, as they stand in the trie.
fn receipts(endpoints: &Endpoints, block: &Captured) -> Result<Vec<Receipt>, Error> {
    let hash = block.parsed.hash;
    endpoints.first("receipts of the block", |url| {
        let receipts: Vec<JsonReceipt> = rpc::call(url, "eth_getBlockReceipts", &json!([hash]), LONG)?;
        let receipts = receipts.into_iter().map(JsonReceipt::read).collect::<Result<Vec<_>, _>>()?;
        let values: Vec<Vec<u8>> = receipts.iter().map(Receipt::to_bytes).collect();
        if trie::root(&values) == block.parsed.receipts_root {
            return Ok(receipts);
        }
        Err(Fault::Unusable("gives receipts that do not lead to the block's root".to_owned()))
    })
}

/// All transactions of the block, as they stand in the trie.
fn transactions(endpoints: &Endpoints, block: &Captured) -> Result<Vec<Vec<u8>>, Error> {
    let hash = block.parsed.hash;
    endpoints.first("transactions of the block", |url| {
        let params: Vec<_> = (0..block.transactions as u64).map(|at| json!([hash, rpc::quantity(at)])).collect();
        let mut values: Vec<Vec<u8>> = vec![];
        let mut left = LONG;
        for params in params.chunks(AT_ONCE) {
            let some: Vec<Data> = rpc::batch(url, "eth_getRawTransactionByBlockHashAndIndex", params, left)?;
            left = left.saturating_sub(some.iter().map(|value| 2 * value.0.len()).sum());
            values.extend(some.into_iter().map(|value| value.0));
        }
        if trie::root(&values) == block.parsed.transactions_root {
            return Ok(values);
        }
        Err(Fault::Unusable("gives transactions that do not lead to the block's root".to_owned()))
    })
}

/// Evidence that is checked already, and what it comes to for somebody who believes the block.
pub(super) struct Proved {
    pub evidence: Evidence,
    pub bound: Bound,
}

/// Builds the proof of an anchor that stands at `place`, and has the verifier of bundles judge it.
///
/// # Errors
/// When no node gives what is needed; [`Error::Lineage`] when the transaction holds no such anchor.
pub(super) fn prove(
    endpoints: &Endpoints,
    chain_id: u64,
    backend: &Backend,
    recorder: Address,
    place: &Place,
    checkpoint: &str,
) -> Result<Proved, Error> {
    let of = Commitment::of(checkpoint);
    let block = header(endpoints, &place.block_hash)?;
    let index = place.transaction_index.0;
    let missing = |what: &str| {
        let problem = format!("transaction {index} of block {} {what}", block.parsed.number);
        Error::Lineage(countermark_lineage::Error::input("anchor", problem, "check the address of the contract"))
    };
    let proof = |values: &[Vec<u8>]| trie::prove(values, index).ok_or_else(|| missing("is not there"));
    let header = Bytes(block.header.clone());
    let evidence = match backend {
        Backend::Erc7053 { contract } | Backend::Eas { contract } => {
            let receipts = receipts(endpoints, &block)?;
            let values: Vec<Vec<u8>> = receipts.iter().map(Receipt::to_bytes).collect();
            let Proof { nodes, .. } = proof(&values)?;
            let logs = &receipts[index as usize].logs;
            let is_eas = matches!(backend, Backend::Eas { .. });
            let log = if is_eas {
                eas::find(logs, *contract, block.parsed.timestamp, &of)
            } else {
                erc7053::find(logs, *contract, recorder, &of)
            };
            let log = log.ok_or_else(|| missing("holds no event of the contract over this checkpoint"))?;
            let proof = EventProof { chain_id, header, index, nodes, log };
            if is_eas { Evidence::Eas(proof) } else { Evidence::Evm(proof) }
        }
        Backend::Calldata => {
            let Proof { nodes, .. } = proof(&transactions(endpoints, &block)?)?;
            Evidence::Calldata(TransactionProof { chain_id, header, index, nodes })
        }
    };
    let policy = Policy { chains: vec![entry(chain_id, backend, recorder, &[place.block_hash])], ..Policy::default() };
    let anchor = Anchor { checkpoint: checkpoint.to_owned(), evidence };
    match anchor::check(&anchor, &Trust { policy: &policy, blocks: None })? {
        Standing::Bound(bound) => Ok(Proved { evidence: anchor.evidence, bound }),
        Standing::Pending(why) | Standing::Unjudged(why) => Err(missing(&format!("does not verify: {why}"))),
    }
}

/// What a policy says of a chain so that anchors made this way count.
pub(super) fn entry(chain_id: u64, backend: &Backend, recorder: Address, blocks: &[Word]) -> Chain {
    let (mut contract, mut eas) = (None, None);
    match backend {
        Backend::Erc7053 { contract: address } => contract = Some(*address),
        Backend::Eas { contract: address } => eas = Some(*address),
        Backend::Calldata => {}
    }
    let name = match chain_id {
        1 => "ethereum".to_owned(),
        10 => "optimism".to_owned(),
        137 => "polygon".to_owned(),
        8453 => "base".to_owned(),
        42161 => "arbitrum".to_owned(),
        17000 => "holesky".to_owned(),
        31337 => "local".to_owned(),
        560048 => "hoodi".to_owned(),
        11_155_111 => "sepolia".to_owned(),
        other => format!("chain-{other}"),
    };
    // A time-stamp of EAS names nobody.
    let recorders = if eas.is_some() { vec![] } else { vec![recorder] };
    Chain { name, chain_id, contract, eas, recorders, blocks: blocks.to_vec(), endpoints: vec![], agree: None }
}
