//! The log's proofs for the COSE world: receipts (RFC 9942, tree RFC9162_SHA256) and transparent statements (RFC 9943).
//!
//! ```text
//! 18([ << {1: -8, 4: key id, 15: {1: origin}, 395: 1} >>,
//!      {396: {-1: [ << [size, index, [hash, …]] >> ]}}, nil, signature ])
//! ```
//!
//! The payload is detached: the root that the proof leads to. A consistency receipt has label -2, and `[old size, size,
//! [hash, …]]`. A statement is transparent once its unprotected header 394 holds receipts.
//!
//! A receipt says less than a C2SP proof: no witness has seen it, and its size and index are covered by the signature
//! only as far as the root fixes them. So it is an export, and no verdict rests on it. A tree of one entry has no
//! receipt, since its path would be empty.

use ed25519_dalek::{Signer as _, SigningKey};

use super::checkpoint::Checkpoint;
use super::note::VerifierKey;
use crate::Error;
use crate::cbor::{self, Rules, Value};
use crate::credential::keys::Algorithm;
use crate::digest::{Hash, tree};

const COSE_SIGN1: u64 = 18;
/// Verifiable data structure RFC9162_SHA256.
const RFC9162_SHA256: i64 = 1;
const INCLUSION: i64 = -1;
const CONSISTENCY: i64 = -2;
mod label {
    pub const ALGORITHM: i64 = 1;
    pub const KEY_ID: i64 = 4;
    pub const CWT_CLAIMS: i64 = 15;
    pub const RECEIPTS: i64 = 394;
    pub const STRUCTURE: i64 = 395;
    pub const PROOFS: i64 = 396;
}
/// Longer receipts are refused; the longest path is 63 hashes.
const MAX_RECEIPT: usize = 1 << 16;
/// A statement holds at most this many receipts.
const MAX_RECEIPTS: usize = 64;

/// A receipt that entry `index` is under `head`, by `path`.
///
/// # Errors
/// [`Error::Usage`] when the tree has one entry, or the path does not lead from the leaf to the head's root.
pub fn inclusion(
    log: (&VerifierKey, &SigningKey),
    head: &Checkpoint,
    index: u64,
    leaf: Hash,
    path: &[Hash],
) -> Result<Vec<u8>, Error> {
    if head.size == 1 {
        return Err(Error::usage(
            "a log of one entry has no COSE receipt, since the proof would be empty",
            "log something first; the log's own first entry is there for that",
        ));
    }
    if !tree::includes(index, head.size, leaf, path, &head.root) {
        return Err(Error::usage(format!("entry {index} is not under this checkpoint"), "prove it under a newer one"));
    }
    Ok(sign(log, INCLUSION, (head.size, index), path, &head.root))
}

/// A receipt that the log of `old` entries is the beginning of the one under `head`.
///
/// # Errors
/// [`Error::Usage`] when the path does not prove that, or is empty.
pub fn consistency(
    log: (&VerifierKey, &SigningKey),
    old: &Checkpoint,
    head: &Checkpoint,
    path: &[Hash],
) -> Result<Vec<u8>, Error> {
    if path.is_empty() || !tree::is_consistent(old.size, &old.root, head.size, &head.root, path) {
        let problem = format!("no proof leads from {} entries to {}", old.size, head.size);
        return Err(Error::usage(problem, "name a size from 1 to one below that of the log"));
    }
    Ok(sign(log, CONSISTENCY, (old.size, head.size), path, &head.root))
}

/// Checks a receipt for `entry`. Answers the size of the tree and the index.
///
/// # Errors
/// [`Error::Input`] naming the part.
pub fn verify_inclusion(receipt: &[u8], log: &VerifierKey, entry: &[u8]) -> Result<(u64, u64), Error> {
    let Receipt { signed, numbers: (size, index), path } = Receipt::parse(receipt, log, INCLUSION)?;
    let Some(root) = tree::root_from_path(index, size, tree::leaf(entry), &path) else {
        return refuse("the path is not one of that index and size");
    };
    signed.check(log, &root)?;
    Ok((size, index))
}

