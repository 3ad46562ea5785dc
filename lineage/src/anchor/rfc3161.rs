//! Time-stamps of an authority (RFC 3161) over a checkpoint.

use serde::{Deserialize, Serialize};

use super::{Bound, Commitment, Standing, Trust};
use crate::Error;
use crate::bundle::Bytes;
use crate::credential::policy::CertificateRoot;
use crate::credential::rfc3161;

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
    let roots = trust.policy.timestamp_roots.iter().map(CertificateRoot::to_der).collect::<Result<Vec<_>, _>>()?;
    if roots.is_empty() {
        return Ok(Standing::Unjudged("the policy names no time-stamp root".to_owned()));
    }
    match rfc3161::verify(&token.token.0, message, &[], &roots) {
        Ok(stamp) => {
            let source = format!("{} by its own clock", stamp.authority);
            Ok(Standing::Bound(Bound { time: stamp.time, source, is_final: true }))
        }
        Err(error) => Ok(Standing::Unjudged(error.problem())),
    }
}
