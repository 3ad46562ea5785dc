//! Certificates of C2PA signers: RFC 5280, in the profile of the C2PA specification (2.2, 14.5).
//!
//! A certificate must be exactly the DER that its own parse encodes to, so that what is checked is what was signed.

pub(super) mod path;
pub(super) mod signature;

use der::asn1::BitString;
use x509_cert::Certificate;
use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::der::{Decode as _, Encode as _, Tagged as _, asn1::Any};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier,
};
use x509_cert::name::Name;

use serde::Serialize;

use super::c2pa::Refusal;
use super::keys::PublicKey;
use crate::Error;
use crate::digest::Hash;
use crate::graph::statement::rfc3339;

/// The longest certificate that is parsed, in bytes. Ours have about 400.
const MAX_CERTIFICATE: usize = 16 << 10;
/// Leaf, intermediates and root.
const MAX_CHAIN: usize = 5;
/// The longest validity of a leaf, in seconds.
const MAX_LEAF_VALIDITY: i64 = 366 * 86_400;

const EC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANISATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
/// Purposes of which a leaf needs one: C2PA claim signing, e-mail protection, document signing.
const CLAIM_PURPOSES: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.62558.2.1"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.36"),
];
/// Purposes that a leaf must not have: any, time-stamping, OCSP signing.
const FOREIGN_PURPOSES: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("2.5.29.37.0"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9"),
];

/// What a certificate says, for people. Nothing is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Common name and organisation.
    pub subject: String,
    /// Of whoever signed it.
    pub issuer: String,
    /// First and last second of its validity, RFC 3339.
    pub valid: (String, String),
    /// Its key, when that is of a kind that signs here.
    pub key: Option<PublicKey>,
    /// True when it is an authority's.
    pub authority: bool,
}

impl Summary {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`Error::Input`] when it cannot be parsed.
    pub fn of(der: &[u8]) -> Result<Self, Error> {
        let certificate = parse(der)?;
        let (from, to) = validity(&certificate);
        let constraints = certificate.tbs_certificate.get::<BasicConstraints>().ok().flatten();
        Ok(Summary {
            subject: subject(&certificate),
            issuer: name(&certificate.tbs_certificate.issuer),
            valid: (rfc3339(from), rfc3339(to)),
            key: key(&certificate).ok(),
            authority: constraints.is_some_and(|(_, constraints)| constraints.ca),
        })
    }
}

/// Reads one certificate.
pub(super) fn parse(der: &[u8]) -> Result<Certificate, Refusal> {
    let refuse = |problem: &str| Refusal::invalid(format!("a certificate {problem}"));
    if der.len() > MAX_CERTIFICATE {
        return Err(refuse("is above 16 KiB"));
    }
    let certificate = Certificate::from_der(der).map_err(|error| refuse(&format!("cannot be parsed: {error}")))?;
    match certificate.to_der() {
        Ok(again) if again == der => Ok(certificate),
        _ => Err(refuse("is not in DER")),
    }
}

/// The key of a certificate.
pub(super) fn key(certificate: &Certificate) -> Result<PublicKey, Refusal> {
    let info = &certificate.tbs_certificate.subject_public_key_info;
    let key = info.to_der().ok().and_then(|der| PublicKey::from_spki(&der));
    key.ok_or_else(|| {
        let oid = info.algorithm.oid;
        let problem = format!("{}: key type {oid}", subject(certificate));
        if [signature::ED25519, EC_KEY].contains(&oid) {
            Refusal::invalid(format!("{problem}: not a key, or of a curve that is not allowed"))
        } else {
            Refusal::unsupported(format!("{problem}; only Ed25519 and ECDSA over P-256, P-384 and P-521 are checked"))
        }
    })
}

/// SHA-256 of a certificate in DER, under every encoding that its issuer's signature has: an ECDSA signature (r, s) is as
/// good as (r, -s), so whoever revokes the one means the other too.
pub fn fingerprints(der: &[u8]) -> Vec<Hash> {
    let mut found = vec![Hash::sha256(der)];
    let Ok(certificate) = parse(der) else { return found };
    let bytes = certificate.signature.as_bytes().unwrap_or_default();
    for twin in signature::twins(bytes) {
        let Ok(signature) = BitString::from_bytes(&twin) else { continue };
        let other = Certificate { signature, ..certificate.clone() };
        found.extend(other.to_der().ok().map(|der| Hash::sha256(&der)));
    }
    found
}

