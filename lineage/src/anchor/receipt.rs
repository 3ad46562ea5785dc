//! The receipt of one entry as a file of its own: the entry, its place in the log, and what holds the log's checkpoint.
//!
//! It outlives the log and whoever ran it: everything that a verifier needs beside a policy stands in it.

use serde::{Deserialize, Serialize};

use super::Anchor;
use crate::Error;
use crate::bundle::{Bytes, MAX_ANCHORS, Receipt};
use crate::limit::at_most;

/// Schema of the file.
pub const SCHEMA: &str = "countermark.dev/receipt/v1";

/// Larger files are refused before they are parsed.
pub const MAX_FILE: u64 = 16 << 20;

/// A receipt that stands alone. Unverified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptFile {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// C2SP verifier key of the log. Whether the log counts is for the policy to say.
    pub vkey: String,
    /// The entry, see [`super::entry`].
    pub entry: Bytes,
    /// C2SP tlog-proof text, checkpoint included.
    pub proof: String,
    /// What holds the checkpoint.
    #[serde(default, deserialize_with = "at_most::<MAX_ANCHORS, _, _>", skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<Anchor>,
}

impl ReceiptFile {
    /// The receipt of an entry in the log with this verifier key.
    pub fn new(vkey: String, receipt: Receipt, anchors: Vec<Anchor>) -> Self {
        let Receipt { entry, proof } = receipt;
        ReceiptFile { schema: SCHEMA.to_owned(), vkey, entry, proof, anchors }
    }

    /// Reads a receipt. Nothing in it is verified by this.
    ///
    /// # Errors
    /// [`Error::Input`] with line and column.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let refuse = |problem: String| {
            Err(Error::input(
                "receipt",
                problem,
                "`anchor receipt` writes one; take it again from where it was published",
            ))
        };
        if bytes.len() as u64 > MAX_FILE {
            return refuse(format!("is above {} MiB", MAX_FILE >> 20));
        }
        match serde_json::from_slice::<ReceiptFile>(bytes) {
            Ok(file) if file.schema == SCHEMA => Ok(file),
            Ok(file) => refuse(format!("schema {:?} is not {SCHEMA:?}", file.schema)),
            Err(error) => refuse(error.to_string()),
        }
    }

    /// The file's bytes.
    pub fn to_json(&self) -> String {
        // Serialisation of these types cannot fail: no map has keys other than strings.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}
