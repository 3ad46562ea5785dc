//! The log, what proves a place in it, and what anchors it to the outside world.
//!
//! One file per standard: [`note`] and [`checkpoint`] (C2SP signed-note, tlog-checkpoint), [`tiles`] (C2SP tlog-tiles),
//! [`proof`] (C2SP tlog-proof), [`fork`] (two histories), [`entry`] (COSE_Sign1 in the shape of a SCITT signed statement);
//! [`evm`] (ERC-7053, EAS, calldata), [`ots`] (OpenTimestamps), [`rfc3161`]; [`cosignature`], [`tlog_policy`], [`witness`]
//! (C2SP tlog-cosignature, tlog-policy, tlog-witness); [`cose`] (RFC 9942 receipts and RFC 9943 transparent statements).
//!
//! Anchored is a checkpoint, never a single artifact: the note with the log's own signature alone, since cosignatures come
//! later. Every kind of anchor is bound to these bytes or to their SHA-256, so one digest ties all of them together.

pub mod checkpoint;
pub mod cose;
pub mod cosignature;
pub mod entry;
pub mod evm;
pub mod fork;
mod members;
pub mod note;
pub mod ots;
pub mod proof;
pub mod receipt;
pub mod rfc3161;
pub mod tiles;
pub mod tlog_policy;
pub mod witness;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::credential::policy::{AnchorKind, Policy};
use crate::digest::Hash;

/// Something outside of the log that holds a checkpoint. Unverified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The checkpoint note with the log's signature alone.
    pub checkpoint: String,
    /// Where it is held.
    pub evidence: Evidence,
}

/// What shows that a checkpoint is held somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", try_from = "members::Members")]
pub enum Evidence {
    /// An ERC-7053 event whose data is the checkpoint.
    Evm(evm::EventProof),
    /// A time-stamp of the Ethereum Attestation Service.
    Eas(evm::EventProof),
    /// A transaction whose data is the digest.
    Calldata(evm::TransactionProof),
    /// An OpenTimestamps proof.
    OpenTimestamps(ots::TimestampProof),
    /// An authority's token.
    Rfc3161(rfc3161::Token),
}

impl Evidence {
    /// Which kind.
    pub fn kind(&self) -> AnchorKind {
        match self {
            Evidence::Evm(_) => AnchorKind::Evm,
            Evidence::Eas(_) => AnchorKind::Eas,
            Evidence::Calldata(_) => AnchorKind::Calldata,
            Evidence::OpenTimestamps(_) => AnchorKind::OpenTimestamps,
            Evidence::Rfc3161(_) => AnchorKind::Rfc3161,
        }
    }
}

/// What an anchor holds: the checkpoint, or its digest.
#[derive(Clone, Copy, Debug)]
pub struct Commitment<'a> {
    /// The note with the log's signature alone.
    pub checkpoint: &'a str,
    /// SHA-256 of the note.
    pub digest: Hash,
}

impl<'a> Commitment<'a> {
    /// Of this note, which is taken as it is.
    pub fn of(checkpoint: &'a str) -> Self {
        Commitment { checkpoint, digest: Hash::sha256(checkpoint.as_bytes()) }
    }
}

/// Whom to believe about anchors.
#[derive(Clone, Copy)]
pub struct Trust<'a> {
    /// Chains, blocks, authorities.
    pub policy: &'a Policy,
    /// Nodes to ask, when the network may be used.
    pub blocks: Option<&'a dyn evm::Blocks>,
}

/// What an anchor that holds in itself is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The checkpoint existed no later than this.
    Bound(Bound),
    /// Whoever shall hold it does not do so yet. The text says who.
    Pending(String),
    /// Nobody whom the policy knows vouches for it. The text says what would have to be known.
    Unjudged(String),
}

/// Not later than.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Unix seconds.
    pub time: i64,
    /// Where, by whose word, and how exact, for people: `block 7 of sepolia, whose hash the policy pins`.
    pub source: String,
    /// True when it can no longer be undone.
    pub is_final: bool,
}

/// Judges one anchor.
///
/// # Errors
/// [`Error::Input`] when the evidence is wrong, or is about something else.
pub fn check(anchor: &Anchor, trust: &Trust<'_>) -> Result<Standing, Error> {
    let of = Commitment::of(&anchor.checkpoint);
    match &anchor.evidence {
        Evidence::Evm(proof) => evm::erc7053::check(proof, &of, trust),
        Evidence::Eas(proof) => evm::eas::check(proof, &of, trust),
        Evidence::Calldata(proof) => evm::calldata::check(proof, &of, trust),
        Evidence::OpenTimestamps(proof) => ots::check(proof, &of, trust),
        Evidence::Rfc3161(token) => rfc3161::check(token, &of, trust),
    }
}
