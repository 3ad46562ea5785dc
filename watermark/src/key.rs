//! From the owner's secret to the keys of one mark.
//!
//! The order has no cycle: the carrier keys depend on the secret and on public names only, the commitment holds their
//! hash, and the payload is a hash over the commitment's transcript. Every hash and derivation has a label of its own,
//! and every field in it is preceded by its length, so no two uses can be confused.
//!
//! ```text
//! k_root = HKDF-SHA-256(secret, salt "countermark/mark/v1/salt", info = "root" owner_public_key mark_id recipient)
//! k_g    = HKDF-Expand(k_root, "group" g)                    g = 0 … 3
//! c_key  = H("key", H("group-key", k_0) … H("group-key", k_3))
//! ```
//!
//! `recipient` is the commitment `H("recipient", salt, name)` of the transcript, or empty. It takes the place of the
//! recipient's name, so that the public record and the secret are all that detection needs; name and salt stay with
//! the owner, who shows them to prove who received this copy.

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::hex::hex;

/// Groups of slots, each with a key that can be disclosed without the others.
pub const GROUPS: usize = 4;

/// The owner's secret for marks, apart from the signing key, so that detection never needs the latter. Wiped on drop.
#[derive(Clone)]
pub struct MarkSecret(Zeroizing<[u8; 32]>);

impl MarkSecret {
    /// Takes 32 bytes, which must come from a cryptographic random generator.
    pub fn from_bytes(bytes: [u8; 32]) -> MarkSecret {
        MarkSecret(Zeroizing::new(bytes))
    }

    /// The bytes, for writing the key file.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for MarkSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MarkSecret(..)")
    }
}

/// The keys of one mark: of one owner, one mark id and perhaps one recipient.
#[derive(Clone)]
pub struct MarkKey {
    owner_public_key: [u8; 32],
    mark_id: [u8; 16],
    recipient: Option<[u8; 32]>,
    groups: [Zeroizing<[u8; 32]>; GROUPS],
    group_hashes: [[u8; 32]; GROUPS],
    hash: [u8; 32],
}

impl MarkKey {
    /// Derives the keys. `recipient` comes from [`recipient_commitment`].
    pub fn derive(
        secret: &MarkSecret,
        owner_public_key: [u8; 32],
        mark_id: [u8; 16],
        recipient: Option<[u8; 32]>,
    ) -> MarkKey {
        let root = Hkdf::<Sha256>::new(Some(label("salt").as_bytes()), secret.as_bytes());
        let recipient_field = recipient.as_ref().map_or(&[][..], |commitment| commitment);
        let root = derive(&root, "root", &[&owner_public_key, &mark_id, recipient_field]);
        let groups = std::array::from_fn(|group| expand(&root, "group", &[&[group as u8]]));
        let group_hashes = groups.each_ref().map(|key| group_hash(key));
        let hash = key_hash(&group_hashes);
        MarkKey { owner_public_key, mark_id, recipient, groups, group_hashes, hash }
    }

    /// A key of which only one group is known: the others are zeros, and their slots mean nothing.
    pub(crate) fn of_group(
        owner_public_key: [u8; 32],
        mark_id: [u8; 16],
        recipient: Option<[u8; 32]>,
        (group, key): (usize, Zeroizing<[u8; 32]>),
        group_hashes: [[u8; 32]; GROUPS],
    ) -> MarkKey {
        let mut groups: [Zeroizing<[u8; 32]>; GROUPS] = Default::default();
        groups[group] = key;
        MarkKey { owner_public_key, mark_id, recipient, groups, group_hashes, hash: key_hash(&group_hashes) }
    }

    /// The owner's Ed25519 public key.
    pub fn owner_public_key(&self) -> [u8; 32] {
        self.owner_public_key
    }

    /// Identifier of the mark, random and public.
    pub fn mark_id(&self) -> [u8; 16] {
        self.mark_id
    }

    /// Commitment to the recipient of this copy.
    pub fn recipient(&self) -> Option<[u8; 32]> {
        self.recipient
    }

