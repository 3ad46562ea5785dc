//! The short-lived certificate: what it may be used for, whom it names, and that a certificate log promised to show it.

use der::oid::ObjectIdentifier;
use der::{Decode as _, Encode as _};
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, SubjectAltName};

use super::root::{TrustedRoot, key_id};
use crate::credential::c2pa::Refusal;

const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
/// Fulcio: who vouched for the name, as a bare text and as UTF8String.
const ISSUER_V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
const ISSUER_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");
/// Fulcio: a name of another kind than an address or a URL.
const OTHER_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");
/// RFC 6962, 3.3: promises of certificate logs.
const TIMESTAMPS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

fn wrong<T>(problem: &str) -> Result<T, Refusal> {
    Err(Refusal::invalid(format!("the signing certificate {problem}")))
}

/// Digital signatures, of code.
pub(super) fn check_usage(leaf: &Certificate) -> Result<(), Refusal> {
    let tbs = &leaf.tbs_certificate;
    match tbs.get::<KeyUsage>() {
        Ok(Some((_, usage))) if usage.digital_signature() => {}
        _ => return wrong("may not make digital signatures"),
    }
    match tbs.get::<ExtendedKeyUsage>() {
        Ok(Some((_, usage))) if usage.0.contains(&CODE_SIGNING) => Ok(()),
        _ => wrong("is not for signing code"),
    }
}

/// Names this identity, exactly, as this issuer said.
pub(super) fn check_identity(leaf: &Certificate, identity: &str, issuer: &str) -> Result<(), Refusal> {
    let Ok(Some((_, SubjectAltName(names)))) = leaf.tbs_certificate.get::<SubjectAltName>() else {
        return wrong("names nobody");
    };
    let text = |name: &GeneralName| match name {
        GeneralName::Rfc822Name(text) => Some(text.to_string()),
        GeneralName::UniformResourceIdentifier(text) => Some(text.to_string()),
        GeneralName::OtherName(other) if other.type_id == OTHER_NAME => {
            other.value.decode_as::<der::asn1::Utf8StringRef<'_>>().ok().map(|text| text.as_str().to_owned())
        }
        _ => None,
    };
    let names: Vec<String> = names.iter().filter_map(text).collect();
    if !names.iter().any(|name| name == identity) {
        return wrong(&format!("names {}, and {identity} was asked for", names.join(", ")));
    }
    let found = match (extension(leaf, ISSUER_V2), extension(leaf, ISSUER_V1)) {
        (Some(der), _) => der::asn1::Utf8StringRef::from_der(der).ok().map(|text| text.as_str().to_owned()),
        (None, Some(text)) => String::from_utf8(text.to_vec()).ok(),
        (None, None) => None,
    };
    match found {
        Some(found) if found == issuer => Ok(()),
        Some(found) => wrong(&format!("was issued on the word of {found}, and {issuer} was asked for")),
        None => wrong("does not say on whose word it was issued"),
    }
}

fn extension(certificate: &Certificate, oid: ObjectIdentifier) -> Option<&[u8]> {
    let extensions = certificate.tbs_certificate.extensions.as_deref().unwrap_or_default();
    extensions.iter().find(|extension| extension.extn_id == oid).map(|extension| extension.extn_value.as_bytes())
}

/// One promise of a known log over the certificate as it was before the promises were put in (RFC 6962, 3.2).
pub(super) fn check_transparency(
    leaf: &Certificate,
    issuer: &Certificate,
    root: &TrustedRoot,
) -> Result<String, Refusal> {
    let Some(list) = extension(leaf, TIMESTAMPS) else {
        return wrong("holds no promise of a certificate log");
    };
    let list = der::asn1::OctetStringRef::from_der(list).ok().map(|list| list.as_bytes());
    let Some(promises) = list.and_then(promises) else {
        return wrong("holds promises of certificate logs that cannot be read");
    };
    let mut before = leaf.tbs_certificate.clone();
    if let Some(extensions) = &mut before.extensions {
        extensions.retain(|extension| extension.extn_id != TIMESTAMPS);
    }
    let spki = issuer.tbs_certificate.subject_public_key_info.to_der();
    let (Ok(before), Ok(spki)) = (before.to_der(), spki) else {
        return wrong("cannot be encoded again");
    };
    for promise in &promises {
        let Some(log) = root.certificate_logs.iter().find(|log| log.id == promise.log) else { continue };
        let mut signed = vec![0, 0];
        signed.extend(promise.milliseconds.to_be_bytes());
        signed.extend([0, 1]);
        signed.extend(key_id(&spki));
        signed.extend(&(before.len() as u32).to_be_bytes()[1..]);
        signed.extend(&before);
        signed.extend((promise.extensions.len() as u16).to_be_bytes());
        signed.extend(promise.extensions);
        let time = i64::try_from(promise.milliseconds / 1000).unwrap_or(i64::MAX);
        if log.counted(time) && log.verifies(&signed, promise.signature)? {
            return Ok(format!("promised by {}", log.name));
        }
        return wrong(&format!("holds a promise that {} did not sign", log.name));
    }
    Err(Refusal::unknown_signer("the trusted root knows none of the certificate logs of the signer".to_owned()))
}

/// A signed certificate timestamp of version 1.
struct Promise<'a> {
    log: [u8; 32],
    milliseconds: u64,
    extensions: &'a [u8],
    signature: &'a [u8],
}

/// Reads the list in TLS encoding.
fn promises(list: &[u8]) -> Option<Vec<Promise<'_>>> {
    let (mut rest, []) = vector(list)? else { return None };
    let mut promises = Vec::new();
    while !rest.is_empty() {
        let (one, after) = vector(rest)?;
        rest = after;
        let (version, one) = one.split_first()?;
        let (log, one) = one.split_first_chunk::<32>()?;
        let (milliseconds, one) = one.split_first_chunk::<8>()?;
        let (extensions, one) = vector(one)?;
        // Hash and signature: SHA-256 with ECDSA, or with Ed25519's own.
        let (_, one) = one.split_first_chunk::<2>()?;
        let (signature, []) = vector(one)? else { return None };
        if *version == 0 {
            let milliseconds = u64::from_be_bytes(*milliseconds);
            promises.push(Promise { log: *log, milliseconds, extensions, signature });
        }
    }
    Some(promises)
}

/// Bytes after their length of two bytes, and what follows.
fn vector(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
