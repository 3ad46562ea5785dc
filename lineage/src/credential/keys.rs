//! Public keys and their signatures: Ed25519, and ECDSA over the NIST curves for devices and services that know nothing
//! else.
//!
//! Ed25519 is checked by the strict rule everywhere: `verify_strict` refuses small-order keys and points, and
//! non-canonical scalars, so one signature has one encoding. ECDSA goes with the hash of its curve's size (SHA-256,
//! SHA-384, SHA-512). Its signatures come in two encodings: COSE has two integers of fixed size, X.509 and DSSE have DER.

use std::fmt;

use der::{Decode as _, Encode as _};
use ed25519_dalek::{Signature, VerifyingKey};
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Error;
use crate::digest::Hash;

/// Which kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// EdDSA over Curve25519 (RFC 8032).
    Ed25519,
    /// ECDSA over NIST P-256 with SHA-256.
    P256,
    /// ECDSA over NIST P-384 with SHA-384.
    P384,
    /// ECDSA over NIST P-521 with SHA-512.
    P521,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 4] = [Algorithm::Ed25519, Algorithm::P256, Algorithm::P384, Algorithm::P521];

    /// The word in front of a key's text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Ed25519 => "ed25519",
            Algorithm::P256 => "p256",
            Algorithm::P384 => "p384",
            Algorithm::P521 => "p521",
        }
    }

    /// The number in COSE (RFC 9053): EdDSA, ES256, ES384, ES512.
    pub fn cose(self) -> i64 {
        match self {
            Algorithm::Ed25519 => -8,
            Algorithm::P256 => -7,
            Algorithm::P384 => -35,
            Algorithm::P521 => -36,
        }
    }

    /// Bytes of a public key: a compressed point (SEC 1, 2.3.3), or the 32 bytes of RFC 8032.
    pub const fn key_length(self) -> usize {
        match self {
            Algorithm::Ed25519 => 32,
            Algorithm::P256 => 33,
            Algorithm::P384 => 49,
            Algorithm::P521 => 67,
        }
    }

    /// Bytes of a signature of fixed size.
    pub const fn signature_length(self) -> usize {
        match self {
            Algorithm::Ed25519 | Algorithm::P256 => 64,
            Algorithm::P384 => 96,
            Algorithm::P521 => 132,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

const LONGEST: usize = Algorithm::P521.key_length();

/// A public key that is a point of its curve. Text form: the algorithm, a colon, and the key's bytes in lower-case
/// hexadecimal digits, such as `ed25519:` and 64 of them. This is also the key id of DSSE.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey {
    algorithm: Algorithm,
    /// The first [`Algorithm::key_length`] count, the rest is zero.
    bytes: [u8; LONGEST],
}

impl PublicKey {
    /// Reads the bytes that [`PublicKey::as_bytes`] gives, or an uncompressed point; refuses what is not a point, and the
    /// weak points of Curve25519.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Ed25519 => {
                let key = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
                (!key.is_weak()).then(|| PublicKey::from(key))
            }
            Algorithm::P256 => Some(p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes).ok()?.into()),
            Algorithm::P384 => Some(p384::ecdsa::VerifyingKey::from_sec1_bytes(bytes).ok()?.into()),
            Algorithm::P521 => Some(p521::ecdsa::VerifyingKey::from_sec1_bytes(bytes).ok()?.into()),
        }
    }

    fn new(algorithm: Algorithm, key: &[u8]) -> Self {
        let mut bytes = [0; LONGEST];
        bytes[..key.len()].copy_from_slice(key);
        PublicKey { algorithm, bytes }
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        let (word, digits) = text.split_once(':')?;
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == word)?;
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
        let bytes =
            pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<Vec<_>>>()?;
        // An uncompressed point would be another spelling.
        PublicKey::from_bytes(algorithm, &bytes).filter(|key| key.as_bytes() == bytes)
    }

    /// Reads a SubjectPublicKeyInfo in DER.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        let info = x509_cert::spki::SubjectPublicKeyInfoOwned::from_der(der).ok()?;
        if info.to_der().ok()? != der {
            return None;
        }
        if let Ok(key) = ed25519_dalek::pkcs8::DecodePublicKey::from_public_key_der(der) {
            let key: VerifyingKey = key;
            return (!key.is_weak()).then(|| PublicKey::from(key));
        }
        p256::ecdsa::VerifyingKey::from_public_key_der(der)
            .map(PublicKey::from)
            .or_else(|_| p384::ecdsa::VerifyingKey::from_public_key_der(der).map(PublicKey::from))
            .or_else(|_| p521::PublicKey::from_public_key_der(der).map(PublicKey::from))
            .ok()
    }

    /// Takes the bytes of [`PublicKey::as_bytes`] out of a place where only checked keys are kept, and tells the algorithm
    /// from their length. Whether they are a point is not checked, which costs more than a query; no other key verifies
    /// anything.
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.key_length() == bytes.len())?;
        Some(PublicKey::new(algorithm, bytes))
    }

    /// Its SubjectPublicKeyInfo in DER.
    pub fn to_spki(&self) -> Vec<u8> {
        let bytes = self.as_bytes();
        // The bytes were a point when they came in.
        let document = match self.algorithm {
            Algorithm::Ed25519 => {
                let key = self.as_ed25519().and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
                key.and_then(|key| ed25519_dalek::pkcs8::EncodePublicKey::to_public_key_der(&key).ok())
            }
            Algorithm::P256 => {
                p256::PublicKey::from_sec1_bytes(bytes).ok().and_then(|key| key.to_public_key_der().ok())
            }
            Algorithm::P384 => {
                p384::PublicKey::from_sec1_bytes(bytes).ok().and_then(|key| key.to_public_key_der().ok())
            }
            Algorithm::P521 => {
                p521::PublicKey::from_sec1_bytes(bytes).ok().and_then(|key| key.to_public_key_der().ok())
            }
        };
        document.map(|document| document.into_vec()).unwrap_or_default()
    }

    /// [`PublicKey::to_spki`] in PEM, with 64 columns and `\n` line ends (RFC 7468).
    pub fn to_pem(&self) -> String {
        der::pem::encode_string("PUBLIC KEY", der::pem::LineEnding::LF, &self.to_spki()).unwrap_or_default()
    }

    /// Which kind of key it is.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// 32 bytes of RFC 8032, or a compressed point.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.key_length()]
    }

    /// The 32 bytes of an Ed25519 key.
    pub fn as_ed25519(&self) -> Option<&[u8; 32]> {
        (self.algorithm == Algorithm::Ed25519).then(|| self.bytes.first_chunk()).flatten()
    }

    /// 32 bytes that stand for this key where there is no room for another: an Ed25519 key itself, the SHA-256 of the text
    /// form of any other.
    pub fn id(&self) -> [u8; 32] {
        self.as_ed25519().copied().unwrap_or_else(|| Hash::sha256(self.to_string().as_bytes()).0)
    }

    /// True when `signature`, of fixed size, is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let bytes = self.as_bytes();
        match self.algorithm {
            Algorithm::Ed25519 => Signature::from_slice(signature).is_ok_and(|signature| {
                let key = self.as_ed25519().and_then(|bytes| VerifyingKey::from_bytes(bytes).ok());
                key.is_some_and(|key| key.verify_strict(message, &signature).is_ok())
            }),
            Algorithm::P256 => p256::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
                    .is_ok_and(|key| key.verify(message, &signature).is_ok())
            }),
            Algorithm::P384 => p384::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                p384::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
                    .is_ok_and(|key| key.verify(message, &signature).is_ok())
            }),
            Algorithm::P521 => p521::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                p521::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
                    .is_ok_and(|key| key.verify(message, &signature).is_ok())
            }),
        }
    }

    /// As [`PublicKey::verifies`], for an ECDSA signature in DER. An Ed25519 signature has one encoding only.
    pub fn verifies_der(&self, message: &[u8], signature: &[u8]) -> bool {
        signature_from_der(self.algorithm, signature).is_some_and(|fixed| self.verifies(message, &fixed))
    }

    /// The text form cut short, for people.
    pub fn short(&self) -> String {
        self.to_string()[..self.algorithm.as_str().len() + 13].to_owned()
    }
}

