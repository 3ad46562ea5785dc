//! One checkpoint on one chain: signed once, sent until it is included, looked after until it is final.
//!
//! | state | what the next step does |
//! |---|---|
//! | nothing sent | sign, write down, send |
//! | pending | look for the receipt; send the same bytes again; raise the fees of what is stuck |
//! | included | is the block still on the chain, and final? |
//! | dropped | as pending: the same bytes again, or new ones when their nonce was used by something else |
//!
//! The signed transaction is written down before it leaves this machine, and what was written down is sent again rather
//! than signed anew. So a crash at any moment leaves at most one transaction for a nonce, and one nonce for a checkpoint.
//! What nodes say of errors is quoted and never understood: what became of a transaction is asked for by its hash.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use countermark_lineage::anchor::evm::hex::{self, Address, Fixed, Word};
use countermark_lineage::anchor::evm::transaction::Unsigned;
use countermark_lineage::anchor::evm::{calldata, eas, erc7053, keccak256};
use countermark_lineage::anchor::{Commitment, Evidence};
use countermark_lineage::bundle::Bytes;
use countermark_lineage::credential::policy::{AnchorKind, Chain};
use countermark_lineage::digest::Hash;
use countermark_lineage::graph::statement::rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::block::{self, Place};
use super::endpoints::{BlockName, Endpoints};
use super::fees::{self, Fees, Offer};
use super::rpc::{self, Data, Fault, Quantity, SHORT};
use super::signer::Account;
use crate::Error;
use crate::anchor::{Desk, Order, State, Step};

/// Seconds after which a transaction that nobody includes is sent with higher fees.
const STUCK: i64 = 300;
/// How often fees are raised at most: to less than seven times the first ones.
const MOST_RAISES: usize = 16;

/// How a checkpoint is put on a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// As an event of an ERC-7053 contract, whole.
    Erc7053 {
        /// The contract.
        contract: Address,
    },
    /// Its digest, as a time-stamp of EAS.
    Eas {
        /// The contract.
        contract: Address,
    },
    /// Its digest, as the data of a transaction to oneself.
    Calldata,
}

impl Backend {
    /// The kind of anchor that it comes to.
    pub fn kind(&self) -> AnchorKind {
        match self {
            Backend::Erc7053 { .. } => AnchorKind::Evm,
            Backend::Eas { .. } => AnchorKind::Eas,
            Backend::Calldata => AnchorKind::Calldata,
        }
    }
}

/// What to put where, and who pays.
#[derive(Clone, Debug)]
pub struct Plan {
    /// URLs of nodes.
    pub endpoints: Vec<String>,
    /// How many of them must agree; all when left out.
    pub agree: Option<NonZeroU32>,
    /// The chain that is meant; the one of the nodes when left out.
    pub chain_id: Option<u64>,
    /// Key of the account that pays.
    pub key: PathBuf,
    /// How.
    pub backend: Backend,
    /// What may be paid.
    pub fees: Fees,
}

/// A checkpoint on its way to a chain. Written down after every step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    chain_id: u64,
    backend: Backend,
    recorder: Address,
    key: PathBuf,
    endpoints: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agree: Option<NonZeroU32>,
    fees: Fees,
    /// Every transaction that was signed for it, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sent: Vec<Sent>,
    /// A transaction of somebody else that holds it already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found: Option<Word>,
    /// The block that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block: Option<InBlock>,
}

/// A signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    hash: Word,
    nonce: u64,
    offer: Offer,
    raw: Bytes,
    /// Unix seconds when it was signed.
    time: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InBlock {
    number: u64,
    hash: Word,
    /// Unix seconds by its header.
    time: i64,
}

/// What nodes say of a transaction.
enum Found {
    /// So many say that it is there.
    There(Place),
    /// So many say that it is not there that enough cannot say it is.
    Nowhere,
}

