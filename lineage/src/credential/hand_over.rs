//! Hand-overs: a key gives its rights to another one, and both sign.
//!
//! Only the old key can give, and only the new key's owner can say that it is his: one signature alone would let a thief
//! dress up a stranger's key, or claim somebody's past. Rights go on as they were, names and relations and nothing more.

use serde::{Deserialize, Serialize};

use super::dsse::Content;
use super::keys::{PrivateKey, PublicKey};
use super::logged::{self, Logged};
use crate::Error;
use crate::anchor::entry::EntryType;
use crate::anchor::proof::Place;
use crate::digest::Hash;
use crate::graph::statement::{rfc3339, unix};

/// Schema of the payload.
pub const SCHEMA: &str = "countermark.dev/hand-over/v1";

/// Most hand-overs from a key of the policy to the key that signs.
pub const MAX_CHAIN: usize = 16;

/// Most hand-overs that are looked at.
pub const MAX_HAND_OVERS: usize = 64;

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandOver {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The key that gives, and signs first.
    pub from: PublicKey,
    /// The key that takes, and signs second.
    pub to: PublicKey,
    /// When: RFC 3339, the signers' word.
    pub issued: String,
    /// Verifier key of the log that holds this hand-over, as a C2SP vkey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

impl HandOver {
    /// From one key to another, to be entered into `log`.
    pub fn new(from: PublicKey, to: PublicKey, now: i64, log: Option<String>) -> Self {
        HandOver { schema: SCHEMA.to_owned(), from, to, issued: rfc3339(now), log }
    }

    /// Signs with both keys.
    ///
    /// # Errors
    /// When the keys are not the two that it names, or one does not answer.
    pub fn sign(&self, from: &dyn PrivateKey, to: &dyn PrivateKey) -> Result<Signed, Error> {
        let payload = serde_json::to_vec(self).unwrap_or_default();
        Signed::open(Logged::sign(Content::HandOver, &payload, &[from, to])?)
    }
}

/// A hand-over that both keys signed. Whether the old key could still give is the policy's matter.
#[derive(Clone, Debug)]
pub struct Signed {
    /// What it says.
    pub content: HandOver,
    /// SHA-256 of its payload.
    pub id: Hash,
    /// The file.
    pub file: Logged,
}

impl Signed {
    /// Reads a file and checks both signatures.
    ///
    /// # Errors
    /// [`Error::Input`] naming the part that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Signed::open(Logged::parse(bytes)?)
    }

    /// Checks both signatures of one that a bundle carries.
    ///
    /// # Errors
    /// As [`Signed::parse`].
    pub fn open(file: Logged) -> Result<Self, Error> {
        let refuse = |part: &str, problem: &str| {
            let help = "ask the owner of the new key for the hand-over that both keys signed";
            Err(Error::input(format!("hand-over {part}"), problem, help))
        };
        let verified = file.verify(Content::HandOver)?;
        let content: HandOver = match serde_json::from_slice(&verified.payload) {
            Ok(content) => content,
            Err(error) => return refuse("payload", &error.to_string()),
        };
        if content.schema != SCHEMA {
            return refuse("schema", &format!("is not {SCHEMA}"));
        }
        if content.from == content.to {
            return refuse("keys", "are the same");
        }
        if verified.key != content.from || verified.cosigners != [content.to] {
            return refuse("signatures", "are not those of the old key and of the new key, in this order");
        }
        if unix(&content.issued).is_none() {
            return refuse("issued", "is not an RFC 3339 time");
        }
        Ok(Signed { id: Hash::sha256(&verified.payload), content, file })
    }

    /// When both say that it was made, in Unix seconds.
    pub fn issued(&self) -> i64 {
        // The time was readable when it was opened.
        unix(&self.content.issued).unwrap_or(i64::MAX)
    }

    /// Its place in the log that it names; nothing when it names none.
    ///
    /// # Errors
    /// [`Error::Input`] when the receipt is missing, does not hold, or is that of something else.
    pub fn place(&self) -> Result<Option<Place>, Error> {
        let Some(vkey) = &self.content.log else { return Ok(None) };
        let Some(receipt) = &self.file.receipt else {
            let help = "ask the owner of the new key for the hand-over with its receipt";
            return Err(Error::input("receipt", "is missing, though the hand-over names a log", help));
        };
        logged::place(receipt, vkey, EntryType::HandOver, &self.id, &self.content.from).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    #[test]
    fn both_keys_sign_in_their_order() {
        let (old, new) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let hand_over = HandOver::new(old.public(), new.public(), 0, None);
        let good = hand_over.sign(&old, &new).unwrap();
        assert_eq!(Signed::parse(good.file.to_json().as_bytes()).unwrap().content, hand_over);

        assert!(hand_over.sign(&new, &old).is_err(), "the wrong way round");
        assert!(hand_over.sign(&old, &SigningKey::from_bytes(&[3; 32])).is_err(), "another new key");
        let mut one_sided = good.file.clone();
        one_sided.envelope.signatures.truncate(1);
        assert!(Signed::open(one_sided).is_err());
        let mut third = good.file.clone();
        third.envelope.cosign(&SigningKey::from_bytes(&[3; 32])).unwrap();
        assert!(Signed::open(third).is_err());
        let to_itself = HandOver::new(old.public(), old.public(), 0, None);
        assert!(to_itself.sign(&old, &new).is_err());
        let no_time = HandOver { issued: "soon".into(), ..hand_over.clone() };
        assert!(no_time.sign(&old, &new).is_err());
        let named_log = HandOver { log: Some("log.example+00000000+AA==".into()), ..hand_over };
        assert!(named_log.sign(&old, &new).unwrap().place().is_err(), "no receipt");
    }
}
