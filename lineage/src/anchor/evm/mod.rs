//! Anchors in transactions of a chain with Ethereum's machine, checked without any node.
//!
//! The proof leads from a log event or a transaction through a Merkle-Patricia trie to one block header. What stays
//! trusted is the hash of that header: nothing in it names the chain.

pub mod abi;
pub mod calldata;
pub mod eas;
pub mod erc7053;
pub mod header;
pub mod hex;
pub mod receipt;
pub mod rlp;
pub mod transaction;
pub mod trie;

use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Keccak256};

use super::{Bound, Standing, Trust};
use crate::Error;
use crate::bundle::Bytes;
use crate::credential::policy::Chain;
use header::Header;
use hex::Word;
use receipt::{Log, Receipt};

/// Proof of an event: ERC-7053 `Commit`, or EAS `Timestamped`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventProof {
    /// Which chain, by the word of whoever made the proof.
    pub chain_id: u64,
    /// RLP of the block header.
    pub header: Bytes,
    /// Place of the transaction in the block.
    pub index: u64,
    /// Nodes of the receipts trie, from the root down to the one that holds the receipt.
    pub nodes: Vec<Bytes>,
    /// Place of the event among those of the receipt.
    pub log: u64,
}

/// Proof of a transaction whose data is the digest of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionProof {
    /// Which chain, by the word of whoever made the proof.
    pub chain_id: u64,
    /// RLP of the block header.
    pub header: Bytes,
    /// Place of the transaction in the block.
    pub index: u64,
    /// Nodes of the transactions trie, from the root down to the one that holds the transaction.
    pub nodes: Vec<Bytes>,
}

impl EventProof {
    /// Proves the event at `log` of the receipt at `index`.
    ///
    /// `receipts` are those of the whole block, as they stand in the trie ([`Receipt::to_bytes`]).
    ///
    /// # Errors
    /// [`Error::Input`] when header, receipts and places do not fit together.
    pub fn make(chain_id: u64, header: Vec<u8>, receipts: &[Vec<u8>], index: u64, log: u64) -> Result<Self, Error> {
        let nodes = prove(Header::parse(&header)?.receipts_root, receipts, index)?;
        let proof = EventProof { chain_id, header: Bytes(header), index, nodes, log };
        event(&proof)?;
        Ok(proof)
    }
}

impl TransactionProof {
    /// Proves the transaction at `index`. `transactions` are those of the whole block, as they stand in the trie.
    ///
    /// # Errors
    /// As [`EventProof::make`].
    pub fn make(chain_id: u64, header: Vec<u8>, transactions: &[Vec<u8>], index: u64) -> Result<Self, Error> {
        let nodes = prove(Header::parse(&header)?.transactions_root, transactions, index)?;
        Ok(TransactionProof { chain_id, header: Bytes(header), index, nodes })
    }
}

fn prove(root: Word, values: &[Vec<u8>], index: u64) -> Result<Vec<Bytes>, Error> {
    let refuse =
        |problem: String| Err(Error::input("block", problem, "ask another node for the block and its receipts"));
    match trie::prove(values, index) {
        None => refuse(format!("has {} transactions, and none at {index}", values.len())),
        Some(proof) if proof.root != root => refuse("its transactions or receipts are not those of its header".into()),
        Some(proof) => Ok(proof.nodes),
    }
}

/// What a source of blocks says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockStanding {
    /// Who vouches for it, for people: `2 of 3 endpoints`.
    pub source: String,
    /// True when the chain itself calls it final.
    pub is_final: bool,
}

/// Somebody to ask whether a block is part of a chain: nodes, when verification may use the network.
pub trait Blocks {
    /// Whether the block with this hash is on the chain. `None`: nobody vouches for it.
    ///
    /// # Errors
    /// When nobody could be asked.
    fn standing(&self, chain_id: u64, number: u64, hash: &Word) -> Result<Option<BlockStanding>, Error>;
}

/// Keccak-256 with the padding of the time before the standard.
pub fn keccak256(bytes: &[u8]) -> Word {
    hex::Fixed(Keccak256::digest(bytes).into())
}

/// What to do about evidence that does not hold.
pub(crate) const HELP: &str = "fetch the bundle again from where it was published, or make the anchor's proof anew";

/// Times behind the year 9999 cannot be written down.
const LAST_TIME: u64 = 253_402_300_799;

/// The block to which a proof leads, on a chain by the word of whoever made the proof.
struct Block {
    chain_id: u64,
    header: Header,
}

impl Block {
    /// Whether anybody whom the policy knows vouches for the block, once `counts` finds nothing missing in the chain's
    /// entry.
    fn judge(&self, trust: &Trust<'_>, counts: impl FnOnce(&Chain) -> Result<(), String>) -> Result<Standing, Error> {
        let Header { hash, number, timestamp, .. } = &self.header;
        let Some(time) = i64::try_from(*timestamp).ok().filter(|_| *timestamp <= LAST_TIME) else {
            return Err(Error::input("header field 11", format!("{timestamp} is no time in seconds"), HELP));
        };
        let id = self.chain_id;
        let Some(chain) = trust.policy.chain(id) else {
            let why = format!("the policy names no chain {id}; give it a [[chain]] with chain_id = {id}");
            return Ok(Standing::Unjudged(why));
        };
        let name = &chain.name;
        if let Err(missing) = counts(chain) {
            return Ok(Standing::Unjudged(format!("the policy's [[chain]] {name} {missing}")));
        }
        let block = format!("block {number} of {name}, hash {hash}");
        let bound = |who: String, is_final| {
            // The time is its producer's word: on a chain with one sequencer nobody checks it.
            let source = format!("{block}, {who}; the time is the one in its header");
            Standing::Bound(Bound { time, source, is_final })
        };
        // A pin says that the block is on the chain, by the word of the policy's author: no reorganisation undoes it.
        if chain.blocks.contains(hash) {
            return Ok(bound("whose hash the policy pins".to_owned(), true));
        }
        let pin = format!("add blocks = [\"{hash}\"] to the policy's [[chain]] {name} once you know it from elsewhere");
        let unjudged = |why: String| Standing::Unjudged(format!("{block}: {why}; {pin}"));
        Ok(match trust.blocks.map(|blocks| blocks.standing(id, *number, hash)) {
            Some(Ok(Some(standing))) => bound(format!("for which {} vouch", standing.source), standing.is_final),
            Some(Ok(None)) => unjudged("the policy's endpoints do not vouch for it".to_owned()),
            Some(Err(error)) => unjudged(format!("nobody could be asked ({})", error.problem())),
            None => unjudged("nobody vouches for it".to_owned()),
        })
    }
}

/// The event to which a proof leads, and the header of its block.
fn event(proof: &EventProof) -> Result<(Header, Log), Error> {
    let header = Header::parse(&proof.header.0)?;
    let receipt = Receipt::parse(trie::verify(&header.receipts_root, proof.index, &proof.nodes)?)?;
    if !receipt.status {
        return Err(Error::input("receipt", "is of a transaction that was not carried out", HELP));
    }
    let count = receipt.logs.len();
    let place = usize::try_from(proof.log).ok();
    match place.and_then(|place| receipt.logs.into_iter().nth(place)) {
        Some(log) => Ok((header, log)),
        None => Err(Error::input("receipt", format!("has {count} events, and none at {}", proof.log), HELP)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_of_keccak() {
        assert_eq!(keccak256(b"").to_string(), "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470");
    }
}