impl Work {
    /// Asks the nodes for their chain and the key for its account. Nothing is signed.
    ///
    /// # Errors
    /// When they cannot be asked, or the chain is not the one that is meant.
    pub fn plan(plan: Plan) -> Result<Self, Error> {
        let Plan { endpoints, agree, chain_id, key, backend, fees } = plan;
        let recorder = Account::load(&key)?.address;
        let (endpoints, chain_id) = Endpoints::new(&endpoints, agree)?.on_chain(chain_id)?;
        let key = std::path::absolute(&key).map_err(Error::io(&key, "check the path"))?;
        let endpoints = endpoints.urls().to_vec();
        let (sent, found, block) = (vec![], None, None);
        Ok(Work { chain_id, backend, recorder, key, endpoints, agree, fees, sent, found, block })
    }

    /// The kind of anchor that it comes to.
    pub fn kind(&self) -> AnchorKind {
        self.backend.kind()
    }

    /// The kind, the chain, and a short hash of contract and account: `evm-31337-0a1b2c3d4e5f6071`.
    pub fn name(&self) -> String {
        let contract = match self.backend {
            Backend::Erc7053 { contract } | Backend::Eas { contract } => contract,
            Backend::Calldata => Address::default(),
        };
        let short = Hash::sha256(&[contract.0, self.recorder.0].concat()).short();
        format!("{}-{}-{short}", self.kind().as_str(), self.chain_id)
    }

    /// What a policy says of the chain so that this anchor counts, with the block's hash once it is included.
    pub fn policy(&self) -> Chain {
        let blocks: Vec<Word> = self.block.iter().map(|block| block.hash).collect();
        block::entry(self.chain_id, &self.backend, self.recorder, &blocks)
    }

    /// Hashes of every transaction that was signed for it, the newest last.
    pub fn transactions(&self) -> impl Iterator<Item = Word> {
        self.sent.iter().map(|sent| sent.hash)
    }

    /// Takes what was asked for now: other nodes, another key file, other fees. What was sent stays.
    pub(crate) fn take_settings(&mut self, asked: &Work) {
        let Work { key, endpoints, agree, fees, .. } = asked.clone();
        (self.key, self.endpoints, self.agree, self.fees) = (key, endpoints, agree, fees);
    }

    pub(crate) fn step(&mut self, checkpoint: &str, state: State, desk: &mut Desk<'_>) -> Result<Step, Error> {
        let (endpoints, _) = Endpoints::new(&self.endpoints, self.agree)?.on_chain(Some(self.chain_id))?;
        if state == State::Included
            && let (Some(block), Some(evidence)) = (self.block, &desk.evidence)
        {
            return match endpoints.vouch(block.number, &block.hash)? {
                Some(standing) => Ok(included(&block, self.chain_id, standing.is_final, evidence.clone())),
                None => self.dropped(checkpoint, &block, &endpoints, desk),
            };
        }
        self.pursue(checkpoint, &endpoints, desk)
    }

    /// The chain has another block of this number now.
    fn dropped(
        &mut self,
        checkpoint: &str,
        gone: &InBlock,
        endpoints: &Endpoints,
        desk: &mut Desk<'_>,
    ) -> Result<Step, Error> {
        self.block = None;
        self.found = None;
        let by_number = json!([rpc::quantity(gone.number), false]);
        let now: Option<BlockName> = endpoints.agreed("the block", "eth_getBlockByNumber", by_number)?;
        let now = now.map_or_else(|| "is no more".to_owned(), |block| format!("is {} now", block.hash));
        let told = format!("block {} was {} and {now}", gone.number, gone.hash);
        let step = self.pursue(checkpoint, endpoints, desk)?;
        if step.state == State::Pending {
            return Ok(Step { state: State::Dropped, detail: format!("{told}; {}", step.detail), ..step });
        }
        Ok(step)
    }

