//! A time-stamping authority (RFC 3161): one request, and its answer is final.

use countermark_lineage::anchor::Evidence;
use countermark_lineage::anchor::rfc3161::Token;
use countermark_lineage::bundle::Bytes;
use countermark_lineage::credential::rfc3161;
use countermark_lineage::digest::Hash;
use countermark_lineage::graph::statement::rfc3339;
use serde::{Deserialize, Serialize};

use super::{State, Step};
use crate::{Error, http, timestamp};

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Where it answers.
    pub url: String,
}

impl Authority {
    /// `rfc3161-` and a short hash of the URL.
    pub fn name(&self) -> String {
        format!("rfc3161-{}", Hash::sha256(self.url.as_bytes()).short())
    }

    /// Asks for a token over the checkpoint.
    pub(super) fn step(&mut self, checkpoint: &str, _state: State) -> Result<Step, Error> {
        let token = rfc3161::tidy(&timestamp::request(&self.url, checkpoint.as_bytes())?)?;
        let time = rfc3161::verify_without_root(&token, checkpoint.as_bytes())?;
        let detail = format!("{} by the clock of {}", rfc3339(time), http::shown(&self.url));
        let evidence = Some(Evidence::Rfc3161(Token { token: Bytes(token) }));
        Ok(Step { state: State::Final, detail, evidence })
    }
}
