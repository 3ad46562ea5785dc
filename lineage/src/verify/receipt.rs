//! A receipt that stands alone, or an anchor: what they prove without the artifact that they are about.
//!
//! A receipt shows that an entry is in a log and that something holds the log's checkpoint. What the entry is about is
//! said by hashes; that some file has these hashes is another question, which the bundle answers.

use std::collections::BTreeSet;

use super::anchor::{Anchors, conclude};
use super::trust::Standing;
use super::{Belief, Outside, Rows, Trust, witnesses};
use crate::anchor::checkpoint::Checkpoint;
use crate::anchor::entry::{Entry, EntryType};
use crate::anchor::note::{self, VerifierKey};
use crate::anchor::proof::{Place, Proof};
use crate::anchor::receipt::{MAX_FILE, ReceiptFile};
use crate::anchor::{Anchor, Commitment};
use crate::credential::policy::Policy;
use crate::credential::revocation::Target;
use crate::graph::statement::rfc3339;
use crate::verdict::{SCHEMA_OF_RECEIPT, State, Verdict};

/// A receipt or an anchor to judge by itself.
pub struct Request<'a> {
    /// The file: a receipt (`anchor receipt` writes it) or an anchor (`anchors/<size>/<name>.json` of a log).
    pub bytes: &'a [u8],
    /// Whom to believe.
    pub belief: Belief<'a>,
    /// Ask for an anchor that is included, whatever the policy says.
    pub require_anchor: bool,
    /// True when [`Belief::now`] is not the present but a time that somebody asked for.
    pub at: bool,
}

/// What the rows are about.
#[derive(Default)]
struct Subject {
    name: String,
    root: String,
    statement: String,
    signer: String,
}

/// Judges a receipt or an anchor.
pub fn verify(request: &Request<'_>) -> Verdict {
    let mut rows = Rows::default();
    if request.at {
        let detail = format!("judged as of {}, as was asked, and not as of today", rfc3339(request.belief.now));
        rows.add("time", State::Verified, detail);
    }
    let no_policy = Policy::default();
    let trust = Trust::new(&request.belief, &no_policy, &[], &mut rows);
    let subject = match anchor_alone(request.bytes) {
        Some(anchor) => judge_anchor(request, &trust, &anchor, &mut rows),
        None => judge_receipt(request, &trust, &mut rows),
    };
    let state = rows.0.iter().map(|row| row.state).max().unwrap_or(State::Absent);
    let Subject { name, root, statement, signer } = subject.unwrap_or_default();
    let schema = SCHEMA_OF_RECEIPT.to_owned();
    Verdict { schema, state, name, root, statement, signer, scope: None, checks: rows.0 }
}

/// An anchor has no schema of its own; it is told by its members.
fn anchor_alone(bytes: &[u8]) -> Option<Anchor> {
    if bytes.len() as u64 > MAX_FILE { None } else { serde_json::from_slice(bytes).ok() }
}

fn judge_receipt(request: &Request<'_>, trust: &Trust<'_>, rows: &mut Rows) -> Option<Subject> {
    let file = rows.attempt("receipt", ReceiptFile::parse(request.bytes))?;
    let log = rows.attempt("receipt", VerifierKey::parse(&file.vkey))?;
    let entry = rows.attempt("entry", Entry::verify(&file.entry.0))?;
    let kind = entry.entry_type.as_str();
    let detail = format!(
        "{kind} of SHA-256 {}, root {}, statement {}, signed by {}",
        entry.object,
        entry.root.short(),
        entry.statement.short(),
        entry.signer.short()
    );
    rows.add("entry", State::Verified, detail);
    let proved = Proof::parse(&file.proof).and_then(|proof| proof.verify(&file.entry.0, &log));
    let place = rows.attempt("log", proved)?;
    let (state, known) = witnesses::log_known(trust.policy, &log);
    let (index, size) = (place.index, place.head.size);
    let detail = format!("entry {index} of {}, inclusion proved under {size} entries; {known}", log.name);
    rows.add("log", state, detail);
    witnesses::row(trust.policy, &log, &place, trust.now, "", rows);
    let signer = judge_signer(trust, &entry, &log, &place, rows);
    let checkpoints = [place.anchored.clone()].into();
    judge_anchors(request, trust, &file.anchors, &checkpoints, &place.anchored, rows);
    let (root, statement) = (entry.root.to_string(), entry.statement.to_string());
    Some(Subject { name: format!("entry {index} of {}", log.name), root, statement, signer })
}

