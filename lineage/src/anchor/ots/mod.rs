//! OpenTimestamps: a digest, operations on it, and attestations of what they lead to.
//!
//! [`mod@file`] and [`tree`] are the format of the reference library; [`operation`] and [`attestation`] its parts; [`bitcoin`]
//! are the blocks that it leads to. [`check`] judges a proof together with the headers that were kept with it.
//!
//! What a path proves: each operation either keeps all of its input or is a hash, so whoever knew the Merkle root when the
//! block was made had hashed something with the digest in it. That holds whatever the messages between are: a path that
//! takes an inner node of a block's tree for a transaction, or the reverse, still leads from the digest to the root, and a
//! second tree with the same root (CVE-2012-2459) has the digest in it too. Collisions of SHA-1 do not help either: they
//! are found before both of their messages are hashed into a block, and somebody who is late needs a second preimage.

pub mod attestation;
pub mod bitcoin;
pub mod file;
pub mod operation;
pub mod tree;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::attestation::Attestation;
use self::bitcoin::{CONFIRMATIONS, Ground, Header};
use self::file::File;
use self::operation::Operation;
use super::{Bound, Commitment, Standing, Trust};
use crate::Error;
use crate::bundle::Bytes;
use crate::credential::policy::Bitcoin;
use crate::digest::Hash;
use crate::limit::at_most;

/// So many headers are kept with a proof at most.
pub const MAX_HEADERS: usize = 200;

/// A detached proof, and the headers of the Bitcoin blocks that it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestampProof {
    /// The `.ots` file, over the SHA-256 of the checkpoint.
    pub file: Bytes,
    /// Headers of Bitcoin, 80 bytes each: an attested block, and those that were built upon it, in order. Several such
    /// runs may follow on each other.
    #[serde(default, deserialize_with = "at_most::<MAX_HEADERS, _, _>", skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Bytes>,
}

/// Judges a proof: by the earliest block that it leads to and that the policy's `[bitcoin]` counts.
///
/// # Errors
/// [`Error::Input`] when the file cannot be read or is about something else, when a header is none, or when it belongs to
/// no attestation of the file and to no block before it.
pub fn check(proof: &TimestampProof, of: &Commitment<'_>, trust: &Trust<'_>) -> Result<Standing, Error> {
    let file = File::parse(&proof.file.0)?;
    if file.hash != Operation::Sha256 || file.digest != of.digest.0 {
        let help = "an anchor is bound to one checkpoint; fetch the bundle again from where it was published";
        return Err(Error::input("OpenTimestamps proof", "is about something else than the checkpoint", help));
    }
    let claims = Claims::of(&file);
    let runs = runs(&proof.headers, &claims)?;
    let no_policy = Bitcoin::default();
    let policy = trust.policy.bitcoin.as_ref().unwrap_or(&no_policy);
    let bounds = runs.iter().filter_map(|run| bound(run, policy));
    if let Some(bound) = bounds.min_by_key(|bound| (!bound.is_final, bound.time)) {
        return Ok(Standing::Bound(bound));
    }
    Ok(match runs.first().and_then(|run| run.first()) {
        Some(block) => Standing::Unjudged(nobody_vouches(block, trust.policy.bitcoin.as_ref())),
        None => claims.standing(),
    })
}

/// What the attestations of a file say, before anybody looked whether that is so.
struct Claims {
    /// Merkle roots of Bitcoin blocks, and the heights that are said to have them.
    bitcoin: BTreeMap<Vec<u8>, u64>,
    /// Calendars.
    pending: BTreeSet<String>,
    /// What is not looked at here, for people.
    others: BTreeSet<String>,
}

