//! Which logs the policy believes, and whether as many witnesses saw a checkpoint as it asks for.
//!
//! A log shows its own signature to everybody; only witnesses show that everybody sees the same log. So a log that
//! stands in the policy's `tlog_policy` needs the quorum wherever one of its proofs is believed, also when it stands in
//! `[[log]]` as well.

use super::Rows;
use super::trust::CLOCK_SKEW;
use crate::anchor::cosignature;
use crate::anchor::note::VerifierKey;
use crate::anchor::proof::Place;
use crate::anchor::tlog_policy::TlogPolicy;
use crate::credential::policy::Policy;
use crate::graph::statement::rfc3339;
use crate::verdict::State;

/// What the policy says of a log whose proof holds, under a checkpoint whose signature by the log was checked:
/// `verified` when it knows the log and the quorum of its witnesses is there at `now`, in Unix seconds.
pub fn log_trust(policy: &Policy, log: &VerifierKey, checkpoint: &str, now: i64) -> (State, String) {
    let (state, trust) = log_known(policy, log);
    match quorum_for(policy, log).and_then(|asked| quorum(asked, checkpoint, now)) {
        Some((witnessed, detail)) => (state.max(witnessed), format!("{trust}; witnesses: {detail}")),
        None => (state, trust.to_owned()),
    }
}

/// What the policy says of a log, whatever its witnesses say.
pub(super) fn log_known(policy: &Policy, log: &VerifierKey) -> (State, &'static str) {
    if policy.knows_log(log) {
        (State::Verified, "log known to the policy")
    } else if !policy.names_logs() && !policy.require.log {
        (State::Unanchored, "the policy names no log, so the order rests on the signer's word")
    } else {
        (State::UnknownSigner, "the policy does not know this log")
    }
}

/// Says in a row what the witnesses of a log come to, when any are asked for.
pub(super) fn row(policy: &Policy, log: &VerifierKey, place: &Place, now: i64, prefix: &str, rows: &mut Rows) {
    if let Some((state, detail)) = quorum_for(policy, log).and_then(|asked| quorum(asked, &place.checkpoint, now)) {
        rows.add(&format!("{prefix}witnesses"), state, detail);
    }
}

/// What is wrong with the lines of known witnesses on a checkpoint, whether or not they are asked for.
pub(super) fn bad_line(policy: &Policy, log: &VerifierKey, place: &Place, now: i64) -> Option<String> {
    let judged = quorum_for(policy, log).and_then(|asked| quorum(asked, &place.checkpoint, now));
    judged.and_then(|(state, detail)| (state == State::Invalid).then_some(detail))
}

fn quorum_for<'a>(policy: &'a Policy, log: &VerifierKey) -> Option<&'a TlogPolicy> {
    policy.tlog_policy.as_ref().filter(|asked| asked.lists(log))
}

/// Counts the witnesses that cosigned a checkpoint by `now`: `verified` when the quorum is there, `unknown` when it is
/// not,
/// `invalid` when a line of a known witness is wrong. `None` when nobody is asked for and nobody known signed.
pub fn quorum(asked: &TlogPolicy, checkpoint: &str, now: i64) -> Option<(State, String)> {
    let latest = u64::try_from(now.saturating_add(CLOCK_SKEW)).unwrap_or(0);
    let voters = asked.voters();
    let (mut cosigned, mut told, mut others) = (std::collections::BTreeSet::new(), vec![], vec![]);
    for (place, name, witness) in asked.witnesses() {
        let Some(key) = &witness.key else {
            if voters.contains(&place) {
                others.push(format!("{name}: its key is of a type that this version cannot check"));
            }
            continue;
        };
        match cosignature::open(checkpoint, key) {
            Err(error) => return Some((State::Invalid, format!("{name}: {}", error.problem()))),
            Ok(None) => {}
            Ok(Some(time)) => {
                let at = i64::try_from(time).map_or_else(|_| format!("Unix second {time}"), rfc3339);
                if time > latest {
                    others.push(format!("{name}: of the future, {at}"));
                } else {
                    cosigned.insert(place);
                    told.push(format!("{name} at {at}"));
                }
            }
        }
    }
    if asked.quorum.is_none() && told.is_empty() {
        return None;
    }
    let who = if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) };
    let not = if others.is_empty() { String::new() } else { format!("; does not count: {}", others.join(", ")) };
    let count = format!("{} of {}{who}", cosigned.intersection(&voters).count(), voters.len());
    Some(match asked.quorum {
        None => (State::Verified, format!("none is asked for{who}{not}")),
        Some(_) if asked.is_met(&cosigned) => {
            (State::Verified, format!("{count}{not}; asked for: {}", asked.describe()))
        }
        Some(_) => {
            let detail = format!(
                "{count}{not}; asked for: {}, and without that the log may show others another tree",
                asked.describe()
            );
            (State::Unknown, detail)
        }
    })
}
