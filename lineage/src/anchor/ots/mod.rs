//! OpenTimestamps: a digest, operations on it, and attestations of what they lead to.

use serde::{Deserialize, Serialize};

use super::{Commitment, Standing, Trust};
use crate::Error;
use crate::bundle::Bytes;

/// A detached proof, and the headers of the Bitcoin blocks that it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestampProof {
    /// The `.ots` file, over the SHA-256 of the checkpoint.
    pub file: Bytes,
    /// Headers of Bitcoin, 80 bytes each: the attested block, and those that were built upon it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Bytes>,
}

/// Judges a proof.
pub fn check(_proof: &TimestampProof, _of: &Commitment<'_>, _trust: &Trust<'_>) -> Result<Standing, Error> {
    Err(Error::usage("not written yet", ""))
}
