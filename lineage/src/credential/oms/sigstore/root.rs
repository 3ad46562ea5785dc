//! The trusted root: authorities and logs, and when each of them counted (sigstore's protobuf-specs, `TrustedRoot`).
//!
//! It comes from whoever is trusted, over TUF or a file, so fields that are not known here are ignored.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use der::{Decode as _, Encode as _};
use serde::Deserialize;
use x509_cert::Certificate;

use super::super::json::strict;
use crate::Error;
use crate::credential::c2pa::Refusal;
use crate::credential::rfc3161;
use crate::credential::x509::{self, path};
use crate::digest::Hash;
use crate::graph::statement::unix;

/// Authorities and logs, read from `trusted_root.json`.
#[derive(Clone, Debug)]
pub struct TrustedRoot {
    pub(super) logs: Vec<LogKey>,
    pub(super) certificate_logs: Vec<LogKey>,
    authorities: Vec<Authority>,
    timestamp_authorities: Vec<Authority>,
}

/// A log's key, by the id under which entries name it.
#[derive(Clone, Debug)]
pub(super) struct LogKey {
    pub id: [u8; 32],
    /// SubjectPublicKeyInfo in DER.
    pub spki: Vec<u8>,
    pub name: String,
    during: Period,
}

/// Certificates of an authority, the root last.
#[derive(Clone, Debug)]
struct Authority {
    chain: Vec<Certificate>,
    during: Period,
}

/// First and last second, both included.
#[derive(Clone, Copy, Debug)]
struct Period(i64, i64);