    /// Hash over the hashes of the group keys: what a record commits to.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The key of one group, for disclosing it.
    pub(crate) fn group(&self, group: usize) -> &[u8; 32] {
        &self.groups[group]
    }

    /// Hashes of the group keys, from which [`MarkKey::hash`] is made.
    pub(crate) fn group_hashes(&self) -> [[u8; 32]; GROUPS] {
        self.group_hashes
    }

    /// A key for one purpose within a group.
    pub(crate) fn expand(&self, group: usize, purpose: &str, context: &[u8]) -> Zeroizing<[u8; 32]> {
        expand(&self.groups[group], purpose, &[context])
    }
}

impl std::fmt::Debug for MarkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MarkKey").field("mark_id", &hex(&self.mark_id)).finish_non_exhaustive()
    }
}

/// Hash of a group's key, as it enters the hash of the whole key.
pub(crate) fn group_hash(key: &[u8; 32]) -> [u8; 32] {
    hash("group-key", &[key])
}

fn key_hash(group_hashes: &[[u8; 32]; GROUPS]) -> [u8; 32] {
    hash("key", &group_hashes.each_ref().map(|hash| &hash[..]))
}

/// Hides a recipient's name in a record: without the salt, names cannot be tried.
pub fn recipient_commitment(name: &str, salt: &[u8; 32]) -> [u8; 32] {
    hash("recipient", &[salt, name.as_bytes()])
}

/// SHA-256 over a label and fields, each preceded by its length as eight big-endian bytes.
pub(crate) fn hash(purpose: &str, fields: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(prefixed(purpose, fields)).into()
}

fn expand(key: &[u8; 32], purpose: &str, fields: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let hkdf = Hkdf::<Sha256>::from_prk(key).expect("32 bytes are a SHA-256 pseudorandom key");
    derive(&hkdf, purpose, fields)
}

fn derive(hkdf: &Hkdf<Sha256>, purpose: &str, fields: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    hkdf.expand(&prefixed(purpose, fields), &mut key[..]).expect("32 bytes are within HKDF's limit");
    key
}

fn label(purpose: &str) -> String {
    format!("countermark/mark/v1/{purpose}")
}

fn prefixed(purpose: &str, fields: &[&[u8]]) -> Vec<u8> {
    let label = label(purpose);
    let mut bytes = Vec::new();
    for field in [label.as_bytes()].iter().chain(fields) {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: u8, mark: u8, recipient: Option<[u8; 32]>) -> MarkKey {
        MarkKey::derive(&MarkSecret::from_bytes([secret; 32]), [7; 32], [mark; 16], recipient)
    }

    #[test]
    fn every_input_changes_every_key() {
        let base = key(1, 1, None);
        for other in [key(2, 1, None), key(1, 2, None), key(1, 1, Some([0; 32]))] {
            assert_ne!(base.hash(), other.hash());
            for group in 0..GROUPS {
                assert_ne!(base.groups[group], other.groups[group]);
            }
        }
        assert_ne!(base.expand(0, "chips", b"a"), base.expand(0, "chips", b"b"));
        assert_ne!(base.expand(0, "chips", b"a"), base.expand(0, "dither", b"a"));
        assert_ne!(base.expand(0, "chips", b"a"), base.expand(1, "chips", b"a"));
    }

    #[test]
    fn length_prefixes_keep_fields_apart() {
        assert_ne!(hash("key", &[b"ab", b"c"]), hash("key", &[b"a", b"bc"]));
        assert_ne!(recipient_commitment("a", &[1; 32]), recipient_commitment("a", &[2; 32]));
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", MarkSecret::from_bytes([0xab; 32])), "MarkSecret(..)");
        let text = format!("{:?}", key(0xab, 3, None));
        assert!(text.contains("03030303") && !text.contains("171"), "{text}");
    }

    /// Recomputed with Python's hmac and hashlib from the formulas at the top of this file.
    #[test]
    fn known_answer() {
        assert_eq!(hex(&key(1, 1, None).hash()), KEY_HASH);
    }

    const KEY_HASH: &str = "56baad603fc632509ec6fe7c8548277c2e6c17e3c2a444fcbcf786bed6fb8b0c";
}
