//! A signed object in a file of its own, with its place in a log: `revocations.json`, `hand-over.json`.
//!
//! The object names its log inside what is signed, so that taking the receipt away is noticed.

use serde::{Deserialize, Serialize};

use super::dsse::{Content, Envelope, Verified};
use super::keys::{PrivateKey, PublicKey};
use crate::Error;
use crate::anchor::entry::{Entry, EntryType};
use crate::anchor::note::VerifierKey;
use crate::anchor::proof::{Place, Proof};
use crate::bundle::Receipt;
use crate::digest::Hash;

/// Schema of the file.
pub const SCHEMA: &str = "countermark.dev/logged/v1";

/// Larger files are refused before they are parsed.
pub const MAX_FILE: u64 = 32 << 20;

/// A signed object and the proof of its place. Nothing is verified by having one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logged {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// What was signed.
    pub envelope: Envelope,
    /// Its place in the log that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

impl Logged {
    /// Signs a payload with each of the keys; no receipt yet.
    ///
    /// # Errors
    /// When a key does not answer.
    pub fn sign(content: Content, payload: &[u8], keys: &[&dyn PrivateKey]) -> Result<Self, Error> {
        let envelope = Envelope::sign_as(content, payload, keys)?;
        Ok(Logged { schema: SCHEMA.to_owned(), envelope, receipt: None })
    }

    /// Reads a file. Nothing in it is verified by this.
    ///
    /// # Errors
    /// [`Error::Input`] with line and column.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let refuse =
            |problem: String| Err(Error::input("signed file", problem, "fetch it again from where it was published"));
        if bytes.len() as u64 > MAX_FILE {
            return refuse(format!("is above {} MiB", MAX_FILE >> 20));
        }
        match serde_json::from_slice::<Logged>(bytes) {
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

    pub(super) fn verify(&self, content: Content) -> Result<Verified, Error> {
        self.envelope.verify_as(content)
    }
}

/// The log entry of an object with this id: SHA-256 of its payload.
///
/// # Errors
/// When the key does not answer.
pub fn entry(entry_type: EntryType, id: Hash, key: &dyn PrivateKey) -> Result<Vec<u8>, Error> {
    Entry { entry_type, object: id, root: id, statement: id, signer: key.public() }.sign(key)
}

/// Proves that `signer` entered the object with this id into the log with this verifier key.
///
/// # Errors
/// [`Error::Input`] when a proof does not hold, or is about something else.
pub(super) fn place(
    receipt: &Receipt,
    vkey: &str,
    entry_type: EntryType,
    id: &Hash,
    signer: &PublicKey,
) -> Result<Place, Error> {
    let entry = Entry::verify(&receipt.entry.0)?;
    let place = Proof::parse(&receipt.proof)?.verify(&receipt.entry.0, &VerifierKey::parse(vkey)?)?;
    let expected = Entry { entry_type, object: *id, root: *id, statement: *id, signer: *signer };
    if entry != expected {
        let help = "fetch the file again from where it was published";
        return Err(Error::input("receipt", "is that of another entry", help));
    }
    Ok(place)
}
