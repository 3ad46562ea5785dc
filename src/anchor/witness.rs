//! Has the newest checkpoint of a log cosigned by the witnesses that a policy names.

use std::path::Path;

use countermark_io::anchor::witness::{self, Answered, Asked};
use countermark_io::files;
use countermark_io::log::Log;
use countermark_lineage::anchor::checkpoint::Checkpoint;
use countermark_lineage::anchor::tlog_policy::{MAX_POLICY, TlogPolicy};
use countermark_lineage::verdict::State;
use countermark_lineage::verify::quorum;

use crate::{Error, keyset};

/// What witnesses answered.
#[derive(Clone, Debug)]
pub struct Witnessed {
    /// Entries under the checkpoint that they were asked about.
    pub size: u64,
    /// Each of them, in the order in which they were named.
    pub answers: Vec<Answered>,
    /// Whether the quorum of the policy is there now, and who makes it up. Nothing without a policy, or when it asks
    /// for nobody.
    pub quorum: Option<(State, String)>,
}

/// Asks these witnesses, and those of the policy that have a URL, to cosign the log's newest checkpoint.
///
/// # Errors
/// When the log or the policy cannot be used, or nobody is named. A witness that does not answer is no error.
pub fn ask(log: &Log, mut witnesses: Vec<Asked>, policy: Option<&Path>) -> Result<Witnessed, Error> {
    let policy = policy.map(read_policy).transpose()?;
    for (_, _, witness) in policy.iter().flat_map(TlogPolicy::witnesses) {
        if let (Some(key), Some(url)) = (&witness.key, &witness.url)
            && !witnesses.iter().any(|asked| asked.key == *key)
        {
            witnesses.push(Asked { key: key.clone(), url: url.clone() });
        }
    }
    if witnesses.is_empty() {
        let help = "add --witness VKEY=URL, or a --policy whose witnesses have URLs";
        return Err(countermark_lineage::Error::usage("no witness was named that can be asked", help).into());
    }
    let now = keyset::now();
    let (cosigned, answers) = witness::ask(log, &witnesses, u64::try_from(now).unwrap_or_default())?;
    let quorum = policy.and_then(|policy| quorum(&policy, &cosigned, now));
    let size = Checkpoint::open(&cosigned, log.verifier())?.size;
    Ok(Witnessed { size, answers, quorum })
}

/// The `tlog_policy` of a policy in TOML, or a file that is one.
fn read_policy(path: &Path) -> Result<TlogPolicy, Error> {
    if path.extension().is_some_and(|extension| extension == "toml") {
        return keyset::load_policy(path)?.tlog_policy.ok_or_else(|| {
            let help = "add tlog_policy = \"\"\"...\"\"\" with log, witness and quorum lines; see the README";
            countermark_io::Error::refused(path, "has no tlog_policy", help).into()
        });
    }
    Ok(TlogPolicy::parse(&files::read(path, MAX_POLICY as u64)?)?)
}
