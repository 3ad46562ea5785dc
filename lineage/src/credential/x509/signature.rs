//! Signatures as certificates and time-stamps carry them: an algorithm identifier, and a key of somebody else's choice.
//!
//! Ed25519 (RFC 8410), ECDSA with SHA-2 over the NIST curves (RFC 5758), RSA PKCS#1 v1.5 with SHA-2 (RFC 4055). Anything
//! else is not checked, which is not the same as wrong.

use der::Encode as _;
use der::asn1::AnyRef;
use der::oid::ObjectIdentifier;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::RsaPublicKey;
use rsa::pkcs1v15;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::credential::c2pa::Refusal;
use crate::credential::keys::{Algorithm, PublicKey, signature_from_der, signature_to_der};

pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The smallest and largest RSA modulus, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Hash of a signature.
#[derive(Clone, Copy)]
pub(in crate::credential) enum HashFunction {
    Sha256,
    Sha384,
    Sha512,
}

impl HashFunction {
    pub fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            HashFunction::Sha256 => Sha256::digest(message).to_vec(),
            HashFunction::Sha384 => Sha384::digest(message).to_vec(),
            HashFunction::Sha512 => Sha512::digest(message).to_vec(),
        }
    }

    /// By the identifier of the hash alone (RFC 5754, 2).
    pub fn from_oid(oid: &ObjectIdentifier) -> Option<Self> {
        match &*oid.to_string() {
            "2.16.840.1.101.3.4.2.1" => Some(HashFunction::Sha256),
            "2.16.840.1.101.3.4.2.2" => Some(HashFunction::Sha384),
            "2.16.840.1.101.3.4.2.3" => Some(HashFunction::Sha512),
            _ => None,
        }
    }
}

/// What an algorithm identifier asks for.
enum Scheme {
    Ed25519,
    Ecdsa(HashFunction),
    Rsa(HashFunction),
}

impl Scheme {
    /// `hash` is the one named beside the identifier, where the identifier names only the key's type (RFC 5652, 5.3).
    fn of(algorithm: &AlgorithmIdentifierOwned, hash: Option<HashFunction>) -> Result<Self, Refusal> {
        let parameters = algorithm.parameters.as_ref();
        let absent = parameters.is_none();
        let null = parameters.is_some_and(|any| AnyRef::from(any) == AnyRef::NULL);
        let scheme = match (&*algorithm.oid.to_string(), hash) {
            ("1.3.101.112", _) if absent => Scheme::Ed25519,
            ("1.2.840.10045.4.3.2", _) if absent => Scheme::Ecdsa(HashFunction::Sha256),
            ("1.2.840.10045.4.3.3", _) if absent => Scheme::Ecdsa(HashFunction::Sha384),
            ("1.2.840.10045.4.3.4", _) if absent => Scheme::Ecdsa(HashFunction::Sha512),
            ("1.2.840.113549.1.1.11", _) if absent || null => Scheme::Rsa(HashFunction::Sha256),
            ("1.2.840.113549.1.1.12", _) if absent || null => Scheme::Rsa(HashFunction::Sha384),
            ("1.2.840.113549.1.1.13", _) if absent || null => Scheme::Rsa(HashFunction::Sha512),
            ("1.2.840.113549.1.1.1", Some(hash)) if absent || null => Scheme::Rsa(hash),
            (oid, _) => {
                return Err(Refusal::unsupported(format!(
                    "signature algorithm {oid} is not checked; Ed25519, ECDSA and RSA PKCS#1 v1.5 with SHA-2 are"
                )));
            }
        };
        Ok(scheme)
    }
}

