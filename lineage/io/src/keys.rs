//! Key files: Ed25519 and P-256 in PKCS#8 PEM, never overwritten, refused when others can read them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use countermark_lineage::credential::keys::PrivateKey;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use rand_core::OsRng;
use zeroize::Zeroizing;

use crate::{Error, files};

const MAX_KEY: u64 = 64 << 10;

/// A new Ed25519 key from the operating system's randomness.
pub fn generate() -> SigningKey {
    SigningKey::generate(&mut OsRng)
}

/// 32 bytes of the operating system's randomness.
pub fn random() -> Zeroizing<[u8; 32]> {
    use rand_core::RngCore as _;
    let mut bytes = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(&mut *bytes);
    bytes
}

/// PKCS#8 PEM of an Ed25519 key.
///
/// # Errors
/// [`Error::Refused`] when the key cannot be encoded.
pub fn to_pem(key: &SigningKey) -> Result<Zeroizing<String>, Error> {
    key.to_pkcs8_pem(LineEnding::LF).map_err(|error| cannot_encode(&error))
}

/// SubjectPublicKeyInfo PEM of an Ed25519 key.
///
/// # Errors
/// [`Error::Refused`] when the key cannot be encoded.
pub fn public_to_pem(key: &SigningKey) -> Result<String, Error> {
    key.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|error| cannot_encode(&error))
}

/// A new P-256 key for OpenSSF Model Signing, which knows no Ed25519: private and public PEM.
///
/// # Errors
/// [`Error::Refused`] when the key cannot be encoded.
pub fn generate_p256() -> Result<(Zeroizing<String>, String), Error> {
    let key = p256::SecretKey::random(&mut OsRng);
    let private = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| cannot_encode(&error))?;
    let public = key.public_key().to_public_key_pem(LineEnding::LF).map_err(|error| cannot_encode(&error))?;
    Ok((private, public))
}

fn cannot_encode(error: &dyn std::fmt::Display) -> Error {
    Error::refused(Path::new("new key"), error.to_string(), "try again")
}

/// Finds the key that signs.
///
/// # Errors
/// [`Error::Refused`] when others can read the file, or it holds something else.
pub fn load(path: &Path) -> Result<Arc<dyn PrivateKey>, Error> {
    Ok(Arc::new(load_ed25519(path)?))
}

/// Reads an Ed25519 private key in PKCS#8 PEM.
///
/// # Errors
/// [`Error::Refused`] when others can read the file, or it holds something else.
pub fn load_ed25519(path: &Path) -> Result<SigningKey, Error> {
    let text = read_secret(path)?;
    SigningKey::from_pkcs8_pem(&text).map_err(|error| {
        let problem = if text.contains("ENCRYPTED") {
            "is encrypted, which is not supported yet".to_owned()
        } else {
            format!("is not an Ed25519 private key in PKCS#8 PEM ({error})")
        };
        Error::refused(path, problem, "name the file owner.key that `countermark keygen` made")
    })
}

/// Reads a secret file as text.
///
/// # Errors
/// [`Error::Refused`] when group or others can read it.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, Error> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = fs::metadata(path).map_err(Error::io(path, "check the path of the key"))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Error::refused(
                path,
                format!("can be read or written by others (mode {mode:03o})"),
                format!("run `chmod 600 {}`; if somebody may have copied it, make a new key", path.display()),
            ));
        }
    }
    Ok(Zeroizing::new(files::read_text(path, MAX_KEY)?))
}

/// Writes a key file that is not there yet.
///
/// # Errors
/// [`Error::Refused`] when something has that name already.
pub fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(Error::refused(
            path,
            "is there already, and a key is never overwritten",
            "choose another folder, or move the old keys away first",
        ));
    }
    files::write(path, text.as_bytes(), mode)
}
