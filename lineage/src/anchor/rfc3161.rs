//! Time-stamps of an authority (RFC 3161) over a checkpoint.

use serde::{Deserialize, Serialize};

use super::{Bound, Commitment, Standing, Trust};
use crate::Error;
use crate::bundle::Bytes;
use crate::credential::policy::CertificateRoot;
use crate::credential::{rfc3161, x509};
use crate::digest::Hash;

/// The authority's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// TimeStampToken in DER, over the SHA-256 of the checkpoint.
    pub token: Bytes,
}

/// Judges a token. It is final at once; the policy's `[[timestamp_root]]` say whose word counts.
///
/// # Errors
/// [`Error::Input`] when the token is not over this checkpoint, or is wrong in itself.
pub fn check(token: &Token, of: &Commitment<'_>, trust: &Trust<'_>) -> Result<Standing, Error> {
    let message = of.checkpoint.as_bytes();
    rfc3161::verify_without_root(&token.token.0, message)?;
    let revoked = |der: &[u8]| {
        let fingerprints = x509::fingerprints(der);
        let is_one = |hash: &Option<Hash>| hash.is_some_and(|hash| fingerprints.contains(&hash));
        trust.policy.revoked.iter().find(|entry| is_one(&entry.certificate))
    };
    if let Some(entry) = rfc3161::certificates(&token.token.0).iter().find_map(|der| revoked(der)) {
        return Ok(Standing::Unjudged(format!("a certificate of its authority was revoked: {}", entry.reason)));
    }
    let roots = trust.policy.timestamp_roots.iter().map(CertificateRoot::to_der).collect::<Result<Vec<_>, _>>();
    let roots = match roots {
        Ok(roots) => roots.into_iter().filter(|der| revoked(der).is_none()).collect::<Vec<_>>(),
        // The policy's fault, and not that of the token.
        Err(error) => return Ok(Standing::Unjudged(error.problem())),
    };
    if roots.is_empty() {
        return Ok(Standing::Unjudged("the policy names no time-stamp root".to_owned()));
    }
    match rfc3161::verify(&token.token.0, message, &[], &roots) {
        Ok(stamp) => {
            let off =
                if stamp.accuracy > 0 { format!(", which may be {} s off", stamp.accuracy) } else { String::new() };
            let source = format!("{} by its own clock{off}", stamp.authority);
            Ok(Standing::Bound(Bound { time: stamp.time.saturating_add(stamp.accuracy), source, is_final: true }))
        }
        Err(error) => Ok(Standing::Unjudged(error.problem())),
    }
}
