//! Private keys as OpenSSL writes them: PKCS#8 (RFC 5208), encrypted by PBES2 (RFC 8018) or not, and SEC1 (RFC 5915).

use std::path::Path;
use std::sync::Arc;

use countermark_lineage::Error as LineageError;
use countermark_lineage::credential::keys::{Algorithm, PrivateKey, PublicKey};
use p521::ecdsa::signature::RandomizedSigner as _;
use pkcs8::SecretDocument;
use pkcs8::der::pem::PemLabel as _;
use pkcs8::pkcs5::{EncryptionScheme, Error as Pkcs5Error, pbes2, scrypt};
use pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo};
use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use super::Block;
use super::passphrase::Passphrase;
use crate::Error;

const SEC1: &str = "EC PRIVATE KEY";

/// Most iterations of PBKDF2 that are run: about ten seconds. OpenSSL writes 2,048 to 600,000.
const MOST_ITERATIONS: u32 = 10_000_000;
/// Most memory of scrypt, in bytes.
const MOST_MEMORY: u64 = 1 << 30;

/// A key of P-521. Its crate signs with randomness only, not deterministically.
struct P521(p521::ecdsa::SigningKey);

impl PrivateKey for P521 {
    fn public(&self) -> PublicKey {
        p521::ecdsa::VerifyingKey::from(&self.0).into()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, LineageError> {
        let signed: Result<p521::ecdsa::Signature, _> = self.0.try_sign_with_rng(&mut OsRng, message);
        let signature = signed
            .map_err(|error| LineageError::usage(format!("the P-521 key does not sign: {error}"), "try again"))?;
        Ok(signature.to_bytes().to_vec())
    }
}

/// Reads the block of a private key.
pub(super) fn read(path: &Path, block: &Block<'_>, passphrase: &Passphrase<'_>) -> Result<Arc<dyn PrivateKey>, Error> {
    let refuse = |problem: String| Error::refused(path, problem, super::HELP);
    match block.label {
        SEC1 if block.text.contains("ENCRYPTED") => Err(Error::refused(
            path,
            "is encrypted in the old way of OpenSSL, which is weak and not read",
            format!("run `openssl pkcs8 -topk8 -in {}` and use what it writes", path.display()),
        )),
        SEC1 => from_sec1(block.text).ok_or_else(|| refuse("is not an ECDSA key of P-256, P-384 or P-521".into())),
        PrivateKeyInfo::PEM_LABEL => from_der(document(path, block, passphrase)?.as_bytes()).map_err(refuse),
        EncryptedPrivateKeyInfo::PEM_LABEL => {
            let document = document(path, block, passphrase)?;
            from_der(document.as_bytes()).map_err(|_| refuse(wrong_passphrase()))
        }
        "RSA PRIVATE KEY" => Err(refuse("is an RSA key; only Ed25519 and ECDSA keys sign here".into())),
        other => Err(refuse(format!("is {other:?}, which is not read"))),
    }
}

/// The PKCS#8 document in a block, decrypted when it is encrypted.
pub(crate) fn document(path: &Path, block: &Block<'_>, passphrase: &Passphrase<'_>) -> Result<SecretDocument, Error> {
    let refuse = |problem: String| Error::refused(path, problem, super::HELP);
    match block.label {
        PrivateKeyInfo::PEM_LABEL => {
            let (_, document) = SecretDocument::from_pem(block.text)
                .map_err(|error| refuse(format!("is not a private key in PEM ({error})")))?;
            Ok(document)
        }
        EncryptedPrivateKeyInfo::PEM_LABEL => {
            let (_, document) = SecretDocument::from_pem(block.text)
                .map_err(|error| refuse(format!("is not a private key in PEM ({error})")))?;
            let encrypted = EncryptedPrivateKeyInfo::try_from(document.as_bytes())
                .map_err(|error| refuse(format!("is encrypted in a way that is not read: {error}")))?;
            check_cost(&encrypted.encryption_algorithm).map_err(refuse)?;
            encrypted.decrypt(passphrase(path)?.as_bytes()).map_err(|error| {
                // A wrong passphrase shows in the padding, or in what comes out.
                let problem = match error {
                    pkcs8::Error::EncryptedPrivateKey(Pkcs5Error::DecryptFailed | Pkcs5Error::EncryptFailed) => {
                        wrong_passphrase()
                    }
                    other => format!("cannot be decrypted: {other}; PBES2 with AES and SHA-2 is"),
                };
                Error::refused(path, problem, format!("try again, or run `openssl pkey -in {}`", path.display()))
            })
        }
        other => Err(refuse(format!("is {other:?}, which is not read"))),
    }
}

fn wrong_passphrase() -> String {
    "does not open with this passphrase".to_owned()
}

/// Reads an unencrypted PKCS#8 document. The problem, when it is none of our kinds.
fn from_der(der: &[u8]) -> Result<Arc<dyn PrivateKey>, String> {
    if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_der(der) {
        return Ok(Arc::new(key));
    }
    if let Ok(key) = p256::SecretKey::from_pkcs8_der(der) {
        return Ok(Arc::new(p256::ecdsa::SigningKey::from(key)));
    }
    if let Ok(key) = p384::SecretKey::from_pkcs8_der(der) {
        return Ok(Arc::new(p384::ecdsa::SigningKey::from(key)));
    }
    if let Some(key) = p521::SecretKey::from_pkcs8_der(der).ok().and_then(|key| of_p521(&key)) {
        return Ok(key);
    }
    Err(match PrivateKeyInfo::try_from(der) {
        Ok(info) => format!(
            "is a key of type {}, or damaged; Ed25519 and ECDSA over P-256, P-384 and P-521 sign here",
            info.algorithm.oid
        ),
        Err(error) => format!("is not a private key in PKCS#8 ({error})"),
    })
}

fn of_p521(key: &p521::SecretKey) -> Option<Arc<dyn PrivateKey>> {
    let key = p521::ecdsa::SigningKey::from_bytes(&key.to_bytes()).ok()?;
    Some(Arc::new(P521(key)))
}

fn from_sec1(pem: &str) -> Option<Arc<dyn PrivateKey>> {
    if let Ok(key) = p256::SecretKey::from_sec1_pem(pem) {
        return Some(Arc::new(p256::ecdsa::SigningKey::from(key)));
    }
    if let Ok(key) = p384::SecretKey::from_sec1_pem(pem) {
        return Some(Arc::new(p384::ecdsa::SigningKey::from(key)));
    }
    p521::SecretKey::from_sec1_pem(pem).ok().and_then(|key| of_p521(&key))
}

/// A file may ask for any number of rounds.
fn check_cost(scheme: &EncryptionScheme<'_>) -> Result<(), String> {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        return Err("is encrypted by PBES1, which is weak and not read; `openssl pkcs8 -topk8` writes PBES2".into());
    };
    let affordable = match &parameters.kdf {
        pbes2::Kdf::Pbkdf2(kdf) => kdf.iteration_count <= MOST_ITERATIONS,
        pbes2::Kdf::Scrypt(kdf) => {
            let memory = kdf.cost_parameter.saturating_mul(128).saturating_mul(u64::from(kdf.block_size));
            memory <= MOST_MEMORY && kdf.parallelization <= 16
        }
        _ => false,
    };
    if affordable { Ok(()) } else { Err("asks for too many rounds to derive its key from a passphrase".into()) }
}

