//! Proofs that a range of bytes, or one tensor, belongs to a file with a given BLAKE3 root, without the rest of the file.
//!
//! A proof is one line of JSON, [`Head`], and behind it a Bao encoding (the combined form of the BLAKE3 tree, in pre-order)
//! with groups of [`GROUP`] bytes: the chaining values on the way from the root to the groups that hold the claimed bytes,
//! and those groups. `bao-tree` decodes it, and encodes the same.
//!
//! What a proof must not be able to lie about:
//! - **the length.** The shape of the tree follows from it, and the last group is always part of the proof: only with the
//!   true length does that group come out where it is.
//! - **where a tensor lies.** The bytes of the file's header are part of the proof of a tensor, and whoever checks it
//!   parses them: a claim about the place counts for nothing.
//! - **what else it holds.** Nothing may follow the last group.
//!
//! The root itself comes from elsewhere: from a signed listing, or from a person.

mod check;
mod outboard;
mod prove;
mod tree;

pub use check::{Proven, check};
pub use outboard::outboard;
pub use prove::{Claim, Proved, prove};
pub use tree::GROUP;

use serde::{Deserialize, Serialize};

/// Schema of a proof's first line.
pub const SCHEMA: &str = "countermark.dev/slice/v1";

/// The longest first line that is read, in bytes.
pub const MAX_HEAD: usize = 64 << 10;

/// Longer files are refused: the tree's arithmetic needs a bit to spare.
pub const MAX_LENGTH: u64 = 1 << 62;

/// What a proof claims, in its first line. Nothing of it is believed before the encoding behind it has been checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Length of the whole file in bytes.
    pub length: u64,
    /// The claimed bytes, from (included) to (not included).
    pub range: (u64, u64),
    /// The tensor that these bytes are, when one is claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor: Option<String>,
    /// Length of the file's front that says where tensors lie. Only with a tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front: Option<u64>,
}

impl Head {
    /// The byte ranges that the encoding must cover, or what is wrong with the claim.
    fn ranges(&self) -> Result<Vec<(u64, u64)>, String> {
        let (begin, end) = self.range;
        if self.schema != SCHEMA {
            return Err(format!("schema {:?} is not {SCHEMA:?}", self.schema));
        }
        if self.length > MAX_LENGTH {
            return Err(format!("claims a file of {} bytes", self.length));
        }
        if begin > end || end > self.length {
            return Err(format!("claims bytes {begin} to {end} of {}", self.length));
        }
        match (&self.tensor, self.front) {
            (None, None) => Ok(vec![self.range]),
            (Some(_), Some(front)) if front <= self.length => Ok(vec![(0, front), self.range]),
            _ => Err("a tensor and the file's front belong together".to_owned()),
        }
    }
}
