//! Keyless signatures: a certificate that lives for minutes, an identity in it, and a log that says when it was used.
//!
//! Everything is checked offline against a given [`TrustedRoot`]. The order: the entry of the log is about this very
//! signature (`entry`), which gives a time; at that time a chain leads to a certificate authority, the certificate
//! stands in a certificate transparency log, and names the identity that was asked for (`certificate`).

mod certificate;
mod entry;
mod root;
#[cfg(test)]
mod tests;

pub use entry::Entry;
pub(super) use entry::RawEntry;
pub use root::TrustedRoot;

use x509_cert::Certificate;

use super::{LOG, SIGNER, TIME};
use crate::credential::c2pa::Refusal;
use crate::credential::keys::PublicKey;
use crate::credential::x509;
use crate::graph::statement::rfc3339;
use crate::verdict::{Check, State};

/// Whom to believe: the authorities and logs, and who must have signed.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The authorities and logs.
    pub root: &'a TrustedRoot,
    /// The name in the certificate: an address, or the URL of a workflow.
    pub identity: &'a str,
    /// Who vouched for that name to the authority.
    pub issuer: &'a str,
}

/// The parts of a bundle that a keyless signature rests on.
pub(super) struct Evidence<'a> {
    pub leaf: &'a [u8],
    pub entries: &'a [Entry],
    pub timestamps: &'a [Vec<u8>],
    pub payload_type: &'a str,
    pub payload: &'a [u8],
    pub signature: &'a [u8],
}

/// The key that must have signed, with a row for each thing that was checked of it; `None` when something was wrong.
pub(super) fn key(
    evidence: &Evidence<'_>,
    expected: &Identity<'_>,
    rows: &mut Vec<Check>,
) -> Option<(PublicKey, String)> {
    let mut attempt = |name: &str, result: Result<String, Refusal>| match result {
        Ok(detail) => {
            rows.push(Check::new(name, State::Verified, detail));
            true
        }
        Err(refusal) => {
            rows.push(refusal.row(name));
            false
        }
    };
    let leaf = match x509::parse(evidence.leaf) {
        Ok(leaf) => leaf,
        Err(refusal) => {
            attempt(SIGNER, Err(refusal));
            return None;
        }
    };
    let mut times = Vec::new();
    let logged = logged(evidence, expected.root, &mut times);
    if !attempt(LOG, logged) || !attempt(TIME, time(evidence, expected.root, &mut times)) {
        return None;
    }
    let named = named(&leaf, expected, &times);
    let name = format!("{} by {}", expected.identity, expected.issuer);
    if !attempt(SIGNER, named) {
        return None;
    }
    match x509::key(&leaf) {
        Ok(key) => Some((key, name)),
        Err(refusal) => {
            attempt(SIGNER, Err(refusal));
            None
        }
    }
}

/// Every entry must stand in its log and be about this signature.
fn logged(evidence: &Evidence<'_>, root: &TrustedRoot, times: &mut Vec<i64>) -> Result<String, Refusal> {
    if evidence.entries.is_empty() {
        return Err(Refusal::invalid("the bundle holds no entry of a transparency log".to_owned()));
    }
    let mut places = Vec::new();
    for entry in evidence.entries {
        entry.is_about(evidence)?;
        let logged = entry.verify(root)?;
        times.extend(logged.time);
        places.push(logged.place);
    }
    Ok(places.join("; "))
}

/// The times at which others saw the signature. One at least must be there.
fn time(evidence: &Evidence<'_>, root: &TrustedRoot, times: &mut Vec<i64>) -> Result<String, Refusal> {
    let mut sources: Vec<String> = times.iter().map(|time| format!("logged at {}", rfc3339(*time))).collect();
    for timestamp in evidence.timestamps {
        let (time, authority) = root.timestamped(timestamp, evidence.signature)?;
        sources.push(format!("time-stamped at {} by {authority}", rfc3339(time)));
        times.push(time);
    }
    if times.is_empty() {
        let problem = "nothing says when it was signed: no promise of a log with a time, and no time-stamp";
        return Err(Refusal::unsupported(problem.to_owned()));
    }
    Ok(sources.join("; "))
}

/// The certificate leads to an authority at each of these times, is itself in a log, and names whom it must.
fn named(leaf: &Certificate, expected: &Identity<'_>, times: &[i64]) -> Result<String, Refusal> {
    let mut issuer = None;
    for time in times {
        x509::check_time(leaf, *time)?;
        issuer = Some(expected.root.issuer(leaf, *time)?);
    }
    let Some(issuer) = issuer else { return Err(Refusal::unsupported("no time to judge by".to_owned())) };
    certificate::check_usage(leaf)?;
    let logged = certificate::check_transparency(leaf, &issuer, expected.root)?;
    certificate::check_identity(leaf, expected.identity, expected.issuer)?;
    Ok(format!(
        "{}, as {} said; certificate of {}, {logged}",
        expected.identity,
        expected.issuer,
        x509::subject(&issuer)
    ))
}