/// Checks a receipt that the tree `old` is the beginning of the tree `new`.
///
/// # Errors
/// [`Error::Input`] naming the part.
pub fn verify_consistency(receipt: &[u8], log: &VerifierKey, old: &Checkpoint, new: &Checkpoint) -> Result<(), Error> {
    let Receipt { signed, numbers, path } = Receipt::parse(receipt, log, CONSISTENCY)?;
    signed.check(log, &new.root)?;
    if numbers != (old.size, new.size) {
        return refuse("speaks of other sizes");
    }
    if !tree::is_consistent(old.size, &old.root, new.size, &new.root, &path) {
        return refuse("the path does not lead from the old root to the new one");
    }
    Ok(())
}

/// A log entry with receipts in its unprotected header, which no signature covers. What was logged stays as it was:
/// without the receipts it is the entry again, byte for byte.
///
/// # Errors
/// [`Error::Input`] when the entry is no COSE_Sign1 of ours.
pub fn transparent(entry: &[u8], receipts: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
    let mut parts = statement(entry)?;
    if parts[1] != Value::Map(vec![]) {
        return refuse("the entry has unprotected members already");
    }
    let receipts = receipts.iter().map(|receipt| cbor::bytes(&**receipt)).collect();
    parts[1] = Value::Map(vec![(cbor::int(label::RECEIPTS), Value::Array(receipts))]);
    Ok(cbor::encode(&Value::Tag(COSE_SIGN1, Box::new(Value::Array(parts.into())))))
}

/// Takes a transparent statement apart: the entry as it was logged, and its receipts. Nothing is verified by this.
///
/// # Errors
/// [`Error::Input`] when it is none.
pub fn split_transparent(statement_bytes: &[u8]) -> Result<(Vec<u8>, Vec<Vec<u8>>), Error> {
    let mut parts = statement(statement_bytes)?;
    let receipts = match parts[1].as_map() {
        Some([(key, Value::Array(receipts))]) if key.as_int() == Some(label::RECEIPTS) => receipts,
        _ => return refuse("the statement's unprotected header is not receipts alone"),
    };
    if receipts.is_empty() || receipts.len() > MAX_RECEIPTS {
        return refuse("the statement holds no receipt, or too many");
    }
    let receipts = receipts.iter().map(|receipt| receipt.as_bytes().map(<[u8]>::to_vec)).collect::<Option<Vec<_>>>();
    let Some(receipts) = receipts else { return refuse("a receipt is not a byte string") };
    parts[1] = Value::Map(vec![]);
    Ok((cbor::encode(&Value::Tag(COSE_SIGN1, Box::new(Value::Array(parts.into())))), receipts))
}

/// The four parts of a COSE_Sign1.
fn statement(bytes: &[u8]) -> Result<[Value; 4], Error> {
    let value = match cbor::decode(bytes, Rules::Deterministic) {
        Ok(value) => value,
        Err(error) => return refuse(&error.to_string()),
    };
    let Value::Tag(COSE_SIGN1, inner) = value else { return refuse("is not a tagged COSE_Sign1") };
    let Value::Array(parts) = *inner else { return refuse("is not an array") };
    <[Value; 4]>::try_from(parts).or_else(|_| refuse("is not an array of protected, unprotected, payload, signature"))
}

fn protected(log: &VerifierKey) -> Vec<u8> {
    cbor::encode(&Value::Map(vec![
        (cbor::int(label::ALGORITHM), cbor::int(Algorithm::Ed25519.cose())),
        (cbor::int(label::KEY_ID), cbor::bytes(log.id())),
        (cbor::int(label::CWT_CLAIMS), Value::Map(vec![(cbor::int(1), cbor::text(&*log.name))])),
        (cbor::int(label::STRUCTURE), cbor::int(RFC9162_SHA256)),
    ]))
}

/// Sig_structure of RFC 9052, section 4.4.
fn to_be_signed(protected: &[u8], root: &Hash) -> Vec<u8> {
    let parts = [cbor::text("Signature1"), cbor::bytes(protected), cbor::bytes([]), cbor::bytes(root.0)];
    cbor::encode(&Value::Array(parts.to_vec()))
}

