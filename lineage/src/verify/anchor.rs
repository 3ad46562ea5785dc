//! What holds the checkpoint of a release outside of its log, and since when.

use std::collections::{BTreeMap, BTreeSet};

use super::{Belief, Examiner, Rows, Trust};
use crate::anchor::proof::{Place, Proof};
use crate::anchor::{self, Anchor, Bound, Evidence, Standing, note};
use crate::bundle::Bundle;
use crate::credential::policy::{AnchorKind, Policy};
use crate::credential::revocation::Target;
use crate::credential::{rfc3161, x509};
use crate::graph::statement::{Statement, rfc3339};
use crate::verdict::State;

/// The clocks of signers and of chains may be so many seconds apart: Bitcoin's are good to about two hours.
const CLOCKS: i64 = 3 * 3600;

impl Examiner<'_> {
    /// Judges the anchors of the artifact's own release, and whether what is asked for is there.
    ///
    /// What nobody whom the policy knows vouches for proves nothing, and takes nothing away either.
    pub(super) fn anchor(&self, statement: &Statement, place: Option<&Place>, required: bool, rows: &mut Rows) {
        let judged = self.judged("", statement, place, rows);
        let held = if self.anchors.is_empty() { "the bundle holds none" } else { "none of the bundle counts as one" };
        conclude(self.policy, judged, held, required, rows);
    }

    /// Says what is known of the time of an ancestor's release: the earliest bound. None of it is asked for.
    pub(super) fn anchor_of_ancestor(
        &self,
        prefix: &str,
        statement: &Statement,
        place: Option<&Place>,
        rows: &mut Rows,
    ) {
        let judged = self.judged(prefix, statement, place, rows);
        let bounds = judged.iter().filter_map(|(kind, standing)| match standing {
            Standing::Bound(bound) => Some((kind, bound)),
            Standing::Pending(_) | Standing::Unjudged(_) => None,
        });
        if let Some((kind, bound)) = bounds.min_by_key(|(_, bound)| bound.time) {
            rows.add(&format!("{prefix}anchor {}", kind.as_str()), State::Verified, told(bound));
        }
    }

    /// The anchors of the checkpoint under which a release was proved. One that contradicts the release gets its row here.
    fn judged(
        &self,
        prefix: &str,
        statement: &Statement,
        place: Option<&Place>,
        rows: &mut Rows,
    ) -> Vec<(AnchorKind, &Standing)> {
        let created = statement.created().unwrap_or(i64::MAX);
        let mut judged = vec![];
        for (kind, standing) in place.and_then(|place| self.anchors.0.get(&place.anchored)).into_iter().flatten() {
            match standing {
                Standing::Bound(bound) if bound.time.saturating_add(CLOCKS) < created => {
                    let detail = format!("said to be made {}, and {}", statement.predicate.created, told(bound));
                    rows.add(&format!("{prefix}anchor {}", kind.as_str()), State::Invalid, detail);
                }
                _ => judged.push((*kind, standing)),
            }
        }
        judged
    }
}

/// Says what the anchors of one checkpoint come to, and whether what is asked for is among them. `held` says, where it is
/// not, what was found instead.
pub(super) fn conclude(
    policy: &Policy,
    judged: Vec<(AnchorKind, &Standing)>,
    held: &str,
    required: bool,
    rows: &mut Rows,
) {
    let mut established = vec![];
    let mut others = vec![];
    for (kind, standing) in judged {
        match standing {
            Standing::Bound(bound) => {
                rows.add(&format!("anchor {}", kind.as_str()), State::Verified, told(bound));
                established.push(kind);
            }
            Standing::Pending(who) => others.push(format!("{}: pending, {who}", kind.as_str())),
            Standing::Unjudged(why) => others.push(format!("{}: {why}", kind.as_str())),
        }
    }
    let rule = &policy.require.anchor;
    let is_met =
        if rule.is_required() { established.iter().any(|kind| rule.accepts(*kind)) } else { !established.is_empty() };
    let needed = if rule.is_required() { rule.describe() } else { "an anchor".to_owned() };
    let there = if others.is_empty() { String::new() } else { format!("; not counted: {}", others.join("; ")) };
    if is_met {
        if !others.is_empty() {
            rows.add("anchor", State::Verified, format!("one is enough{there}"));
        }
    } else if rule.is_required() || required {
        rows.add("anchor", State::Unknown, format!("{needed} is required and {held}{there}"));
    } else if established.is_empty() {
        let detail = format!("none; the time rests on the signer's word and on the log{there}");
        rows.add("anchor", State::Unanchored, detail);
    }
}