impl Claims {
    fn of(file: &File) -> Self {
        let mut claims = Claims { bitcoin: BTreeMap::new(), pending: BTreeSet::new(), others: BTreeSet::new() };
        file.tree.visit(&file.digest, &mut |message, attestation| match attestation {
            Attestation::Bitcoin(height) => {
                let known = claims.bitcoin.entry(message.to_vec()).or_insert(*height);
                *known = (*known).min(*height);
            }
            Attestation::Litecoin(height) => _ = claims.others.insert(format!("Litecoin block {height}")),
            Attestation::Ethereum(height) => _ = claims.others.insert(format!("Ethereum block {height}")),
            Attestation::Pending(uri) => _ = claims.pending.insert(uri.clone()),
            Attestation::Unknown { tag, .. } => {
                let tag: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
                _ = claims.others.insert(format!("an attestation of the unknown kind {tag}"));
            }
        });
        claims
    }

    /// Where no header is at hand.
    fn standing(&self) -> Standing {
        if let Some((root, height)) = self.bitcoin.iter().min_by_key(|(_, height)| **height) {
            let root: String = root.iter().rev().map(|byte| format!("{byte:02x}")).collect();
            return Standing::Unjudged(format!(
                "block {height} of Bitcoin would have to have the Merkle root {root}, and its header is not kept here; \
                 `anchor upgrade --bitcoin` fetches it"
            ));
        }
        if !self.pending.is_empty() {
            return Standing::Pending(format!("promised by {}", some(&self.pending)));
        }
        Standing::Unjudged(format!("holds only {}, which does not count", some(&self.others)))
    }
}

/// A few of the names, and how many more there are.
fn some(names: &BTreeSet<String>) -> String {
    const SHOWN: usize = 4;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

/// Cuts the headers into runs: an attested block, and those that were built upon it one after the other.
fn runs(headers: &[Bytes], claims: &Claims) -> Result<Vec<Vec<Header>>, Error> {
    let mut runs: Vec<Vec<Header>> = vec![];
    for (index, bytes) in headers.iter().enumerate() {
        let header = Header::parse(&bytes.0)?;
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|before| header.is_upon(before)) => run.push(header),
            _ if claims.bitcoin.contains_key(header.merkle_root()) => runs.push(vec![header]),
            _ => {
                let problem = "the proof does not lead to its Merkle root, nor was it built upon the block before";
                let help = "take the headers again from a node with `anchor upgrade`";
                return Err(Error::input(format!("Bitcoin header {}", index + 1), problem, help));
            }
        }
    }
    // A block inside a run may be attested as well, by another calendar; it then has what is built upon it.
    let inner = runs.iter().flat_map(|run| {
        (1..run.len()).filter(|at| claims.bitcoin.contains_key(run[*at].merkle_root())).map(|at| run[at..].to_vec())
    });
    let inner: Vec<_> = inner.collect();
    runs.extend(inner);
    Ok(runs)
}

/// What the policy makes of a run.
fn bound(run: &[Header], policy: &Bitcoin) -> Option<Bound> {
    let block = run.first()?;
    let confirmations = policy.confirmations.map_or(CONFIRMATIONS, std::num::NonZeroU32::get);
    let (why, is_final) = match bitcoin::ground(run, policy)? {
        Ground::Pinned if policy.blocks.contains(&block.hash()) => ("which the policy pins".to_owned(), true),
        Ground::Pinned => ("upon which one is built that the policy pins".to_owned(), true),
        Ground::Work(blocks) => {
            let least = policy.min_difficulty.unwrap_or_default();
            let s = if blocks == 1 { "" } else { "s" };
            (format!("with {blocks} block{s} of difficulty {least} or more"), blocks >= confirmations)
        }
    };
    let source = format!("Bitcoin block {}, {why}; its clock is good to 2 hours", block.hash());
    Some(Bound { time: block.time(), source, is_final })
}

fn nobody_vouches(block: &Header, policy: Option<&Bitcoin>) -> String {
    let hash: Hash = block.hash();
    match policy.and_then(|policy| policy.min_difficulty) {
        None | Some(0) => format!(
            "leads to the Bitcoin block {hash}, for which the policy does not vouch; [bitcoin] blocks or min_difficulty would"
        ),
        Some(least) => format!(
            "leads to the Bitcoin block {hash}, which has less than the difficulty {least} that the policy asks for; \
             [bitcoin] blocks would vouch for it"
        ),
    }
}

#[cfg(test)]
mod tests;