    /// Looks what became of what was sent, and sends what is to be sent.
    fn pursue(&mut self, checkpoint: &str, endpoints: &Endpoints, desk: &mut Desk<'_>) -> Result<Step, Error> {
        if let Some(step) = self.look(checkpoint, endpoints)? {
            return Ok(step);
        }
        let Some(last) = self.sent.last().cloned() else { return self.begin(checkpoint, endpoints, desk) };
        let count = self.count(endpoints, "latest")?;
        if count > last.nonce {
            // Receipts may come a moment later than the nonce is gone.
            for _ in 0..5 {
                std::thread::sleep(Duration::from_millis(400));
                if let Some(step) = self.look(checkpoint, endpoints)? {
                    return Ok(step);
                }
            }
            if self.is_replaced(last.nonce, endpoints)? {
                return self.begin(checkpoint, endpoints, desk);
            }
            let detail = format!(
                "nonce {} is used, and too few nodes say so and know none of what was sent for it; nothing new is signed \
                 until they do",
                last.nonce
            );
            return Ok(Step { state: State::Pending, detail, evidence: None });
        }
        let base = fees::base(endpoints)?;
        let is_next = count == last.nonce;
        let is_stuck = base > last.offer.max_fee || desk.now.saturating_sub(last.time) >= STUCK;
        let raises = self.sent.iter().filter(|sent| sent.nonce == last.nonce).count() - 1;
        if is_next && is_stuck && raises < MOST_RAISES {
            match self.fees.raise(&last.offer, base) {
                Ok(offer) => {
                    let raw = self.sign(checkpoint, last.nonce, offer, endpoints, desk)?;
                    return self.send(checkpoint, &raw, endpoints);
                }
                Err(why) => {
                    // A node may have forgotten it meanwhile, and does not take it back at this price.
                    let step = self.send(checkpoint, &last, endpoints);
                    let waits = |detail| Step { state: State::Pending, detail, evidence: None };
                    return Ok(match step {
                        Ok(step) if step.evidence.is_some() => step,
                        Ok(step) => waits(format!("{}; {why}", step.detail)),
                        Err(_) => waits(format!("transaction {}, nonce {}: {why}", last.hash, last.nonce)),
                    });
                }
            }
        }
        let mut waits = String::new();
        if !is_next {
            let others = unsettled(desk, self)?;
            resend(&others, count, endpoints);
            if others.iter().all(|other| other.nonce != count) {
                waits = format!("; waits for a transaction of {} with nonce {count}", self.recorder);
            }
        }
        let mut step = self.send(checkpoint, &last, endpoints)?;
        if step.state == State::Pending {
            step.detail += &waits;
        }
        Ok(step)
    }

    /// Signs the first transaction, or the next one after its nonce was used by something else, and sends it.
    fn begin(&mut self, checkpoint: &str, endpoints: &Endpoints, desk: &mut Desk<'_>) -> Result<Step, Error> {
        let of = Commitment::of(checkpoint);
        if let Backend::Eas { contract } = self.backend
            && let Some(hash) = stamped(endpoints, contract, &of)?
        {
            self.found = Some(hash);
            if let Some(step) = self.look(checkpoint, endpoints)? {
                return Ok(step);
            }
        }
        let base = fees::base(endpoints)?;
        let offer = match self.fees.offer(base) {
            Ok(offer) => offer,
            Err(why) => return Ok(Step { state: State::Pending, detail: format!("not sent: {why}"), evidence: None }),
        };
        let mut nonce = self.count(endpoints, "pending")?;
        let others = unsettled(desk, self)?;
        resend(&others, nonce, endpoints);
        while others.iter().any(|other| other.nonce == nonce) {
            nonce += 1;
        }
        let sent = self.sign(checkpoint, nonce, offer, endpoints, desk)?;
        self.send(checkpoint, &sent, endpoints)
    }

