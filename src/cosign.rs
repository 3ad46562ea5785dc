//! Adds a signature to a bundle's statement, for policies that ask for several signers.

use std::path::PathBuf;

use countermark_io::{files, keys};
use countermark_lineage::bundle::{Bundle, MAX_BUNDLE};
use countermark_lineage::credential::keys::PublicKey;
use countermark_lineage::digest::Hash;
use countermark_lineage::verdict::{State, Verdict};
use countermark_lineage::verify as judge;
use serde::Serialize;

use crate::trust::Trust;
use crate::{Error, Progress, hand_over, keyset, verify};

/// Which bundle to co-sign, with what.
#[derive(Clone, Debug)]
pub struct Request {
    /// The bundle.
    pub bundle: PathBuf,
    /// The key that signs beside those that did.
    pub key: PathBuf,
    /// The artifact: its bytes are then checked as well, which is what a co-signature says to most people.
    pub artifact: Option<PathBuf>,
    /// Whom the co-signer believes.
    pub policy: Option<PathBuf>,
    /// Where the bundle goes; in place of the old one, which it holds in full, when left out.
    pub out: Option<PathBuf>,
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Cosigned {
    /// The bundle.
    pub bundle: PathBuf,
    /// Id of the statement.
    pub statement: Hash,
    /// All keys that signed it, in their order.
    pub keys: Vec<PublicKey>,
    /// What was checked before.
    pub verdict: Verdict,
}

/// Checks the bundle, and the artifact when it is given, and adds the signature.
///
/// # Errors
/// When something that was checked is wrong or revoked, or the key signed before; nothing is written then.
pub fn cosign(request: &Request, progress: &impl Progress) -> Result<Cosigned, Error> {
    let key = keys::load(&request.key)?;
    let bytes = files::read(&request.bundle, MAX_BUNDLE)?;
    let verdict = match &request.artifact {
        Some(path) => {
            let (bundle, policy) = (Some(request.bundle.clone()), request.policy.clone());
            verify::verify(&verify::Request { bundle, policy, ..verify::Request::new(path) }, progress)?
        }
        None => {
            let trust = Trust::load(request.policy.as_deref(), &[], &[])?;
            judge::bundle(&bytes, &trust.belief(keyset::now()))
        }
    };
    if verdict.state >= State::Absent {
        let why = verdict.checks.iter().filter(|check| check.state == verdict.state);
        let why: Vec<String> = why.map(|check| format!("{}: {}", check.name, check.detail)).take(3).collect();
        let problem = format!("is {}: {}", verdict.state, why.join("; "));
        let help = "nothing was signed; see `countermark verify` for every check";
        return Err(countermark_io::Error::refused(&request.bundle, problem, help).into());
    }
    let mut bundle = Bundle::parse(&bytes)?;
    let envelope = &mut bundle.records[0].statement;
    envelope.cosign(&*key)?;
    let verified = envelope.verify()?;
    let hand_overs = hand_over::known(&request.key, &key.public())?;
    hand_over::add(&mut bundle.hand_overs, hand_overs.into_iter().map(|signed| signed.file));
    hand_over::keep_needed(&mut bundle)?;
    let out = request.out.clone().unwrap_or_else(|| request.bundle.clone());
    files::write(&out, bundle.to_json().as_bytes(), files::PUBLIC)?;
    let keys = verified.keys().copied().collect();
    Ok(Cosigned { bundle: out, statement: Hash::sha256(&verified.payload), keys, verdict })
}
