//! Log entries: one tagged COSE_Sign1 (RFC 9052) in the shape of a SCITT signed statement with a hash payload.
//!
//! ```text
//! 18([ << {1: algorithm, 4: public key, 15: {1: issuer, 2: subject}, 258: -16, 259: content type,
//!          -70001: root, -70002: type, -70003: statement} >>, {}, SHA-256 of the object, signature ])
//! ```
//!
//! Deterministic CBOR (RFC 8949, section 4.2.1), so one entry has one encoding. Issuer and subject are derived from the
//! key and the root: a public log holds no names.

use crate::Error;
use crate::cbor::{self, Rules, Value};
use crate::credential::dsse::Content;
use crate::credential::keys::{Algorithm, PrivateKey, PublicKey};
use crate::digest::Hash;

/// Entry bundles have a two-byte length.
pub const MAX_ENTRY: usize = u16::MAX as usize;

const COSE_SIGN1: u64 = 18;
const SHA_256: i64 = -16;
mod label {
    pub const ALGORITHM: i64 = 1;
    pub const KEY_ID: i64 = 4;
    pub const CWT_CLAIMS: i64 = 15;
    pub const PAYLOAD_HASH: i64 = 258;
    pub const CONTENT_TYPE: i64 = 259;
    // Private use, RFC 9052 section 16.2: below -65536.
    pub const ROOT: i64 = -70001;
    pub const TYPE: i64 = -70002;
    pub const STATEMENT: i64 = -70003;
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryType {
    /// The log's own first entry.
    Genesis,
    /// A released artifact. The object is its C2PA manifest store.
    Release,
    /// A mark. The object is its commitment record.
    MarkCommitment,
    /// A revocation list. The object is its payload, and so are root and statement.
    Revocation,
    /// A hand-over from one key to another. The object is its payload, and so are root and statement.
    HandOver,
}

impl EntryType {
    const ALL: [EntryType; 5] =
        [EntryType::Genesis, EntryType::Release, EntryType::MarkCommitment, EntryType::Revocation, EntryType::HandOver];

    /// The word in the entry.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryType::Genesis => "genesis",
            EntryType::Release => "release",
            EntryType::MarkCommitment => "mark-commitment",
            EntryType::Revocation => "revocation",
            EntryType::HandOver => "hand-over",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            EntryType::Genesis => "text/plain",
            EntryType::Release => "application/c2pa",
            EntryType::MarkCommitment => "application/json",
            EntryType::Revocation => Content::Revocations.payload_type(),
            EntryType::HandOver => Content::HandOver.payload_type(),
        }
    }
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is about.
    pub entry_type: EntryType,
    /// SHA-256 of the object: a manifest store, or a commitment record.
    pub object: Hash,
    /// Root of the artifact; for a mark, the root of the unmarked base.
    pub root: Hash,
    /// Id of the statement; for a mark, the object again.
    pub statement: Hash,
    /// The key that signs.
    pub signer: PublicKey,
}

impl Entry {
    /// The bytes of the leaf.
    ///
    /// # Errors
    /// When the key does not answer.
    pub fn sign(&self, key: &dyn PrivateKey) -> Result<Vec<u8>, Error> {
        let protected = self.protected();
        let signature = key.sign(&to_be_signed(&protected, &self.object))?;
        Ok(cbor::encode(&Value::Tag(
            COSE_SIGN1,
            Box::new(Value::Array(vec![
                cbor::bytes(protected),
                Value::Map(vec![]),
                cbor::bytes(self.object.0),
                cbor::bytes(signature),
            ])),
        )))
    }

    fn protected(&self) -> Vec<u8> {
        let claims = Value::Map(vec![
            (cbor::int(1), cbor::text(self.signer.to_string())),
            (cbor::int(2), cbor::text(format!("blake3:{}", self.root))),
        ]);
        cbor::encode(&Value::Map(vec![
            (cbor::int(label::ALGORITHM), cbor::int(self.signer.algorithm().cose())),
            (cbor::int(label::KEY_ID), cbor::bytes(self.signer.as_bytes())),
            (cbor::int(label::CWT_CLAIMS), claims),
            (cbor::int(label::PAYLOAD_HASH), cbor::int(SHA_256)),
            (cbor::int(label::CONTENT_TYPE), cbor::text(self.entry_type.content_type())),
            (cbor::int(label::ROOT), cbor::bytes(self.root.0)),
            (cbor::int(label::TYPE), cbor::text(self.entry_type.as_str())),
            (cbor::int(label::STATEMENT), cbor::bytes(self.statement.0)),
        ]))
    }