impl Period {
    fn holds(self, time: i64) -> bool {
        (self.0..=self.1).contains(&time)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRoot {
    media_type: String,
    #[serde(default)]
    tlogs: Vec<RawLog>,
    #[serde(default)]
    certificate_authorities: Vec<RawAuthority>,
    #[serde(default)]
    ctlogs: Vec<RawLog>,
    #[serde(default)]
    timestamp_authorities: Vec<RawAuthority>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLog {
    #[serde(default)]
    base_url: String,
    public_key: RawPublicKey,
    log_id: RawLogId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPublicKey {
    raw_bytes: String,
    #[serde(default)]
    valid_for: RawPeriod,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLogId {
    key_id: String,
}

#[derive(Default, Deserialize)]
struct RawPeriod {
    start: Option<String>,
    end: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAuthority {
    cert_chain: RawChain,
    #[serde(default)]
    valid_for: RawPeriod,
}

#[derive(Deserialize)]
struct RawChain {
    certificates: Vec<RawCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCertificate {
    raw_bytes: String,
}

fn refuse<T>(problem: impl Into<String>) -> Result<T, Error> {
    let help =
        "name the trusted_root.json that your Sigstore client keeps, or that `cosign trusted-root create` writes";
    Err(Error::input("trusted root", problem, help))
}

impl TrustedRoot {
    /// Reads the JSON text.
    ///
    /// # Errors
    /// [`Error::Input`] naming the part.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let raw: RawRoot = strict(bytes).or_else(refuse)?;
        if !raw.media_type.starts_with("application/vnd.dev.sigstore.trustedroot") {
            return refuse("its mediaType is not that of a trusted root");
        }
        let logs = |logs: Vec<RawLog>| logs.into_iter().map(LogKey::of).collect::<Result<Vec<_>, Error>>();
        let authorities =
            |all: Vec<RawAuthority>| all.into_iter().map(Authority::of).collect::<Result<Vec<_>, Error>>();
        Ok(TrustedRoot {
            logs: logs(raw.tlogs)?,
            certificate_logs: logs(raw.ctlogs)?,
            authorities: authorities(raw.certificate_authorities)?,
            timestamp_authorities: authorities(raw.timestamp_authorities)?,
        })
    }

    /// The certificate whose key signed `leaf`, when a chain leads from it to an authority that counted at `time`.
    pub(super) fn issuer(&self, leaf: &Certificate, time: i64) -> Result<Certificate, Refusal> {
        let mut refusal = None;
        for authority in self.authorities.iter().filter(|authority| authority.during.holds(time)) {
            let Some((root, pool)) = authority.chain.split_last() else { continue };
            match path::anchored(leaf, pool, std::slice::from_ref(root), time) {
                Ok(_) => {
                    let issued = |issuer: &&Certificate| path::issued(leaf, issuer).unwrap_or(false);
                    if let Some(issuer) = authority.chain.iter().find(issued) {
                        return Ok(issuer.clone());
                    }
                }
                Err(found) => refusal = refusal.or(Some(found)),
            }
        }
        Err(refusal.unwrap_or_else(|| {
            Refusal::unknown_signer("no certificate authority of the trusted root counted at that time".to_owned())
        }))
    }

    /// The time in an RFC 3161 response over `signature`, and whose word it is.
    pub(super) fn timestamped(&self, response: &[u8], signature: &[u8]) -> Result<(i64, String), Refusal> {
        let wrong = || Refusal::invalid("time-stamp: it is not a response that grants one".to_owned());
        let response = Response::from_der(response).map_err(|_| wrong())?;
        // PKIStatusInfo begins with its status: granted, with or without changes.
        if !matches!(response.status.value(), [2, 1, 0 | 1, ..]) {
            return Err(wrong());
        }
        let token = response.token.to_der().map_err(|_| wrong())?;
        let mut refusal = None;
        for authority in &self.timestamp_authorities {
            let chain: Vec<Vec<u8>> = authority.chain.iter().filter_map(|one| one.to_der().ok()).collect();
            let anchor = &chain[chain.len().saturating_sub(1)..];
            match rfc3161::check(&token, signature, &chain, anchor) {
                Ok(stamp) if authority.during.holds(stamp.time) => return Ok((stamp.time, stamp.authority)),
                Ok(_) => refusal = Some(Refusal::unknown_signer("time-stamp: its authority did not count then".into())),
                Err(found) => refusal = refusal.or(Some(found)),
            }
        }
        Err(refusal.unwrap_or_else(|| {
            Refusal::unknown_signer("time-stamp: the trusted root knows no time-stamping authority".to_owned())
        }))
    }
}

/// RFC 3161, 2.4.2.
#[derive(der::Sequence)]
struct Response<'a> {
    status: der::asn1::AnyRef<'a>,
    token: der::asn1::AnyRef<'a>,
}

impl LogKey {
    fn of(raw: RawLog) -> Result<Self, Error> {
        let name = if raw.base_url.is_empty() { "a log".to_owned() } else { raw.base_url };
        let decode = |text: &str| STANDARD.decode(text).or_else(|_| refuse(format!("key of {name}: is not Base64")));
        let Ok(id) = <[u8; 32]>::try_from(decode(&raw.log_id.key_id)?) else {
            return refuse(format!("key of {name}: its id is not 32 bytes"));
        };
        let spki = decode(&raw.public_key.raw_bytes)?;
        Ok(LogKey { id, spki, name: name.clone(), during: Period::of(&raw.public_key.valid_for)? })
    }

    /// True when `signature` over `message` is this log's: Ed25519, or ECDSA in DER with the hash of the curve's size.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> Result<bool, Refusal> {
        let Some(key) = crate::credential::keys::PublicKey::from_spki(&self.spki) else {
            return Err(Refusal::unsupported(format!("the key of {} is neither Ed25519 nor ECDSA", self.name)));
        };
        Ok(key.verifies_der(message, signature))
    }

    /// Did this key count at `time`?
    pub fn counted(&self, time: i64) -> bool {
        self.during.holds(time)
    }
}

impl Authority {
    fn of(raw: RawAuthority) -> Result<Self, Error> {
        let certificate = |raw: RawCertificate| {
            let der = STANDARD.decode(&raw.raw_bytes).or_else(|_| refuse("a certificate is not Base64"))?;
            x509::parse(&der).map_err(Error::from)
        };
        let chain = raw.cert_chain.certificates.into_iter().map(certificate).collect::<Result<Vec<_>, Error>>()?;
        Ok(Authority { chain, during: Period::of(&raw.valid_for)? })
    }
}

impl Period {
    fn of(raw: &RawPeriod) -> Result<Self, Error> {
        let time = |text: &Option<String>, open: i64| match text {
            None => Ok(open),
            Some(text) => unix(text).map_or_else(|| refuse(format!("{text:?} is not a time")), Ok),
        };
        Ok(Period(time(&raw.start, i64::MIN)?, time(&raw.end, i64::MAX)?))
    }
}

/// SHA-256 of a SubjectPublicKeyInfo: the id of a log, and of the issuer in a certificate's log entry.
pub(super) fn key_id(spki: &[u8]) -> [u8; 32] {
    Hash::sha256(spki).0
}