/// Whether the policy knows who signed the entry, and whether that and what it is about still count.
fn judge_signer(trust: &Trust<'_>, entry: &Entry, log: &VerifierKey, place: &Place, rows: &mut Rows) -> String {
    let place_in = |vkey: &str| (vkey == log.to_string()).then(|| place.clone());
    let targets = [Target::Statement(entry.statement), Target::Mark(entry.object)];
    for reason in targets.iter().filter_map(|target| trust.revoked(target)) {
        rows.add("entry", State::Revoked, reason);
    }
    let key = entry.signer;
    if entry.entry_type == EntryType::Genesis && key == log.key {
        return log.name.clone();
    }
    let known = |key| trust.policy.signer(&key);
    let by_hand_over = || {
        let mut origins = trust.hand_overs.origins(&key).into_iter();
        origins.find_map(|origin| known(origin.key).filter(|_| origin.doubt.is_none()))
    };
    let standing = trust.standing(&Target::Key(key), None, &place_in);
    match (standing, known(key).or_else(by_hand_over)) {
        (Standing::Revoked(reason), _) => {
            rows.add("signer", State::Revoked, reason);
            return key.to_string();
        }
        (_, None) => {
            rows.add("signer", State::UnknownSigner, format!("nobody in the policy vouches for {key}"));
            return key.to_string();
        }
        (_, Some(signer)) if signer.until.is_some_and(|until| trust.now > until.0) => {
            let until = signer.until.map_or(String::new(), |until| until.to_string());
            let detail =
                format!("{} could vouch until {until}; ask with the artifact whether this was before", signer.name);
            rows.add("signer", State::Unknown, detail);
        }
        (standing, Some(signer)) => {
            let mut detail = format!("{} ({}); for which names is asked with the artifact", signer.name, key.short());
            if let Standing::Kept(why) = standing {
                detail += &format!("; its key was {why}");
            }
            rows.add("signer", State::Verified, detail);
        }
    }
    known(key).map_or_else(|| key.to_string(), |signer| signer.name.clone())
}

/// An anchor alone: whose checkpoint it is, and what holds it.
fn judge_anchor(request: &Request<'_>, trust: &Trust<'_>, anchor: &Anchor, rows: &mut Rows) -> Option<Subject> {
    let logs = known_logs(trust.policy);
    // The first line of a checkpoint names its log; whether it is by that log is checked right after.
    let origin = anchor.checkpoint.lines().next().unwrap_or_default();
    // A log that changed its key stands there twice under one name.
    let mut named = logs.iter().filter(|log| log.name == origin);
    let first = named.clone().next();
    let found = named.find(|log| note::open(&anchor.checkpoint, log).is_ok()).or(first);
    let mut name = "a checkpoint".to_owned();
    match found {
        Some(log) => {
            let head = rows.attempt("checkpoint", Checkpoint::open(&anchor.checkpoint, log))?;
            if note::signed_only_by(&anchor.checkpoint, log).ok().as_ref() != Some(&anchor.checkpoint) {
                rows.add("checkpoint", State::Invalid, "holds other lines than the signature of its log");
                return None;
            }
            // Cosignatures are not part of an anchor: where the policy asks for them, only the receipt shows them.
            let (state, known) = witnesses::log_trust(trust.policy, log, &anchor.checkpoint, trust.now);
            rows.add("checkpoint", state, format!("{} entries of {}; {known}", head.size, log.name));
            name = format!("{} entries of {}", head.size, log.name);
        }
        None => {
            let digest = Commitment::of(&anchor.checkpoint).digest;
            let detail = format!("SHA-256 {digest}: the policy knows no log that says to be its own");
            rows.add("checkpoint", State::UnknownSigner, detail);
        }
    }
    let checkpoints = [anchor.checkpoint.clone()].into();
    judge_anchors(request, trust, std::slice::from_ref(anchor), &checkpoints, &anchor.checkpoint, rows);
    Some(Subject { name, ..Subject::default() })
}

fn known_logs(policy: &Policy) -> Vec<VerifierKey> {
    let listed = policy.tlog_policy.iter().flat_map(|asked| asked.logs.iter().filter_map(|log| log.key.clone()));
    policy.logs.iter().filter_map(|log| VerifierKey::parse(&log.vkey).ok()).chain(listed).collect()
}

fn judge_anchors(
    request: &Request<'_>,
    trust: &Trust<'_>,
    anchors: &[Anchor],
    checkpoints: &BTreeSet<String>,
    checkpoint: &str,
    rows: &mut Rows,
) {
    let outside = Outside { policy: trust.policy, blocks: request.belief.blocks };
    let judged = Anchors::judge(anchors, checkpoints, &outside, trust, rows);
    let held = if anchors.is_empty() { "none is there" } else { "none of the file counts as one" };
    conclude(trust.policy, judged.of(checkpoint), held, request.require_anchor, rows);
}
