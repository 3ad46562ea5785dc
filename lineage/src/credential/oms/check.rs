//! From the bytes of a bundle to a verified statement: who signed, the signature, and only then the payload.
//!
//! The order is that of the specification (section 8). What was not verified is not parsed, and a method that was
//! asked for is never exchanged for the one that the bundle has material of.

use der::oid::ObjectIdentifier;
use x509_cert::Certificate;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::bundle::{Bundle, KeyHint, Material};
use super::sigstore::{self, Identity};
use super::statement::{Statement, is_legacy};
use super::{BUNDLE, SIGNATURE, SIGNER, STATEMENT};
use crate::Error;
use crate::credential::c2pa::Refusal;
use crate::credential::dsse::{PAYLOAD_TYPE, pae};
use crate::credential::keys::{Algorithm, PublicKey};
use crate::credential::policy::{CertificateRoot, Policy};
use crate::credential::x509::{self, path, signature};
use crate::digest::Hash;
use crate::verdict::{Check, State};

const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

/// By which method, and whom to believe.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Method `key`: this key, and no other.
    Key(PublicKey),
    /// Method `certificate`: a chain to one of these, in DER.
    Anchors(&'a [Vec<u8>]),
    /// Method `sigstore`.
    Sigstore(Identity<'a>),
    /// Whichever method the bundle has material of, as far as the policy vouches for it.
    Policy(&'a Policy),
}

impl Trust<'_> {
    fn method(&self) -> Option<&'static str> {
        match self {
            Trust::Key(_) => Some("key"),
            Trust::Anchors(_) => Some("certificate"),
            Trust::Sigstore(_) => Some("sigstore"),
            Trust::Policy(_) => None,
        }
    }
}

/// A statement under a signature that holds.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What was signed.
    pub statement: Statement,
    /// SHA-256 of the payload.
    pub id: Hash,
    /// Who signed, as far as that is known.
    pub signer: String,
    /// The key that signed.
    pub key: PublicKey,
    /// The certificates that the bundle holds, in DER.
    pub certificates: Vec<Vec<u8>>,
}

/// Reads and checks a bundle as of `now`, in Unix seconds, with a row for each step; the statement when its signature
/// holds.
///
/// The signer may still be unknown: the rows say so.
pub fn open(bytes: &[u8], trust: &Trust<'_>, now: i64) -> (Vec<Check>, Option<Opened>) {
    let mut rows = Vec::new();
    let opened = steps(bytes, trust, now, &mut rows);
    (rows, opened)
}

fn steps(bytes: &[u8], trust: &Trust<'_>, now: i64, rows: &mut Vec<Check>) -> Option<Opened> {
    let bundle = attempt(BUNDLE, Bundle::parse(bytes), rows)?;
    let method = bundle.material.method();
    if let Some(wanted) = trust.method().filter(|wanted| *wanted != method) {
        let problem = format!("it was signed by the method {method}, and the method {wanted} was asked for");
        rows.push(Check::new(BUNDLE, State::Invalid, problem));
        return None;
    }
    if bundle.payload_type != PAYLOAD_TYPE {
        rows.push(Check::new(BUNDLE, State::Invalid, format!("payloadType is not {PAYLOAD_TYPE}")));
        return None;
    }
    let mut detail = format!("Sigstore bundle v0.3, method {method}");
    if bundle.unused > 0 {
        detail += &format!("; {} log entries or time-stamps were not looked at", bundle.unused);
    }
    rows.push(Check::new(BUNDLE, State::Verified, detail));
    let signer = match (&bundle.material, trust) {
        (Material::Key(hint), Trust::Key(key)) => key_signer(hint, key, rows)?,
        (Material::Key(hint), Trust::Policy(policy)) => policy_signer(&bundle, hint, policy, rows)?,
        (Material::Chain(chain), Trust::Anchors(anchors)) => chain_signer(chain, anchors, now, rows)?,
        (Material::Chain(chain), Trust::Policy(policy)) => {
            let roots = policy.certificate_roots.iter().map(CertificateRoot::to_der).collect::<Result<Vec<_>, _>>();
            chain_signer(chain, &attempt(SIGNER, roots, rows)?, now, rows)?
        }
        (Material::Sigstore { leaf, entries, timestamps }, Trust::Sigstore(expected)) => {
            let [signature] = &*bundle.signatures else {
                rows.push(Check::new(SIGNATURE, State::Invalid, "a keyless bundle holds exactly one signature"));
                return None;
            };
            let (payload_type, payload) = (&*bundle.payload_type, &*bundle.payload);
            let evidence = sigstore::Evidence { leaf, entries, timestamps, payload_type, payload, signature };
            let (key, name) = sigstore::key(&evidence, expected, rows)?;
            Signer { key, name }
        }
        (Material::Sigstore { .. }, _) => {
            let problem = "signed without a key of its own, by the method sigstore; \
                           `countermark oms verify` checks it against a trusted root and an identity";
            rows.push(Check::new(SIGNER, State::UnknownSigner, problem));
            return None;
        }
        // The methods were compared above.
        _ => return None,
    };
    let legacy = match signed(&bundle, &signer.key) {
        Some(legacy) => legacy,
        None => {
            let problem = format!("does not fit the payload and the key {}", signer.key.short());
            rows.push(Check::new(SIGNATURE, State::Invalid, problem));
            return None;
        }
    };
    let mut detail = format!("by {} over the payload", signer.key.short());
    if bundle.signatures.len() > 1 {
        detail += &format!("; it is one of {} signatures", bundle.signatures.len());
    }
    if legacy {
        detail += ", in the encoding of model-signing 0.2.0";
    }
    rows.push(Check::new(SIGNATURE, State::Verified, detail));
    let statement = attempt(STATEMENT, Statement::parse(&bundle.payload), rows)?;
    let id = Hash::sha256(&bundle.payload);
    if let Trust::Policy(policy) = trust {
        limits(policy, &signer, &statement, &id, rows);
    }
    let listed = statement.resources.len();
    let what = if listed == 1 { "resource".to_owned() } else { "resources".to_owned() };
    let detail = format!("{listed} {what} of {}, root {}", statement.name, statement.root().short());
    rows.push(Check::new(STATEMENT, State::Verified, detail));
    let certificates = match &bundle.material {
        Material::Chain(chain) => chain.clone(),
        Material::Key(_) | Material::Sigstore { .. } => vec![],
    };
    Some(Opened { statement, id, signer: signer.name, key: signer.key, certificates })
}

