//! What a key file or a certificate is, for people: whose, of which kind, until when.

use std::path::Path;

use countermark_io::{certificate, files, keys};
use countermark_lineage::credential::keys::PublicKey;
use countermark_lineage::credential::x509::Summary;
use countermark_lineage::digest::Hash;
use serde::Serialize;

use crate::Error;

/// What one file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// `private key`, `public key`, or `certificates`.
    pub kind: &'static str,
    /// The key, or the key of the first certificate.
    pub key: PublicKey,
    /// `ed25519`, `p256`, `p384` or `p521`.
    pub algorithm: &'static str,
    /// How OpenSSF Model Signing names a key: SHA-256 of its PEM, with 64 columns and a line end.
    pub oms_hint: Hash,
    /// The certificates, the leaf first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Summary>,
}

/// Looks at what `--key` or `--certificate` would take, or at a public key.
///
/// # Errors
/// When the file cannot be read or is none of these, and whatever [`keys::load`] refuses.
pub fn show(path: &Path) -> Result<Shown, Error> {
    if !keys::is_uri(path) {
        let text = zeroize::Zeroizing::new(files::read_text(path, 1 << 20)?);
        let certificates = certificate::all(&text)?;
        if !text.contains("PRIVATE KEY-----")
            && let Some(leaf) = certificates.first()
        {
            let summaries = certificates.iter().map(|der| Summary::of(der)).collect::<Result<Vec<_>, _>>()?;
            let key = countermark_lineage::credential::c2pa::certificate_key(leaf)?;
            return Ok(shown("certificates", key, summaries));
        }
        if let Some(key) = keys::public_from_pem(&text) {
            return Ok(shown("public key", key, vec![]));
        }
    }
    Ok(shown("private key", keys::load(path)?.public(), vec![]))
}

fn shown(kind: &'static str, key: PublicKey, certificates: Vec<Summary>) -> Shown {
    let oms_hint = Hash::sha256(key.to_pem().as_bytes());
    Shown { kind, key, algorithm: key.algorithm().as_str(), oms_hint, certificates }
}