    /// Reads an entry and checks its signature by the key it names. Whether that key may speak is for the caller.
    ///
    /// # Errors
    /// [`Error::Input`] naming the part.
    pub fn verify(bytes: &[u8]) -> Result<Self, Error> {
        let refuse = |problem: &str| {
            Err(Error::input("log entry", problem, "fetch the bundle again from where it was published"))
        };
        if bytes.len() > MAX_ENTRY {
            return refuse("is above 65,535 bytes");
        }
        let value = match cbor::decode(bytes, Rules::Deterministic) {
            Ok(value) => value,
            Err(error) => return refuse(&error.to_string()),
        };
        let Value::Tag(COSE_SIGN1, parts) = value else { return refuse("is not a tagged COSE_Sign1") };
        let Some([Value::Bytes(protected), Value::Map(unprotected), Value::Bytes(object), Value::Bytes(signature)]) =
            parts.as_array()
        else {
            return refuse("is not an array of protected, unprotected, payload, signature");
        };
        if !unprotected.is_empty() {
            return refuse("has unprotected members");
        }
        let header = match cbor::decode(protected, Rules::Deterministic) {
            Ok(header) => header,
            Err(error) => return refuse(&format!("protected header: {error}")),
        };
        let hash = |key| header.get(key).and_then(Value::as_bytes).and_then(|bytes| bytes.try_into().ok()).map(Hash);
        let algorithm = header.get(label::ALGORITHM).and_then(Value::as_int);
        let algorithm = Algorithm::ALL.into_iter().find(|known| Some(known.cose()) == algorithm);
        let key = header.get(label::KEY_ID).and_then(Value::as_bytes);
        let key = algorithm.zip(key).and_then(|(algorithm, key)| PublicKey::from_bytes(algorithm, key));
        let entry_type = header.get(label::TYPE).and_then(Value::as_text);
        let entry_type = EntryType::ALL.into_iter().find(|known| Some(known.as_str()) == entry_type);
        let (Some(signer), Some(entry_type), Some(root), Some(statement), Ok(object)) =
            (key, entry_type, hash(label::ROOT), hash(label::STATEMENT), <[u8; 32]>::try_from(&**object))
        else {
            return refuse("lacks key, type, root, statement or a payload of 32 bytes");
        };
        let entry = Entry { entry_type, object: Hash(object), root, statement, signer };
        // One entry has one header: whatever else stands in it was not put there by this format.
        if entry.protected() != *protected {
            return refuse("has an unknown or altered protected member");
        }
        if !signer.verifies(&to_be_signed(protected, &entry.object), signature) {
            return refuse("signature does not fit the entry and its key");
        }
        Ok(entry)
    }
}

/// Sig_structure of RFC 9052, section 4.4.
fn to_be_signed(protected: &[u8], payload: &Hash) -> Vec<u8> {
    cbor::encode(&Value::Array(vec![
        cbor::text("Signature1"),
        cbor::bytes(protected),
        cbor::bytes([]),
        cbor::bytes(payload.0),
    ]))
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    #[test]
    fn every_flipped_byte_is_refused() {
        let key = SigningKey::from_bytes(&[5; 32]);
        let entry = Entry {
            entry_type: EntryType::Release,
            object: Hash::sha256(b"manifest"),
            root: Hash::blake3(b"model"),
            statement: Hash::sha256(b"statement"),
            signer: key.verifying_key().into(),
        };
        let bytes = entry.sign(&key).unwrap();
        assert_eq!(bytes[..2], [0xd2, 0x84]);
        assert_eq!(Entry::verify(&bytes).unwrap(), entry);
        for at in 0..bytes.len() {
            for mask in [0x01, 0x20, 0x80] {
                let mut flipped = bytes.clone();
                flipped[at] ^= mask;
                assert!(Entry::verify(&flipped).is_err(), "byte {at} mask {mask:#x}");
            }
        }
        for length in 0..bytes.len() {
            assert!(Entry::verify(&bytes[..length]).is_err());
        }
    }
}