fn attempt<T>(row: &str, result: Result<T, Error>, rows: &mut Vec<Check>) -> Option<T> {
    result.map_err(|error| rows.push(Check::new(row, State::Invalid, error.problem()))).ok()
}

/// The key under which the signature must hold.
struct Signer {
    key: PublicKey,
    name: String,
}

fn key_signer(found: &KeyHint, key: &PublicKey, rows: &mut Vec<Check>) -> Option<Signer> {
    if key.algorithm() == Algorithm::Ed25519 {
        rows.push(Check::new(SIGNER, State::Invalid, "OpenSSF Model Signing knows no Ed25519 keys"));
        return None;
    }
    if !found.fits(key) {
        let problem = format!("the bundle names another key than {}, which was asked for", key.short());
        rows.push(Check::new(SIGNER, State::Invalid, problem));
        return None;
    }
    rows.push(Check::new(SIGNER, State::Verified, format!("the key that was asked for, {}", key.short())));
    Some(Signer { key: *key, name: key.to_string() })
}

/// The signer of the policy whose key the bundle names. Without a name each key is tried.
fn policy_signer(bundle: &Bundle, found: &KeyHint, policy: &Policy, rows: &mut Vec<Check>) -> Option<Signer> {
    let usable = policy.signers.iter().filter(|signer| signer.key.algorithm() != Algorithm::Ed25519);
    let mut fitting = usable.filter(|signer| found.fits(&signer.key));
    let named = found.hint.is_some() || found.key.is_some();
    let chosen = if named { fitting.next() } else { fitting.find(|signer| signed(bundle, &signer.key).is_some()) };
    if let Some(chosen) = chosen {
        rows.push(Check::new(SIGNER, State::Verified, format!("{} ({})", chosen.name, chosen.key.short())));
        return Some(Signer { key: chosen.key, name: chosen.name.clone() });
    }
    // A key that is no signer's may still be one that was revoked.
    let revoked = policy.revoked.iter().find(|entry| entry.key.as_ref().is_some_and(|key| named && found.fits(key)));
    if let Some(entry) = revoked {
        rows.push(Check::new(SIGNER, State::Revoked, &*entry.reason));
        return None;
    }
    let detail = match (&found.key, &found.hint) {
        (Some(key), _) => format!("nobody in the policy vouches for {key}"),
        (None, Some(hint)) => format!("nobody in the policy vouches for the key with the hint {hint}"),
        (None, None) => "the bundle names no key, and it was signed by none of the policy's".to_owned(),
    };
    rows.push(Check::new(SIGNER, State::UnknownSigner, detail));
    let key = found.key.filter(|key| key.algorithm() != Algorithm::Ed25519)?;
    Some(Signer { key, name: key.to_string() })
}