/// Common name and organisation, for people.
pub(super) fn subject(certificate: &Certificate) -> String {
    name(&certificate.tbs_certificate.subject)
}

fn name(name: &Name) -> String {
    match (attribute(name, COMMON_NAME), attribute(name, ORGANISATION)) {
        (Some(common), Some(organisation)) if common != organisation => format!("{common} ({organisation})"),
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => "certificate without a name".to_owned(),
    }
}

/// First and last second of validity, in Unix time.
pub(super) fn validity(certificate: &Certificate) -> (i64, i64) {
    let validity = &certificate.tbs_certificate.validity;
    let unix = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    (unix(validity.not_before), unix(validity.not_after))
}

/// Who vouches for the leaf of `chain` (leaf first) at `now`: the name of the root among `anchors` that does.
///
/// Anchors that are no certificates of an authority vouch for nobody.
pub(super) fn evaluate(chain: &[Vec<u8>], anchors: &[Vec<u8>], now: i64) -> Result<String, Refusal> {
    if chain.len() > MAX_CHAIN {
        return Err(Refusal::invalid(format!("{} certificates; at most {MAX_CHAIN} are read", chain.len())));
    }
    let chain = chain.iter().map(|der| parse(der)).collect::<Result<Vec<_>, _>>()?;
    for (index, certificate) in chain.iter().enumerate() {
        check_profile(certificate, index)?;
    }
    for pair in chain.windows(2) {
        if !issued_by(&pair[0], &pair[1])? {
            return Err(Refusal::invalid(format!(
                "the certificate of {} was not issued by the next, {}",
                subject(&pair[0]),
                subject(&pair[1])
            )));
        }
    }
    for certificate in &chain {
        check_time(certificate, now)?;
    }
    let anchors = anchors.iter().filter_map(|der| parse(der).ok()).collect::<Vec<_>>();
    for (index, certificate) in chain.iter().enumerate() {
        for anchor in &anchors {
            let vouches = if index > 0 && certificate == anchor {
                true
            } else {
                check_profile(anchor, index + 1).is_ok() && issued_by(certificate, anchor).unwrap_or(false)
            };
            if vouches {
                check_time(anchor, now)?;
                return Ok(subject(anchor));
            }
        }
    }
    let last = chain.last().map(subject).unwrap_or_default();
    Err(Refusal::unknown_signer(format!(
        "the certificates end at {last}, and no given root vouches for it; add its root to the policy if you trust it"
    )))
}

pub(super) fn check_time(certificate: &Certificate, now: i64) -> Result<(), Refusal> {
    let (from, to) = validity(certificate);
    let name = subject(certificate);
    let time = &certificate.tbs_certificate.validity;
    if now < from {
        let problem = format!("the certificate of {name} is valid from {}; check the clock", time.not_before);
        return Err(Refusal::unsupported(problem));
    }
    if now > to {
        return Err(Refusal::unsupported(format!(
            "the certificate of {name} expired at {}; ask for a renewed manifest, or for an anchor from before that",
            time.not_after
        )));
    }
    Ok(())
}