    /// Signs a transaction and writes it down.
    fn sign(
        &mut self,
        checkpoint: &str,
        nonce: u64,
        offer: Offer,
        endpoints: &Endpoints,
        desk: &mut Desk<'_>,
    ) -> Result<Sent, Error> {
        let of = Commitment::of(checkpoint);
        let account = Account::load(&self.key)?;
        if account.address != self.recorder {
            let problem = format!("is the key of {}, and {} began this", account.address, self.recorder);
            return Err(Error::refused(&self.key, problem, "name the key with which it was submitted"));
        }
        let (to, data) = match self.backend {
            Backend::Erc7053 { contract } => (contract, erc7053::calldata(&of)),
            Backend::Eas { contract } => (contract, eas::calldata(&of)),
            Backend::Calldata => (self.recorder, calldata::calldata(&of)),
        };
        if self.backend != Backend::Calldata {
            let Data(code) = endpoints.agreed("the contract", "eth_getCode", json!([to, "latest"]))?;
            if code.is_empty() {
                let help = "check the address and the chain, or deploy a contract with `countermark anchor deploy`";
                return Err(endpoints.refuse(format!("know no contract at {to} on chain {}", self.chain_id), help));
            }
        }
        let call = json!([{ "from": self.recorder, "to": to, "data": hex::encode(&data) }, "latest"]);
        let gas = endpoints.reached("the gas that it takes", "eth_estimateGas", call)?;
        let gas_limit = gas.saturating_add(gas / 5);
        let unsigned = offer.transaction(self.chain_id, nonce, gas_limit, Some(to), data);
        let (hash, raw) = sign(&account, &unsigned)?;
        let sent = Sent { hash, nonce, offer, raw: Bytes(raw), time: desk.now };
        self.sent.push(sent.clone());
        (desk.save)(&Order::Evm(self.clone()))?;
        Ok(sent)
    }

    /// Sends what was signed to every node, and looks for it.
    fn send(&mut self, checkpoint: &str, sent: &Sent, endpoints: &Endpoints) -> Result<Step, Error> {
        let told = broadcast(endpoints, &sent.raw.0);
        // A chain that makes its blocks at once is a moment behind its answer all the same.
        for pause in [0, 50, 100, 200] {
            std::thread::sleep(Duration::from_millis(pause));
            if let Some(step) = self.look(checkpoint, endpoints)? {
                return Ok(step);
            }
        }
        let Sent { hash, nonce, offer, .. } = sent;
        let known = told.taken.max(known(endpoints, hash));
        if known == 0 {
            let problem = format!("do not take transaction {hash}{}", told.refused);
            let help = format!("it will be sent again; {} must have enough to pay for it", self.recorder);
            return Err(endpoints.refuse(problem, &help));
        }
        let raised = self.sent.iter().filter(|other| other.nonce == *nonce).count() - 1;
        let raised = if raised > 0 { format!(", fees raised {raised} times") } else { String::new() };
        let all = endpoints.urls().len();
        let fee = fees::gwei(offer.max_fee);
        let detail =
            format!("transaction {hash}, nonce {nonce}, at most {fee} gwei{raised}; {known} of {all} nodes have it");
        Ok(Step { state: State::Pending, detail, evidence: None })
    }

    /// Where any of the transactions stands, proved.
    fn look(&mut self, checkpoint: &str, endpoints: &Endpoints) -> Result<Option<Step>, Error> {
        let hashes: Vec<Word> = self.sent.iter().rev().map(|sent| sent.hash).chain(self.found).collect();
        for hash in hashes {
            let Found::There(place) = find(endpoints, hash)? else { continue };
            if place.status.0 != 1 {
                return self.reverted(checkpoint, hash, &place, endpoints).map(Some);
            }
            let proved = match block::prove(endpoints, self.chain_id, &self.backend, self.recorder, &place, checkpoint)
            {
                Ok(proved) => proved,
                Err(Error::Lineage(error)) => {
                    let detail = format!("transaction {hash} was carried out and is no anchor: {}", error.problem());
                    return Ok(Some(Step { state: State::Failed, detail, evidence: None }));
                }
                Err(other) => return Err(other),
            };
            let (number, time) = (place.block_number.0, proved.bound.time);
            let block = InBlock { number, hash: place.block_hash, time };
            let Some(standing) = endpoints.vouch(number, &place.block_hash)? else { continue };
            self.block = Some(block);
            return Ok(Some(included(&block, self.chain_id, standing.is_final, proved.evidence)));
        }
        Ok(None)
    }