/// The key of the leaf, and a row on whether the chain leads to one of `anchors`.
fn chain_signer(chain: &[Vec<u8>], anchors: &[Vec<u8>], now: i64, rows: &mut Vec<Check>) -> Option<Signer> {
    let read = || {
        let chain = chain.iter().map(|der| x509::parse(der)).collect::<Result<Vec<_>, _>>()?;
        let (leaf, pool) = chain.split_first().ok_or_else(|| Refusal::invalid("no certificate".to_owned()))?;
        let key = x509::key(leaf)?;
        if key.algorithm() == Algorithm::Ed25519 {
            return Err(Refusal::invalid("OpenSSF Model Signing knows no Ed25519 keys".to_owned()));
        }
        check_usage(leaf)?;
        Ok((key, leaf.clone(), pool.to_vec()))
    };
    let (key, leaf, pool) = match read() {
        Ok(found) => found,
        Err(refusal) => {
            rows.push(refusal.row(SIGNER));
            return None;
        }
    };
    let name = x509::subject(&leaf);
    // Anchors that are no certificates vouch for nobody.
    let anchors: Vec<Certificate> = anchors.iter().filter_map(|der| x509::parse(der).ok()).collect();
    match path::anchored(&leaf, &pool, &anchors, now) {
        Ok(anchor) if *anchor == leaf => {
            rows.push(Check::new(SIGNER, State::Verified, format!("{name}, whose own certificate was given")));
        }
        Ok(anchor) => {
            let detail = format!("{name}, vouched for by {}", x509::subject(anchor));
            rows.push(Check::new(SIGNER, State::Verified, detail));
        }
        Err(refusal) => rows.push(refusal.row(SIGNER)),
    }
    Some(Signer { key, name })
}

/// The key of the first certificate of `chain` (DER), when OMS lets it sign.
///
/// # Errors
/// [`Error::Input`] when a certificate cannot be read, or the first one is for something else.
pub fn check_chain(chain: &[Vec<u8>]) -> Result<PublicKey, Error> {
    let certificates = chain.iter().map(|der| x509::parse(der)).collect::<Result<Vec<_>, _>>()?;
    let leaf = certificates.first().ok_or_else(|| Refusal::invalid("no certificate".to_owned()))?;
    check_usage(leaf)?;
    Ok(x509::key(leaf)?)
}

/// Digital signatures, or signing of code.
fn check_usage(leaf: &Certificate) -> Result<(), Refusal> {
    let tbs = &leaf.tbs_certificate;
    let (Ok(usage), Ok(purposes)) = (tbs.get::<KeyUsage>(), tbs.get::<ExtendedKeyUsage>()) else {
        return Err(Refusal::invalid("the usage of the signing certificate cannot be parsed".to_owned()));
    };
    let signs = usage.is_some_and(|(_, usage)| usage.digital_signature());
    if signs || purposes.is_some_and(|(_, purposes)| purposes.0.contains(&CODE_SIGNING)) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "the certificate of {} is neither for digital signatures nor for code",
        x509::subject(leaf)
    )))
}

/// What the policy says of this signer and this statement beyond the key.
fn limits(policy: &Policy, signer: &Signer, statement: &Statement, id: &Hash, rows: &mut Vec<Check>) {
    if let Some(reason) = policy.revocation(&signer.key, id, &[]) {
        rows.push(Check::new(SIGNER, State::Revoked, reason));
    } else if let Some(known) = policy.signer(&signer.key)
        && !known.may_name(&statement.name)
    {
        let detail = format!("{} may not vouch for {:?}", known.name, statement.name);
        rows.push(Check::new(SIGNER, State::UnknownSigner, detail));
    }
}

/// `None` when no signature is by `key`; else whether it is in the broken encoding of version 0.2.0.
fn signed(bundle: &Bundle, key: &PublicKey) -> Option<bool> {
    let encoded = pae(&bundle.payload_type, &bundle.payload);
    if bundle.signatures.iter().any(|der| key.verifies_der(&encoded, der)) {
        return Some(false);
    }
    if !is_legacy(&bundle.payload) || matches!(bundle.material, Material::Sigstore { .. }) {
        return None;
    }
    // Always with SHA-256, whatever the curve.
    let spki = <SubjectPublicKeyInfoOwned as der::Decode<'_>>::from_der(&key.to_spki()).ok()?;
    let algorithm = AlgorithmIdentifierOwned { oid: ECDSA_SHA256, parameters: None };
    let encoded = legacy_pae(&bundle.payload_type, &bundle.payload);
    let fits = |der: &Vec<u8>| signature::verifies(&spki, &algorithm, None, encoded.as_bytes(), der).unwrap_or(false);
    bundle.signatures.iter().any(fits).then_some(true)
}

/// The encoding of model-signing 0.2.0, which wrote the payload as Python shows bytes, under a capital V.
fn legacy_pae(payload_type: &str, payload: &[u8]) -> String {
    let quote = if payload.contains(&b'\'') && !payload.contains(&b'"') { '"' } else { '\'' };
    let mut text = format!("DSSEV1 {} {payload_type} {} b{quote}", payload_type.len(), payload.len());
    for byte in payload {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b' '..=b'~' if char::from(*byte) == quote => text.extend(['\\', quote]),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push(quote);
    text
}
