//! Anchors in transactions of a chain with Ethereum's machine, checked without any node.
//!
//! The proof leads from a log event or a transaction through a Merkle-Patricia trie to one block header. What stays trusted
//! is the hash of that header: nothing in it names the chain.

pub mod hex;
pub mod rlp;

use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Keccak256};

use super::{Commitment, Standing, Trust};
use crate::Error;
use crate::bundle::Bytes;
use hex::Word;

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

/// Judges an ERC-7053 event.
pub fn check_erc7053(_proof: &EventProof, _of: &Commitment<'_>, _trust: &Trust<'_>) -> Result<Standing, Error> {
    Err(Error::usage("not written yet", ""))
}

/// Judges an EAS time-stamp.
pub fn check_eas(_proof: &EventProof, _of: &Commitment<'_>, _trust: &Trust<'_>) -> Result<Standing, Error> {
    Err(Error::usage("not written yet", ""))
}

/// Judges a transaction that carries the digest.
pub fn check_calldata(_proof: &TransactionProof, _of: &Commitment<'_>, _trust: &Trust<'_>) -> Result<Standing, Error> {
    Err(Error::usage("not written yet", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_of_keccak() {
        assert_eq!(keccak256(b"").to_string(), "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470");
    }
}