/// The profile of the certificate at `position` above the leaf, which is 0.
fn check_profile(certificate: &Certificate, position: usize) -> Result<(), Refusal> {
    let refuse = |problem: &str| Err(Refusal::invalid(format!("certificate of {}: {problem}", subject(certificate))));
    let tbs = &certificate.tbs_certificate;
    if tbs.version != x509_cert::Version::V3 {
        return refuse("is not version 3");
    }
    if tbs.issuer_unique_id.is_some() || tbs.subject_unique_id.is_some() {
        return refuse("has unique identifiers");
    }
    if certificate.signature_algorithm != tbs.signature {
        return refuse("names two signature algorithms");
    }
    if position == 0 {
        key(certificate)?;
    }

    let known = [
        BasicConstraints::OID,
        KeyUsage::OID,
        ExtendedKeyUsage::OID,
        SubjectKeyIdentifier::OID,
        AuthorityKeyIdentifier::OID,
    ];
    let extensions = tbs.extensions.as_deref().unwrap_or_default();
    for (index, extension) in extensions.iter().enumerate() {
        if extensions[..index].iter().any(|earlier| earlier.extn_id == extension.extn_id) {
            return refuse(&format!("extension {} stands there twice", extension.extn_id));
        }
        if extension.critical && !known.contains(&extension.extn_id) {
            return refuse(&format!("critical extension {} is not known", extension.extn_id));
        }
    }
    let (Ok(constraints), Ok(usage), Ok(purposes), Ok(own_key), Ok(issuer_key)) = (
        tbs.get::<BasicConstraints>(),
        tbs.get::<KeyUsage>(),
        tbs.get::<ExtendedKeyUsage>(),
        tbs.get::<SubjectKeyIdentifier>(),
        tbs.get::<AuthorityKeyIdentifier>(),
    ) else {
        return refuse("an extension cannot be parsed");
    };
    let constraints = constraints.map_or(BasicConstraints { ca: false, path_len_constraint: None }, |found| found.1);
    let Some((true, usage)) = usage else {
        return refuse("no critical key usage");
    };
    if own_key.is_none() {
        return refuse("no subject key identifier");
    }
    let self_issued = tbs.issuer == tbs.subject;
    let names_issuer_key = issuer_key.is_some_and(|(_, found)| found.key_identifier.is_some());
    if !names_issuer_key && (position == 0 || !self_issued) {
        return refuse("no authority key identifier");
    }

    if position > 0 {
        if !constraints.ca || !usage.key_cert_sign() {
            return refuse("is not an authority's");
        }
        if constraints.path_len_constraint.is_some_and(|limit| position - 1 > usize::from(limit)) {
            return refuse("its path length does not allow this chain");
        }
        return Ok(());
    }
    if constraints.ca {
        return refuse("an authority's certificate signs a claim");
    }
    if !usage.digital_signature() || usage.key_cert_sign() {
        return refuse("key usage is not digital signature");
    }
    let Some((_, ExtendedKeyUsage(purposes))) = purposes else {
        return refuse("no extended key usage");
    };
    if let Some(purpose) = purposes.iter().find(|purpose| FOREIGN_PURPOSES.contains(purpose)) {
        return refuse(&format!("extended key usage {purpose} is not allowed"));
    }
    if !purposes.iter().any(|purpose| CLAIM_PURPOSES.contains(purpose)) {
        return refuse("its extended key usage is not for claims");
    }
    if attribute(&tbs.subject, COMMON_NAME).is_none() || attribute(&tbs.subject, ORGANISATION).is_none() {
        return refuse("common name or organisation is missing");
    }
    let (from, to) = validity(certificate);
    if to.saturating_sub(from) > MAX_LEAF_VALIDITY {
        return refuse("valid for more than 366 days");
    }
    Ok(())
}

/// True when `issuer` has the name, the key identifier and the key that `certificate` was signed with.
fn issued_by(certificate: &Certificate, issuer: &Certificate) -> Result<bool, Refusal> {
    let (tbs, above) = (&certificate.tbs_certificate, &issuer.tbs_certificate);
    if tbs.issuer != above.subject {
        return Ok(false);
    }
    let wanted = tbs.get::<AuthorityKeyIdentifier>().ok().flatten().and_then(|found| found.1.key_identifier);
    let found = above.get::<SubjectKeyIdentifier>().ok().flatten().map(|found| found.1.0);
    if wanted.is_some() && wanted != found {
        return Ok(false);
    }
    // `parse` made sure that this is what stands in the certificate.
    let Ok(signed) = tbs.to_der() else { return Ok(false) };
    let signature = certificate.signature.as_bytes().unwrap_or_default();
    signature::verifies(&above.subject_public_key_info, &certificate.signature_algorithm, None, &signed, signature)
        .map_err(|refusal| refusal.within(&format!("certificate of {}", subject(certificate))))
}

/// The first attribute of this type, if it is a text.
fn attribute(name: &Name, oid: ObjectIdentifier) -> Option<String> {
    let mut attributes = name.0.iter().flat_map(|part| part.0.iter());
    let value: &Any = &attributes.find(|attribute| attribute.oid == oid)?.value;
    use x509_cert::der::Tag;
    let text = match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => std::str::from_utf8(value.value()).ok()?,
        _ => return None,
    };
    // Names are shown on terminals and badges.
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}
