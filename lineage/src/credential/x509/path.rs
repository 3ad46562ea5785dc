//! Certification paths (RFC 5280, section 6) for everything but C2PA, whose profile asks for more.
//!
//! Issuers are found by trying their key and not by name: real chains hold authorities whose names and identifiers lie.

use der::Encode as _;
use x509_cert::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use super::{check_time, signature, subject};
use crate::credential::c2pa::Refusal;

/// The most certificates between leaf and anchor.
const MAX_INTERMEDIATES: usize = 4;

/// Extensions that are understood when they are critical: basic constraints, both key usages, alternative names.
const KNOWN_CRITICAL: [&str; 5] = ["2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.17", "2.5.29.18"];

/// The one of `anchors` to which certificates of `pool` lead from `leaf`, all of them valid at `time`.
///
/// Every issuer must be an authority that may sign certificates, and every signature must hold. What the leaf may be used
/// for is for the caller to ask. A leaf that is itself one of the anchors is its own path.
pub(in crate::credential) fn anchored<'a>(
    leaf: &Certificate,
    pool: &[Certificate],
    anchors: &'a [Certificate],
    time: i64,
) -> Result<&'a Certificate, Refusal> {
    check_extensions(leaf)?;
    check_time(leaf, time)?;
    if let Some(anchor) = anchors.iter().find(|anchor| *anchor == leaf) {
        return Ok(anchor);
    }
    // The most telling refusal, for when no path holds: a wrong certificate on the way says more than none.
    let mut refusal = Refusal::unknown_signer(format!(
        "no given root vouches for the certificate of {}; add its root to the policy if you trust it",
        subject(leaf)
    ));
    let mut used = vec![false; pool.len()];
    match extend(leaf, pool, anchors, time, 0, &mut used, &mut refusal) {
        Some(anchor) => Ok(anchor),
        None => Err(refusal),
    }
}

fn extend<'a>(
    certificate: &Certificate,
    pool: &[Certificate],
    anchors: &'a [Certificate],
    time: i64,
    depth: usize,
    used: &mut [bool],
    refusal: &mut Refusal,
) -> Option<&'a Certificate> {
    let mut issues = |issuer: &Certificate, below: usize| match issued(certificate, issuer) {
        Ok(true) => match check_issuer(issuer, below).and_then(|()| check_time(issuer, time)) {
            Ok(()) => true,
            Err(found) => {
                *refusal = found;
                false
            }
        },
        Ok(false) => false,
        Err(found) => {
            *refusal = found;
            false
        }
    };
    if let Some(anchor) = anchors.iter().find(|anchor| issues(anchor, depth)) {
        return Some(anchor);
    }
    if depth == MAX_INTERMEDIATES {
        return None;
    }
    let candidates: Vec<usize> =
        (0..pool.len()).filter(|index| !used[*index] && issues(&pool[*index], depth)).collect();
    for index in candidates {
        // Marked for good: a certificate from which no path leads up leads nowhere from elsewhere either.
        used[index] = true;
        if let Some(anchor) = extend(&pool[index], pool, anchors, time, depth + 1, used, refusal) {
            return Some(anchor);
        }
    }
    None
}

/// True when the key of `issuer` signed `certificate`.
pub(in crate::credential) fn issued(certificate: &Certificate, issuer: &Certificate) -> Result<bool, Refusal> {
    let tbs = &certificate.tbs_certificate;
    if tbs.signature != certificate.signature_algorithm || tbs.issuer != issuer.tbs_certificate.subject {
        return Ok(false);
    }
    let Ok(signed) = tbs.to_der() else { return Ok(false) };
    let key = &issuer.tbs_certificate.subject_public_key_info;
    let bytes = certificate.signature.as_bytes().unwrap_or_default();
    signature::verifies(key, &certificate.signature_algorithm, None, &signed, bytes)
}

/// An authority that may sign certificates with `below` further authorities under it.
fn check_issuer(issuer: &Certificate, below: usize) -> Result<(), Refusal> {
    check_extensions(issuer)?;
    let refuse = |problem: &str| Err(Refusal::invalid(format!("certificate of {}: {problem}", subject(issuer))));
    let tbs = &issuer.tbs_certificate;
    let (Ok(constraints), Ok(usage)) = (tbs.get::<BasicConstraints>(), tbs.get::<KeyUsage>()) else {
        return refuse("an extension cannot be parsed");
    };
    match constraints {
        Some((_, constraints)) if constraints.ca => {
            if constraints.path_len_constraint.is_some_and(|limit| below > usize::from(limit)) {
                return refuse("its path length does not allow this chain");
            }
        }
        _ => return refuse("is not an authority's"),
    }
    // RFC 5280, 4.2.1.3: an authority must have the extension, but many old roots do not.
    if usage.is_some_and(|(_, usage)| !usage.key_cert_sign()) {
        return refuse("may not sign certificates");
    }
    Ok(())
}

fn check_extensions(certificate: &Certificate) -> Result<(), Refusal> {
    let extensions = certificate.tbs_certificate.extensions.as_deref().unwrap_or_default();
    for (index, extension) in extensions.iter().enumerate() {
        let oid = extension.extn_id.to_string();
        if extensions[..index].iter().any(|earlier| earlier.extn_id == extension.extn_id) {
            let problem = format!("certificate of {}: extension {oid} stands there twice", subject(certificate));
            return Err(Refusal::invalid(problem));
        }
        if extension.critical && !KNOWN_CRITICAL.contains(&&*oid) {
            let problem = format!("certificate of {}: critical extension {oid} is not known", subject(certificate));
            return Err(Refusal::unsupported(problem));
        }
    }
    Ok(())
}
