//! Ed25519 public keys and signatures, checked by the strict rule everywhere.
//!
//! `verify_strict` refuses small-order keys and points, and non-canonical scalars: one signature has one encoding.

use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::Hash;

const PREFIX: &str = "ed25519:";

/// An Ed25519 public key. Text form: `ed25519:` and 64 lower-case hexadecimal digits. This is also the key id of DSSE.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads 32 bytes; refuses what is not a point, and the weak points.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
        (!key.is_weak()).then_some(PublicKey(key))
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        PublicKey::from_bytes(&Hash::parse(text.strip_prefix(PREFIX)?)?.0)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// True when `signature` is this key's over `message`, by the strict rule.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }

    /// The text form cut short, for people.
    pub fn short(&self) -> String {
        self.to_string()[..PREFIX.len() + 12].to_owned()
    }
}

impl From<VerifyingKey> for PublicKey {
    fn from(key: VerifyingKey) -> Self {
        PublicKey(key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", Hash(*self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        PublicKey::parse(&text).ok_or_else(|| de::Error::custom("expected ed25519: and 64 lower-case hex digits"))
    }
}