/// The two integers of an ECDSA signature.
#[derive(der::Sequence)]
struct EcdsaSignature<'a> {
    r: der::asn1::UintRef<'a>,
    s: der::asn1::UintRef<'a>,
}

/// The fixed form of a signature in DER (RFC 3279, 2.2.3), which must be the one encoding of it. Ed25519 stays as it is.
pub fn signature_from_der(algorithm: Algorithm, signature: &[u8]) -> Option<Vec<u8>> {
    if algorithm == Algorithm::Ed25519 {
        return Some(signature.to_vec());
    }
    let parsed = EcdsaSignature::from_der(signature).ok()?;
    if parsed.to_der().ok()? != signature {
        return None;
    }
    let size = algorithm.signature_length() / 2;
    let mut fixed = vec![0; 2 * size];
    for (integer, half) in [parsed.r, parsed.s].into_iter().zip(fixed.chunks_exact_mut(size)) {
        let start = size.checked_sub(integer.as_bytes().len())?;
        half[start..].copy_from_slice(integer.as_bytes());
    }
    Some(fixed)
}

/// The DER form of a signature of fixed size.
pub fn signature_to_der(algorithm: Algorithm, signature: &[u8]) -> Vec<u8> {
    if algorithm == Algorithm::Ed25519 {
        return signature.to_vec();
    }
    let (r, s) = signature.split_at(signature.len() / 2);
    let integer = |bytes| der::asn1::UintRef::new(bytes);
    // Two integers of at most 66 bytes fit into any DER.
    let encoded = integer(r).and_then(|r| EcdsaSignature { r, s: integer(s)? }.to_der());
    encoded.unwrap_or_default()
}

/// What signs: a key in memory, or one in a device or a service that only answers.
pub trait PrivateKey: Send + Sync {
    /// The key that verifies.
    fn public(&self) -> PublicKey;

    /// A signature of fixed size over `message`.
    ///
    /// # Errors
    /// When a device or service does not answer, or answers something else than a signature.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error>;
}