fn sign(log: (&VerifierKey, &SigningKey), kind: i64, numbers: (u64, u64), path: &[Hash], root: &Hash) -> Vec<u8> {
    let protected = protected(log.0);
    let signature = log.1.sign(&to_be_signed(&protected, root)).to_bytes();
    let path = path.iter().map(|hash| cbor::bytes(hash.0)).collect();
    let proof = Value::Array(vec![Value::Unsigned(numbers.0), Value::Unsigned(numbers.1), Value::Array(path)]);
    let proofs = Value::Map(vec![(cbor::int(kind), Value::Array(vec![cbor::bytes(cbor::encode(&proof))]))]);
    let unprotected = Value::Map(vec![(cbor::int(label::PROOFS), proofs)]);
    let parts = vec![cbor::bytes(protected), unprotected, Value::Null, cbor::bytes(signature)];
    cbor::encode(&Value::Tag(COSE_SIGN1, Box::new(Value::Array(parts))))
}

/// A receipt that is read. Nothing is verified yet.
struct Receipt {
    signed: Signed,
    numbers: (u64, u64),
    path: Vec<Hash>,
}

struct Signed {
    protected: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    fn check(&self, log: &VerifierKey, root: &Hash) -> Result<(), Error> {
        if log.key.verifies(&to_be_signed(&self.protected, root), &self.signature) {
            Ok(())
        } else {
            refuse("the log's signature does not fit the root that the proof leads to")
        }
    }
}

impl Receipt {
    fn parse(bytes: &[u8], log: &VerifierKey, kind: i64) -> Result<Self, Error> {
        if bytes.len() > MAX_RECEIPT {
            return refuse("is above 64 KiB");
        }
        let [Value::Bytes(header), unprotected, Value::Null, Value::Bytes(signature)] = statement(bytes)? else {
            return refuse("is not protected, unprotected, nil, signature");
        };
        // One log has one header: whatever else stands in it was not put there by this format.
        if header != protected(log) {
            return refuse(&format!("its protected header is not that of a receipt of {}", log.name));
        }
        let proof = match unprotected.as_map() {
            Some([(key, proofs)]) if key.as_int() == Some(label::PROOFS) => match proofs.as_map() {
                Some([(key, Value::Array(proofs))]) if key.as_int() == Some(kind) => match &**proofs {
                    [Value::Bytes(proof)] => proof,
                    _ => return refuse("does not hold one proof"),
                },
                _ => return refuse("holds another kind of proof than is asked for"),
            },
            _ => return refuse("its unprotected header is not proofs alone"),
        };
        let proof = match cbor::decode(proof, Rules::Deterministic) {
            Ok(proof) => proof,
            Err(error) => return refuse(&format!("proof: {error}")),
        };
        let Some([Value::Unsigned(first), Value::Unsigned(second), Value::Array(path)]) = proof.as_array() else {
            return refuse("the proof is not two numbers and a path");
        };
        if path.is_empty() || path.len() > tree::MAX_PATH {
            return refuse("the path is empty, or too long");
        }
        let path: Option<Vec<Hash>> =
            path.iter().map(|hash| hash.as_bytes().and_then(|hash| hash.try_into().ok()).map(Hash)).collect();
        let Some(path) = path else { return refuse("a hash of the path is not 32 bytes") };
        Ok(Receipt { signed: Signed { protected: header, signature }, numbers: (*first, *second), path })
    }
}

fn refuse<T>(problem: &str) -> Result<T, Error> {
    Err(Error::input("COSE receipt", problem, "ask the log for the receipt again"))
}

#[cfg(test)]
mod tests {
    use super::super::cosignature::tests::{LOG, leaves, log_key};
    use super::*;
    use crate::anchor::entry::{Entry, EntryType};

    fn log() -> VerifierKey {
        VerifierKey::new(LOG, log_key().verifying_key().into()).unwrap()
    }

    fn head(size: usize) -> Checkpoint {
        Checkpoint { size: size as u64, root: tree::root(&leaves()[..size]) }
    }

    fn receipt() -> Vec<u8> {
        let path = tree::reference::inclusion(2, &leaves());
        inclusion((&log(), &log_key()), &head(5), 2, leaves()[2], &path).unwrap()
    }

    #[test]
    fn known_answer() {
        let receipt = receipt();
        assert_eq!(receipt.len(), 226);
        let sha256 = "29c749090b8c8dd6908b112e284b17b8d5e889aec87f0410d29e137389895e97";
        assert_eq!(Hash::sha256(&receipt).to_string(), sha256);
        let header = "a4012704445e6801370fa101776c6f672e6578616d706c652f636f756e7465726d61726b19018b01";
        let hex: String = protected(&log()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, header);
        assert_eq!(verify_inclusion(&receipt, &log(), b"countermark vector 2").unwrap(), (5, 2));
    }

