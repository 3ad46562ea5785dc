//! Keys that sign: files of several kinds, programs that answer, and devices. Files are never overwritten, and refused when
//! others can read them.
//!
//! | what `--key` names | read by |
//! |---|---|
//! | PKCS#8 PEM, encrypted or not, and SEC1 PEM | [`pkcs8`] |
//! | OpenSSH's private key of Ed25519, encrypted or not | [`openssh`] |
//! | a TOML file that names a program | [`command`] |
//! | a TOML file or a `pkcs11:` URI that names a key in a device | [`pkcs11`] (feature of that name) |
//!
//! What has none of these forms is refused with the command that makes one.

pub mod command;
pub mod config;
pub mod openssh;
pub mod passphrase;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
pub mod pkcs8;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use countermark_lineage::credential::keys::{PrivateKey, PublicKey};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use rand_core::OsRng;
use zeroize::Zeroizing;

use crate::{Error, files};
use passphrase::Passphrase;
pub use pkcs8::to_pem;

const MAX_KEY: u64 = 64 << 10;

const HELP: &str =
    "name a private key in PKCS#8 PEM, such as the owner.key that `countermark keygen` made; see docs/keys.md";

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

/// Is this the URI of a key in a device, and not a path?
pub fn is_uri(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with("pkcs11:"))
}

/// Finds the key that signs; a passphrase comes from where [`passphrase::ask`] looks for it.
///
/// # Errors
/// [`Error::Refused`] when others can read the file, it holds something else, or the device or program is not usable.
pub fn load(path: &Path) -> Result<Arc<dyn PrivateKey>, Error> {
    load_with(path, &passphrase::ask)
}

/// As [`load`]; `passphrase` is asked only for a key that is encrypted.
///
/// # Errors
/// As [`load`], and those of `passphrase`.
pub fn load_with(path: &Path, passphrase: &Passphrase<'_>) -> Result<Arc<dyn PrivateKey>, Error> {
    if is_uri(path) {
        return from_uri(path);
    }
    let text = Zeroizing::new(files::read_text(path, MAX_KEY)?);
    match Block::first(&text) {
        Some(block) => {
            check_secret(path)?;
            match block.label {
                openssh::LABEL => openssh::read(path, &block, passphrase),
                _ => pkcs8::read(path, &block, passphrase),
            }
        }
        None if config::is_config(&text) => {
            check_unwritable(path)?;
            from_config(path, &text)
        }
        None => Err(Error::refused(path, "is not a private key", HELP)),
    }
}

fn from_config(path: &Path, text: &str) -> Result<Arc<dyn PrivateKey>, Error> {
    match config::parse(path, text)? {
        config::Config::Command(config) => Ok(Arc::new(command::Command::new(path, config))),
        #[cfg(feature = "pkcs11")]
        config::Config::Pkcs11(config) => Ok(Arc::new(pkcs11::Device::open(path, &config)?)),
        #[cfg(not(feature = "pkcs11"))]
        config::Config::Pkcs11(_) => Err(without_pkcs11(path)),
    }
}

#[cfg(feature = "pkcs11")]
fn from_uri(path: &Path) -> Result<Arc<dyn PrivateKey>, Error> {
    let config = config::from_uri(path.to_str().unwrap_or_default())?;
    Ok(Arc::new(pkcs11::Device::open(Path::new("pkcs11"), &config)?))
}

#[cfg(not(feature = "pkcs11"))]
fn from_uri(path: &Path) -> Result<Arc<dyn PrivateKey>, Error> {
    Err(without_pkcs11(path))
}

#[cfg(not(feature = "pkcs11"))]
fn without_pkcs11(path: &Path) -> Error {
    Error::refused(path, "names a key in a device, and this build has no PKCS#11", "build with the feature pkcs11")
}

/// A PEM block, with whatever stands around it left away.
pub(crate) struct Block<'a> {
    /// Such as `PRIVATE KEY`.
    pub label: &'a str,
    /// From BEGIN to END.
    pub text: &'a str,
}

impl<'a> Block<'a> {
    /// The first block that can be a private key: OpenSSL puts text, certificates or `EC PARAMETERS` before it.
    pub fn first(text: &'a str) -> Option<Self> {
        Block::all(text).find(|block| block.label.ends_with("PRIVATE KEY"))
    }

    /// Every block.
    fn all(text: &'a str) -> impl Iterator<Item = Self> {
        let mut rest = text;
        std::iter::from_fn(move || {
            const BEGIN: &str = "-----BEGIN ";
            let start = rest.find(BEGIN)?;
            let label = rest[start + BEGIN.len()..].split_once("-----")?.0;
            let end = format!("-----END {label}-----");
            let length = rest[start..].find(&end)? + end.len();
            let text = &rest[start..start + length];
            rest = &rest[start + length..];
            Some(Block { label, text })
        })
    }
}

/// The public key in a PEM text: the first block of that kind.
pub fn public_from_pem(text: &str) -> Option<PublicKey> {
    let block = Block::all(text).find(|block| block.label == "PUBLIC KEY")?;
    let (_, document) = x509_cert::der::Document::from_pem(block.text).ok()?;
    PublicKey::from_spki(document.as_bytes())
}

/// Reads an Ed25519 private key in PKCS#8 PEM, as this crate writes it for a log.
///
/// # Errors
/// [`Error::Refused`] when others can read the file, or it holds something else.
pub fn load_ed25519(path: &Path) -> Result<SigningKey, Error> {
    let text = read_secret(path)?;
    SigningKey::from_pkcs8_pem(&text).map_err(|error| {
        let problem = format!("is not an unencrypted Ed25519 private key in PKCS#8 PEM ({error})");
        Error::refused(path, problem, "name the file that countermark made")
    })
}

/// Reads a secret file as text.
///
/// # Errors
/// [`Error::Refused`] when group or others can read it.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, Error> {
    check_secret(path)?;
    Ok(Zeroizing::new(files::read_text(path, MAX_KEY)?))
}

#[cfg(unix)]
fn mode(path: &Path) -> Result<u32, Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = fs::metadata(path).map_err(Error::io(path, "check the path of the key"))?;
    Ok(metadata.permissions().mode() & 0o777)
}

/// Nobody but the owner reads a secret.
#[cfg(unix)]
pub(crate) fn check_secret(path: &Path) -> Result<(), Error> {
    let mode = mode(path)?;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let problem = format!("can be read or written by others (mode {mode:03o})");
    let help = format!("run `chmod 600 {}`; if somebody may have copied it, make a new key", path.display());
    Err(Error::refused(path, problem, help))
}

/// Nobody but the owner chooses which program runs.
#[cfg(unix)]
pub(crate) fn check_unwritable(path: &Path) -> Result<(), Error> {
    let mode = mode(path)?;
    if mode & 0o022 == 0 {
        return Ok(());
    }
    let problem = format!("names what signs, and others can write it (mode {mode:03o})");
    Err(Error::refused(path, problem, format!("read it, then run `chmod go-w {}`", path.display())))
}

#[cfg(not(unix))]
pub(crate) fn check_secret(_: &Path) -> Result<(), Error> {
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn check_unwritable(_: &Path) -> Result<(), Error> {
    Ok(())
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