impl PrivateKey for ed25519_dalek::SigningKey {
    fn public(&self) -> PublicKey {
        self.verifying_key().into()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(ed25519_dalek::Signer::sign(self, message).to_bytes().to_vec())
    }
}

/// Signs deterministically (RFC 6979) and writes the smaller of the two equivalent signatures.
macro_rules! deterministic_ecdsa {
    ($curve:ident) => {
        impl PrivateKey for $curve::ecdsa::SigningKey {
            fn public(&self) -> PublicKey {
                PublicKey::from(*self.verifying_key())
            }

            fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
                let signature: $curve::ecdsa::Signature = p256::ecdsa::signature::Signer::sign(self, message);
                Ok(signature.normalize_s().unwrap_or(signature).to_bytes().to_vec())
            }
        }
    };
}

// The crate for P-521 cannot sign without a source of randomness, so that is for `countermark-io`.
deterministic_ecdsa!(p256);
deterministic_ecdsa!(p384);

impl From<p256::ecdsa::VerifyingKey> for PublicKey {
    fn from(key: p256::ecdsa::VerifyingKey) -> Self {
        PublicKey::new(Algorithm::P256, key.to_encoded_point(true).as_bytes())
    }
}

impl From<p384::ecdsa::VerifyingKey> for PublicKey {
    fn from(key: p384::ecdsa::VerifyingKey) -> Self {
        PublicKey::new(Algorithm::P384, key.to_encoded_point(true).as_bytes())
    }
}

impl From<p521::ecdsa::VerifyingKey> for PublicKey {
    fn from(key: p521::ecdsa::VerifyingKey) -> Self {
        PublicKey::new(Algorithm::P521, key.to_encoded_point(true).as_bytes())
    }
}

impl From<p521::PublicKey> for PublicKey {
    fn from(key: p521::PublicKey) -> Self {
        use p521::elliptic_curve::sec1::ToEncodedPoint as _;
        PublicKey::new(Algorithm::P521, key.to_encoded_point(true).as_bytes())
    }
}

impl From<VerifyingKey> for PublicKey {
    fn from(key: VerifyingKey) -> Self {
        PublicKey::new(Algorithm::Ed25519, key.as_bytes())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.algorithm)?;
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        PublicKey::parse(&text).ok_or_else(|| {
            de::Error::custom(
                "expected a public key: ed25519:, p256:, p384: or p521: and lower-case hexadecimal digits",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<Box<dyn PrivateKey>> {
        vec![
            Box::new(ed25519_dalek::SigningKey::from_bytes(&[7; 32])),
            Box::new(p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap()),
            Box::new(p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap()),
        ]
    }

    #[test]
    fn a_key_of_p521_survives_its_forms() {
        let secret = p521::SecretKey::from_slice(&[&[0][..], &[7; 65]].concat()).unwrap();
        let public = PublicKey::from(secret.public_key());
        assert_eq!((public.algorithm(), public.as_bytes().len()), (Algorithm::P521, 67));
        assert_eq!(PublicKey::parse(&public.to_string()), Some(public));
        assert_eq!(PublicKey::from_spki(&public.to_spki()), Some(public));
        assert!(!public.verifies(b"", &[1; 132]));
    }

    #[test]
    fn every_form_of_a_key_gives_it_back() {
        for (key, algorithm) in keys().iter().zip(Algorithm::ALL) {
            let public = key.public();
            assert_eq!(public.algorithm(), algorithm);
            assert_eq!(PublicKey::parse(&public.to_string()), Some(public));
            assert_eq!(PublicKey::from_bytes(algorithm, public.as_bytes()), Some(public));
            assert_eq!(PublicKey::from_spki(&public.to_spki()), Some(public), "{algorithm}");
            assert!(public.to_pem().starts_with("-----BEGIN PUBLIC KEY-----\n"));
            assert!(public.to_string().starts_with(&public.short()));
            assert!(PublicKey::parse(&public.to_string().to_uppercase()).is_none());
            assert!(PublicKey::parse(&public.to_string()[..40]).is_none());
        }
    }

    #[test]
    fn a_signature_is_of_one_key_over_one_message_in_either_encoding() {
        for key in keys() {
            let (public, algorithm) = (key.public(), key.public().algorithm());
            let signature = key.sign(b"message").unwrap();
            let der = signature_to_der(algorithm, &signature);
            assert_eq!(signature.len(), algorithm.signature_length());
            assert_eq!(signature_from_der(algorithm, &der).as_ref(), Some(&signature));
            assert!(public.verifies(b"message", &signature) && public.verifies_der(b"message", &der));
            assert!(!public.verifies(b"massage", &signature) && !public.verifies_der(b"massage", &der));
            for other in keys().iter().filter(|other| other.public() != public) {
                assert!(!other.public().verifies(b"message", &signature));
            }
            for at in 0..der.len() {
                let mut flipped = der.clone();
                flipped[at] ^= 1;
                assert!(!public.verifies_der(b"message", &flipped), "{algorithm} byte {at}");
                assert!(!public.verifies_der(b"message", &der[..at]));
            }
        }
    }
}