/// A new private key: PKCS#8 PEM, and the public key.
///
/// # Errors
/// [`Error::Refused`] when it cannot be encoded.
pub fn generate(
    algorithm: Algorithm,
    passphrase: Option<&str>,
) -> Result<(Zeroizing<String>, Arc<dyn PrivateKey>), Error> {
    let document = match algorithm {
        Algorithm::Ed25519 => first_version(&super::generate()).to_pkcs8_der(),
        Algorithm::P256 => p256::SecretKey::random(&mut OsRng).to_pkcs8_der(),
        Algorithm::P384 => p384::SecretKey::random(&mut OsRng).to_pkcs8_der(),
        Algorithm::P521 => p521::SecretKey::random(&mut OsRng).to_pkcs8_der(),
    };
    let document = document.map_err(|error| cannot_encode(&error))?;
    let key = from_der(document.as_bytes()).map_err(|problem| cannot_encode(&problem))?;
    Ok((encode(document.as_bytes(), passphrase)?, key))
}

/// PKCS#8 PEM of an Ed25519 key, unencrypted.
///
/// # Errors
/// [`Error::Refused`] when the key cannot be encoded.
pub fn to_pem(key: &ed25519_dalek::SigningKey) -> Result<Zeroizing<String>, Error> {
    first_version(key).to_pkcs8_pem(LineEnding::LF).map_err(|error| cannot_encode(&error))
}

/// Without the public key: OpenSSL reads no PKCS#8 of the second version, which has it.
fn first_version(key: &ed25519_dalek::SigningKey) -> ed25519_dalek::pkcs8::KeypairBytes {
    ed25519_dalek::pkcs8::KeypairBytes { secret_key: key.to_bytes(), public_key: None }
}

/// PEM of a PKCS#8 document, encrypted by AES-256 under scrypt when there is a passphrase.
fn encode(der: &[u8], passphrase: Option<&str>) -> Result<Zeroizing<String>, Error> {
    let Some(passphrase) = passphrase else {
        let document = SecretDocument::try_from(der).map_err(|error| cannot_encode(&error))?;
        return document.to_pem(PrivateKeyInfo::PEM_LABEL, LineEnding::LF).map_err(|error| cannot_encode(&error));
    };
    // 16 MiB five times over: OpenSSL opens no file that takes more than 32 MiB.
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    OsRng.fill_bytes(&mut salt);
    OsRng.fill_bytes(&mut iv);
    let cost = scrypt::Params::new(14, 8, 5, 32).map_err(|error| cannot_encode(&error))?;
    let parameters = pbes2::Parameters::scrypt_aes256cbc(cost, &salt, &iv).map_err(|error| cannot_encode(&error))?;
    let info = PrivateKeyInfo::try_from(der).map_err(|error| cannot_encode(&error))?;
    let encrypted =
        info.encrypt_with_params(parameters, passphrase.as_bytes()).map_err(|error| cannot_encode(&error))?;
    encrypted.to_pem(EncryptedPrivateKeyInfo::PEM_LABEL, LineEnding::LF).map_err(|error| cannot_encode(&error))
}

fn cannot_encode(error: &dyn std::fmt::Display) -> Error {
    Error::refused(Path::new("new key"), error.to_string(), "try again")
}
