//! Blocks of a chain of one's own. Anybody can make them, with a perfect proof: what a verifier must judge.

use countermark_lineage::anchor::Commitment;
use countermark_lineage::anchor::evm::hex::{Fixed, Word};
use countermark_lineage::anchor::evm::receipt::{Log, Receipt};
use countermark_lineage::anchor::evm::transaction::{Unsigned, address_of};
use countermark_lineage::anchor::evm::{EventProof, TransactionProof, calldata, erc7053, hex, keccak256, rlp, trie};
use countermark_lineage::bundle::Bytes;
use k256::ecdsa::SigningKey;

/// What is in it.
pub struct Block {
    pub chain_id: u64,
    pub number: u64,
    /// Unix seconds.
    pub timestamp: u64,
    pub transactions: Vec<Vec<u8>>,
    pub receipts: Vec<Vec<u8>>,
}

/// The contract that emits the commits.
pub const CONTRACT: hex::Address = Fixed([0xc0; 20]);

/// The key of an account, by a number.
pub fn account(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number + 1; 32]).expect("small numbers are keys")
}

/// The account's address.
pub fn address(number: u8) -> hex::Address {
    address_of(account(number).verifying_key())
}

/// A transaction of EIP-1559.
pub fn transaction(chain_id: u64, from: u8, to: Option<hex::Address>, data: Vec<u8>) -> Vec<u8> {
    let (max_priority_fee, max_fee, gas_limit) = (1_000_000_000, 3_000_000_000, 60_000);
    let unsigned = Unsigned { chain_id, nonce: 7, max_priority_fee, max_fee, gas_limit, to, value: 0, data };
    let signed = account(from).sign_prehash_recoverable(&unsigned.signing_hash().0);
    let (signature, id) = signed.expect("a hash can be signed");
    unsigned.signed(id.is_y_odd(), &signature.r().to_bytes().into(), &signature.s().to_bytes().into())
}

impl Block {
    /// A block with `count` transactions. The one at `index` commits the checkpoint, by account 0; the others commit
    /// checkpoints of the same length by other accounts.
    pub fn busy(chain_id: u64, timestamp: u64, of: &Commitment<'_>, count: u64, index: u64) -> Self {
        let mut block = Block { chain_id, number: 1_234_567, timestamp, transactions: vec![], receipts: vec![] };
        for place in 0..count {
            let other = format!("{place}{}", &of.checkpoint[place.to_string().len()..]);
            let (from, of) = if place == index { (0, *of) } else { (1 + place as u8, Commitment::of(&other)) };
            let log = erc7053::log(CONTRACT, address(from), &of);
            block.push(transaction(chain_id, from, Some(CONTRACT), erc7053::calldata(&of)), true, vec![log]);
        }
        block
    }

    /// A block with one transaction, by account 0, that carries the digest.
    pub fn plain(chain_id: u64, timestamp: u64, of: &Commitment<'_>) -> Self {
        let mut block = Block { chain_id, number: 8, timestamp, transactions: vec![], receipts: vec![] };
        block.push(transaction(chain_id, 0, Some(address(0)), calldata::calldata(of)), true, vec![]);
        block
    }

    /// Puts a transaction behind the others.
    pub fn push(&mut self, transaction: Vec<u8>, status: bool, logs: Vec<Log>) {
        self.transactions.push(transaction);
        let gas = 32_620 * self.transactions.len() as u64;
        self.receipts.push(Receipt::new(2, status, gas, logs).to_bytes());
    }

    /// RLP of the header, with the fields of the hard fork Prague.
    pub fn header(&self) -> Vec<u8> {
        let word = |byte: u8| rlp::bytes(&[byte; 32]);
        rlp::list(&[
            word(0xaa),
            word(0x1d),
            rlp::bytes(&[0xfe; 20]),
            word(0x57),
            rlp::bytes(&trie::root(&self.transactions).0),
            rlp::bytes(&trie::root(&self.receipts).0),
            rlp::bytes(&[0xb1; 256]),
            rlp::number(0),
            rlp::number(self.number.into()),
            rlp::number(30_000_000),
            rlp::number(32_620 * self.receipts.len() as u128),
            rlp::number(self.timestamp.into()),
            rlp::bytes(b"builder"),
            word(0x3a),
            rlp::bytes(&[0; 8]),
            rlp::number(1_000_000_000),
            word(0x3b),
            rlp::number(0),
            rlp::number(0),
            word(0x3c),
            word(0x3d),
        ])
    }

    pub fn hash(&self) -> Word {
        keccak256(&self.header())
    }

    /// Proof of the event at `log` of the transaction at `index`. Nothing is checked.
    pub fn event(&self, index: u64, log: u64) -> EventProof {
        let nodes = trie::prove(&self.receipts, index).expect("there is such a receipt").nodes;
        EventProof { chain_id: self.chain_id, header: Bytes(self.header()), index, nodes, log }
    }

    /// Proof of the transaction at `index`. Nothing is checked.
    pub fn transaction(&self, index: u64) -> TransactionProof {
        let nodes = trie::prove(&self.transactions, index).expect("there is such a transaction").nodes;
        TransactionProof { chain_id: self.chain_id, header: Bytes(self.header()), index, nodes }
    }
}