    #[test]
    fn another_entry_log_kind_or_key_is_refused() {
        let receipt = receipt();
        assert!(verify_inclusion(&receipt, &log(), b"countermark vector 3").is_err());
        let other = VerifierKey::new("other.example", log_key().verifying_key().into()).unwrap();
        assert!(verify_inclusion(&receipt, &other, b"countermark vector 2").is_err());
        let stranger = VerifierKey::new(LOG, SigningKey::from_bytes(&[9; 32]).verifying_key().into()).unwrap();
        assert!(verify_inclusion(&receipt, &stranger, b"countermark vector 2").is_err());
        assert!(verify_consistency(&receipt, &log(), &head(2), &head(5)).is_err());
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_refused() {
        let receipt = receipt();
        for at in 0..receipt.len() {
            for mask in [0x01, 0x20, 0x80] {
                let mut flipped = receipt.clone();
                flipped[at] ^= mask;
                assert!(verify_inclusion(&flipped, &log(), b"countermark vector 2").is_err(), "byte {at} {mask:#x}");
            }
            assert!(verify_inclusion(&receipt[..at], &log(), b"countermark vector 2").is_err());
        }
        assert!(verify_inclusion(&[&receipt[..], &[0]].concat(), &log(), b"countermark vector 2").is_err());
    }

    #[test]
    fn a_tree_of_one_entry_has_no_receipt() {
        let error = inclusion((&log(), &log_key()), &head(1), 0, leaves()[0], &[]).unwrap_err();
        assert!(error.to_string().contains("one entry"), "{error}");
        // Nor is one believed that somebody made all the same.
        let forged = sign((&log(), &log_key()), INCLUSION, (1, 0), &[], &head(1).root);
        assert!(verify_inclusion(&forged, &log(), b"countermark vector 0").is_err());
        let path = tree::reference::inclusion(2, &leaves());
        assert!(inclusion((&log(), &log_key()), &head(5), 3, leaves()[2], &path).is_err());
    }

    #[test]
    fn consistency_from_every_size() {
        let own = log();
        for old in 1..5 {
            let path = tree::reference::consistency(old, &leaves());
            let receipt = consistency((&own, &log_key()), &head(old), &head(5), &path).unwrap();
            verify_consistency(&receipt, &own, &head(old), &head(5)).unwrap();
            assert!(verify_consistency(&receipt, &own, &head(old), &head(4)).is_err());
            let forked = Checkpoint { root: Hash::sha256(b"fork"), ..head(old) };
            assert!(verify_consistency(&receipt, &own, &forked, &head(5)).is_err());
            assert!(verify_inclusion(&receipt, &own, b"countermark vector 2").is_err());
        }
        assert!(consistency((&own, &log_key()), &head(5), &head(5), &[]).is_err());
    }

    #[test]
    fn a_transparent_statement_is_its_entry_and_a_receipt() {
        let key = SigningKey::from_bytes(&[5; 32]);
        let id = Hash::sha256(b"statement");
        let signer = key.verifying_key().into();
        let entry = Entry { entry_type: EntryType::Release, object: id, root: id, statement: id, signer };
        let entry = entry.sign(&key).unwrap();
        let leaves = [tree::leaf(b"genesis"), tree::leaf(&entry)];
        let head = Checkpoint { size: 2, root: tree::root(&leaves) };
        let receipt = inclusion((&log(), &log_key()), &head, 1, leaves[1], &leaves[..1]).unwrap();
        let statement = transparent(&entry, std::slice::from_ref(&receipt)).unwrap();
        assert_eq!(split_transparent(&statement).unwrap(), (entry.clone(), vec![receipt.clone()]));
        // What is logged is never a statement with something beside its signature.
        assert!(Entry::verify(&statement).is_err());
        assert!(transparent(&statement, &[receipt]).is_err());
        assert!(split_transparent(&entry).is_err());
        assert!(split_transparent(&transparent(&entry, &[]).unwrap()).is_err());
    }
}