/// True when `signature` over `message` is by the key of `issuer`, under `algorithm`.
///
/// `hash` stands for the hash of an identifier that names only the type of the key, as CMS allows.
pub(in crate::credential) fn verifies(
    issuer: &SubjectPublicKeyInfoOwned,
    algorithm: &AlgorithmIdentifierOwned,
    hash: Option<HashFunction>,
    message: &[u8],
    signature: &[u8],
) -> Result<bool, Refusal> {
    let Ok(der) = issuer.to_der() else { return Ok(false) };
    match Scheme::of(algorithm, hash)? {
        Scheme::Ed25519 => {
            let key = PublicKey::from_spki(&der).filter(|key| key.algorithm() == Algorithm::Ed25519);
            Ok(key.is_some_and(|key| key.verifies(message, signature)))
        }
        Scheme::Ecdsa(hash) => {
            let Some(key) = PublicKey::from_spki(&der) else { return Err(unsupported_key(issuer)) };
            Ok(ecdsa_verifies(&key, &hash.digest(message), signature))
        }
        Scheme::Rsa(hash) => rsa_verifies(issuer, &der, hash, message, signature),
    }
}

fn unsupported_key(issuer: &SubjectPublicKeyInfoOwned) -> Refusal {
    Refusal::unsupported(format!("key type {} is not checked", issuer.algorithm.oid))
}

/// The other ECDSA signatures, in DER, that are good wherever this one is: on which curve is for the issuer's key to say.
pub(super) fn twins(signature: &[u8]) -> Vec<Vec<u8>> {
    macro_rules! twin {
        ($curve:ident, $algorithm:expr) => {
            signature_from_der($algorithm, signature).and_then(|fixed| {
                let (r, s) = $curve::ecdsa::Signature::from_slice(&fixed).ok()?.split_scalars();
                let other = $curve::ecdsa::Signature::from_scalars(r, -s).ok()?;
                Some(signature_to_der($algorithm, &other.to_bytes()))
            })
        };
    }
    [twin!(p256, Algorithm::P256), twin!(p384, Algorithm::P384), twin!(p521, Algorithm::P521)]
        .into_iter()
        .flatten()
        .collect()
}

/// ECDSA over a digest that need not have the size of the curve.
fn ecdsa_verifies(key: &PublicKey, digest: &[u8], signature: &[u8]) -> bool {
    let Some(fixed) = signature_from_der(key.algorithm(), signature) else { return false };
    let bytes = key.as_bytes();
    match key.algorithm() {
        Algorithm::Ed25519 => false,
        Algorithm::P256 => p256::ecdsa::Signature::from_slice(&fixed).is_ok_and(|signature| {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes);
            key.is_ok_and(|key| key.verify_prehash(digest, &signature).is_ok())
        }),
        Algorithm::P384 => p384::ecdsa::Signature::from_slice(&fixed).is_ok_and(|signature| {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(bytes);
            key.is_ok_and(|key| key.verify_prehash(digest, &signature).is_ok())
        }),
        Algorithm::P521 => p521::ecdsa::Signature::from_slice(&fixed).is_ok_and(|signature| {
            let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(bytes);
            key.is_ok_and(|key| key.verify_prehash(digest, &signature).is_ok())
        }),
    }
}

fn rsa_verifies(
    issuer: &SubjectPublicKeyInfoOwned,
    der: &[u8],
    hash: HashFunction,
    message: &[u8],
    signature: &[u8],
) -> Result<bool, Refusal> {
    if issuer.algorithm.oid != RSA {
        return Ok(false);
    }
    let Ok(key) = RsaPublicKey::from_public_key_der(der) else { return Err(unsupported_key(issuer)) };
    if !RSA_BITS.contains(&key.n().bits()) {
        return Err(Refusal::unsupported(format!("an RSA key of {} bits is not checked", key.n().bits())));
    }
    let Ok(signature) = pkcs1v15::Signature::try_from(signature) else { return Ok(false) };
    Ok(match hash {
        HashFunction::Sha256 => pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(message, &signature).is_ok(),
        HashFunction::Sha384 => pkcs1v15::VerifyingKey::<Sha384>::new(key).verify(message, &signature).is_ok(),
        HashFunction::Sha512 => pkcs1v15::VerifyingKey::<Sha512>::new(key).verify(message, &signature).is_ok(),
    })
}