    /// A transaction of ours is in a block and was not carried out.
    fn reverted(&mut self, checkpoint: &str, hash: Word, place: &Place, endpoints: &Endpoints) -> Result<Step, Error> {
        let of = Commitment::of(checkpoint);
        if let Backend::Eas { contract } = self.backend
            && Some(hash) != self.found
            && let Some(other) = stamped(endpoints, contract, &of)?
        {
            // Somebody else was faster: the digest has its time, and an earlier one.
            self.sent.clear();
            self.found = Some(other);
            if let Some(step) = self.look(checkpoint, endpoints)? {
                return Ok(step);
            }
        }
        let number = place.block_number.0;
        let detail = format!(
            "transaction {hash} is in block {number} and was not carried out (status 0); check the contract and \
             submit again"
        );
        Ok(Step { state: State::Failed, detail, evidence: None })
    }

    /// Whether something else used this nonce. Each node must say both: that it is gone, and that nothing of what was sent is
    /// in a block. Otherwise one that lies and one that is behind would have the same checkpoint paid for twice.
    fn is_replaced(&self, nonce: u64, endpoints: &Endpoints) -> Result<bool, Error> {
        let recorder = self.recorder;
        let hashes: Vec<Word> = self.sent.iter().map(|sent| sent.hash).collect();
        endpoints.agree_that("whether the nonce was used by something else", move |url| {
            let latest = json!([recorder, "latest"]);
            let Quantity(count) = rpc::call(url, "eth_getTransactionCount", &latest, SHORT)?;
            if count <= nonce {
                return Ok(false);
            }
            for hash in &hashes {
                let receipt: Option<Place> = rpc::call(url, "eth_getTransactionReceipt", &json!([hash]), SHORT)?;
                if receipt.is_some() {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    fn count(&self, endpoints: &Endpoints, at: &str) -> Result<u64, Error> {
        endpoints.reached("the account's nonce", "eth_getTransactionCount", json!([self.recorder, at]))
    }
}

fn included(block: &InBlock, chain_id: u64, is_final: bool, evidence: Evidence) -> Step {
    let InBlock { number, hash, time } = block;
    let (state, end) = match is_final {
        true => (State::Final, ""),
        false => (State::Included, "; may still be reorganised"),
    };
    let detail = format!("block {number} of chain {chain_id} ({hash}), {}{end}", rfc3339(*time));
    Step { state, detail, evidence: Some(evidence) }
}

/// What other jobs of the log signed for this account and what may not be on the chain for good, in the order of nonces; of
/// one nonce the newest.
fn unsettled(desk: &Desk<'_>, work: &Work) -> Result<Vec<Sent>, Error> {
    let mut sent = BTreeMap::new();
    for (size, name, job) in desk.jobs.all()? {
        let is_other = size != desk.size || name != work.name();
        if let Order::Evm(other) = job.order
            && (is_other && !job.state.is_done())
            && (other.chain_id, other.recorder) == (work.chain_id, work.recorder)
        {
            sent.extend(other.sent.into_iter().map(|sent| (sent.nonce, sent)));
        }
    }
    Ok(sent.into_values().collect())
}

/// What was signed and never sent, or forgotten by the nodes, would hold up everything behind it.
fn resend(others: &[Sent], from: u64, endpoints: &Endpoints) {
    for other in others.iter().filter(|other| other.nonce >= from) {
        broadcast(endpoints, &other.raw.0);
    }
}

/// Hash and bytes of a transaction, signed.
pub(super) fn sign(account: &Account, unsigned: &Unsigned) -> Result<(Word, Vec<u8>), Error> {
    let signed = account.sign(&unsigned.signing_hash())?;
    let raw = unsigned.signed(signed.is_odd, &signed.r, &signed.s);
    Ok((keccak256(&raw), raw))
}

/// How many took it, and what the others say.
pub(super) struct Told {
    pub taken: usize,
    pub refused: String,
}

/// Gives every node a signed transaction.
pub(super) fn broadcast(endpoints: &Endpoints, raw: &[u8]) -> Told {
    let hash = keccak256(raw);
    let voices = endpoints.all::<Word>("eth_sendRawTransaction", json!([hex::encode(raw)]));
    let (mut taken, mut refused) = (0, String::new());
    for voice in voices {
        match voice.said {
            Ok(said) if said == hash => taken += 1,
            Ok(said) => refused += &format!("; {}", endpoints.told(voice.at, &Fault::Unusable(format!("took {said}")))),
            Err(fault) => refused += &format!("; {}", endpoints.told(voice.at, &fault)),
        }
    }
    Told { taken, refused }
}

/// How many nodes know a transaction, in their pool or in a block.
fn known(endpoints: &Endpoints, hash: &Word) -> usize {
    #[derive(Deserialize)]
    struct Known {
        hash: Word,
    }
    let voices = endpoints.all::<Option<Known>>("eth_getTransactionByHash", json!([hash]));
    let knows = |said: &Option<Known>| said.as_ref().is_some_and(|known| known.hash == *hash);
    voices.iter().filter(|voice| voice.said.as_ref().is_ok_and(knows)).count()
}

/// Where a transaction stands, by the word of enough nodes.
fn find(endpoints: &Endpoints, hash: Word) -> Result<Found, Error> {
    let place = endpoints.weighed::<Place>("the receipt", "eth_getTransactionReceipt", json!([hash]))?;
    Ok(place.map_or(Found::Nowhere, Found::There))
}

/// The transaction by which somebody had EAS stamp this digest, if anybody did.
fn stamped(endpoints: &Endpoints, contract: Address, of: &Commitment<'_>) -> Result<Option<Word>, Error> {
    let call = json!([{ "to": contract, "data": hex::encode(&eas::question(of)) }, "latest"]);
    let Data(word) = endpoints.agreed("the time of the digest", "eth_call", call)?;
    let time = match <[u8; 8]>::try_from(word.get(24..32).unwrap_or_default()) {
        Ok(time) if word.len() == 32 && word[..24].iter().all(|byte| *byte == 0) => u64::from_be_bytes(time),
        _ => return Err(endpoints.refuse(format!("know no EAS at {contract}"), "check the address and the chain")),
    };
    if time == 0 {
        return Ok(None);
    }
    let topics = json!([eas::topic(), Fixed(of.digest.0)]);
    let (from, to) = blocks_at(endpoints, time)?;
    #[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Event {
        transaction_hash: Word,
    }
    let filter: Value = json!([{
        "address": contract, "topics": topics, "fromBlock": rpc::quantity(from), "toBlock": rpc::quantity(to),
    }]);
    let events: Vec<Event> = endpoints.agreed("the earlier time-stamp", "eth_getLogs", filter)?;
    let Some(event) = events.first() else {
        let problem = format!("stamped the digest at {time} and know no event of it");
        return Err(endpoints.refuse(problem, "name nodes that keep older events"));
    };
    Ok(Some(event.transaction_hash))
}

/// The first and the last block of this time, found by halving: nodes answer short ranges of blocks only.
fn blocks_at(endpoints: &Endpoints, time: u64) -> Result<(u64, u64), Error> {
    let at = |tag: Value| -> Result<BlockName, Error> {
        let block: Option<BlockName> = endpoints.agreed("a block", "eth_getBlockByNumber", json!([tag, false]))?;
        block.ok_or_else(|| endpoints.refuse("do not know a block below their newest", "name other nodes"))
    };
    let newest = at(json!("latest"))?.number.0;
    let first_not_before = |time: u64| -> Result<u64, Error> {
        let (mut low, mut high) = (0, newest + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if at(json!(rpc::quantity(middle)))?.timestamp.0 < time { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    };
    let first = first_not_before(time)?;
    let last = first_not_before(time + 1)?.saturating_sub(1);
    if first > newest || last < first || last - first > 256 {
        return Err(endpoints.refuse(format!("know no block of the time {time}"), "name other nodes"));
    }
    Ok((first, last))
}