/// What each anchor of a bundle is worth, by the checkpoint that it holds. Each is judged once, however many rest on it.
#[derive(Default)]
pub(super) struct Anchors(BTreeMap<String, Vec<(AnchorKind, Standing)>>);

impl Anchors {
    /// Judges all anchors. One that is wrong gets its row, and so does a true anchor of something else: every one must
    /// hold one of these checkpoints.
    pub fn judge(
        given: &[Anchor],
        checkpoints: &BTreeSet<String>,
        outside: &anchor::Trust<'_>,
        trust: &Trust<'_>,
        rows: &mut Rows,
    ) -> Self {
        let mut anchors = Anchors::default();
        for anchor in given {
            let kind = anchor.evidence.kind();
            let row = format!("anchor {}", kind.as_str());
            if !checkpoints.contains(&anchor.checkpoint) {
                rows.add(&row, State::Invalid, "holds a checkpoint to which no proof here leads");
            } else if let Some(standing) = rows.attempt(&row, anchor::check(anchor, outside)) {
                let standing = revoked_authority(anchor, trust).map_or(standing, Standing::Unjudged);
                let standing = of_the_future(&standing, trust.now).map_or(standing, Standing::Unjudged);
                anchors.0.entry(anchor.checkpoint.clone()).or_default().push((kind, standing));
            }
        }
        anchors
    }

    /// What those that hold this checkpoint are worth.
    pub fn of(&self, checkpoint: &str) -> Vec<(AnchorKind, &Standing)> {
        self.0.get(checkpoint).into_iter().flatten().map(|(kind, standing)| (*kind, standing)).collect()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The checkpoints to which a proof of the bundle leads. Nothing is concluded from these notes, whose signatures are
/// verified with the proofs.
pub(super) fn checkpoints(bundle: &Bundle) -> BTreeSet<String> {
    let receipts = bundle
        .records
        .iter()
        .flat_map(|record| record.receipt.iter().chain(record.marks.iter().filter_map(|mark| mark.receipt.as_ref())));
    let proofs = receipts.filter_map(|receipt| Proof::parse(&receipt.proof).ok());
    proofs.filter_map(|proof| note::without_others(&proof.checkpoint)).collect()
}

/// Why a bound does not count yet, if so: nothing was held by then when the verdict is asked for as of an earlier time.
fn of_the_future(standing: &Standing, now: i64) -> Option<String> {
    match standing {
        Standing::Bound(bound) if bound.time > now.saturating_add(CLOCKS) => {
            Some(format!("is of after the time judged by: {}, {}", rfc3339(bound.time), bound.source))
        }
        _ => None,
    }
}

/// Why an authority's word no longer counts, if one of its certificates was revoked, by the policy or by a list.
fn revoked_authority(anchor: &Anchor, trust: &Trust<'_>) -> Option<String> {
    let Evidence::Rfc3161(token) = &anchor.evidence else { return None };
    if !trust.revokes_certificates() {
        return None;
    }
    let certificates = rfc3161::certificates(&token.token.0);
    certificates.iter().flat_map(|der| x509::fingerprints(der)).find_map(|certificate| {
        let reason = trust.revoked(&Target::Certificate(certificate))?;
        // A list says itself that it revokes; a policy gives no more than the reason.
        let reason = if reason.starts_with("revoked") { reason } else { format!("revoked: {reason}") };
        Some(format!("its authority's certificate {} was {reason}", certificate.short()))
    })
}

/// The earliest time before which a checkpoint existed, by these anchors and as a verdict would have it.
pub fn held_since(anchors: &[Anchor], checkpoint: &str, belief: &Belief<'_>) -> Option<(AnchorKind, Bound)> {
    let (no_policy, mut rows) = (Policy::default(), Rows::default());
    let trust = Trust::new(belief, &no_policy, &[], &mut rows);
    let outside = anchor::Trust { policy: trust.policy, blocks: belief.blocks };
    let judged = Anchors::judge(anchors, &[checkpoint.to_owned()].into(), &outside, &trust, &mut rows);
    let bounds = judged.of(checkpoint).into_iter().filter_map(|(kind, standing)| match standing {
        Standing::Bound(bound) => Some((kind, bound.clone())),
        Standing::Pending(_) | Standing::Unjudged(_) => None,
    });
    bounds.min_by_key(|(_, bound)| bound.time)
}

fn told(bound: &Bound) -> String {
    let end = if bound.is_final { "" } else { "; may still be reorganised" };
    format!("existed before {}: {}{end}", rfc3339(bound.time), bound.source)
}
