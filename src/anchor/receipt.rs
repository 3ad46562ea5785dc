//! Receipts that stand alone: written from a log, judged without it.

use std::path::{Path, PathBuf};

use countermark_io::anchor::evm::Nodes;
use countermark_io::files;
use countermark_lineage::anchor::evm::Blocks;
use countermark_lineage::anchor::receipt::{MAX_FILE, ReceiptFile};
use countermark_lineage::verdict::Verdict;
use countermark_lineage::verify::{Belief, receipt as judge};

use super::attach::Held;
use crate::trust::Trust;
use crate::{Error, keyset};

/// The receipt of an entry of a log, under a checkpoint that somebody holds where there is one.
///
/// # Errors
/// When the log cannot be read or has no such entry.
pub fn receipt(log: &Path, index: u64) -> Result<ReceiptFile, Error> {
    Held::open(log)?.receipt(index)
}

/// What to verify, and against what.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// A receipt, or an anchor as it lies in the folder of a log.
    pub path: PathBuf,
    /// Whom to believe. Without it nobody is known.
    pub policy: Option<PathBuf>,
    /// Revocation lists, beside those that lie by the policy or are named in it.
    pub revocations: Vec<PathBuf>,
    /// Hand-overs from keys of the policy to others.
    pub hand_overs: Vec<PathBuf>,
    /// Ask for an anchor that is included, whatever the policy says.
    pub require_anchor: bool,
    /// Ask the nodes that the policy names whether blocks are on their chains.
    pub online: bool,
    /// Judge as of this time, in Unix seconds, and not as of now.
    pub at: Option<i64>,
}

impl VerifyRequest {
    /// Verify this file with no policy, offline, as of now.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        VerifyRequest {
            path: path.into(),
            policy: None,
            revocations: vec![],
            hand_overs: vec![],
            require_anchor: false,
            online: false,
            at: None,
        }
    }
}

/// Judges a receipt, or an anchor, without the log and without what it is about.
///
/// # Errors
/// When a file cannot be read. Evidence that is wrong is a verdict, not an error.
pub fn verify(request: &VerifyRequest) -> Result<Verdict, Error> {
    let trust = Trust::load(request.policy.as_deref(), &request.revocations, &request.hand_overs)?;
    let bytes = files::read(&request.path, MAX_FILE)?;
    let nodes = trust.policy.as_ref().filter(|_| request.online).map(Nodes::of).transpose()?;
    let blocks = nodes.as_ref().map(|nodes| nodes as &dyn Blocks);
    let belief = Belief { blocks, ..trust.belief(request.at.unwrap_or_else(keyset::now)) };
    let judged =
        judge::Request { bytes: &bytes, belief, require_anchor: request.require_anchor, at: request.at.is_some() };
    Ok(judge::verify(&judged))
}
