//! What holds the checkpoint of a release outside of its log, and since when.

use super::{Examiner, Rows};
use crate::anchor::proof::{Place, Proof};
use crate::anchor::{self, Anchor, Bound, Standing};
use crate::bundle::{Bundle, Receipt};
use crate::credential::policy::AnchorKind;
use crate::graph::statement::{Statement, rfc3339};
use crate::verdict::State;

/// The clocks of signers and of chains may be so many seconds apart: Bitcoin's are good to about two hours.
const CLOCKS: i64 = 3 * 3600;

impl Examiner<'_> {
    /// Judges the anchors of the artifact's own release, and whether what is asked for is there.
    ///
    /// What nobody whom the policy knows vouches for proves nothing, and takes nothing away either.
    pub(super) fn anchor(&self, statement: &Statement, place: Option<&Place>, required: bool, rows: &mut Rows) {
        let mut established = vec![];
        let mut others = vec![];
        for (kind, standing) in self.judged("", statement, place, rows) {
            match standing {
                Standing::Bound(bound) => {
                    rows.add(&format!("anchor {}", kind.as_str()), State::Verified, told(&bound));
                    established.push(kind);
                }
                Standing::Pending(who) => others.push(format!("{}: pending, {who}", kind.as_str())),
                Standing::Unjudged(why) => others.push(format!("{}: {why}", kind.as_str())),
            }
        }
        let rule = &self.policy.require.anchor;
        let is_met = if rule.is_required() {
            established.iter().any(|kind| rule.accepts(*kind))
        } else {
            !established.is_empty()
        };
        let needed = if rule.is_required() { rule.describe() } else { "an anchor".to_owned() };
        let there = if others.is_empty() { String::new() } else { format!("; not counted: {}", others.join("; ")) };
        if is_met {
            if !others.is_empty() {
                rows.add("anchor", State::Verified, format!("one is enough{there}"));
            }
        } else if rule.is_required() || required {
            let held =
                if self.anchors.is_empty() { "the bundle holds none" } else { "none of the bundle counts as one" };
            rows.add("anchor", State::Unknown, format!("{needed} is required and {held}{there}"));
        } else if established.is_empty() {
            let detail = format!("none; the time rests on the signer's word and on the log{there}");
            rows.add("anchor", State::Unanchored, detail);
        }
    }

    /// Says what is known of the time of an ancestor's release. None of it is asked for.
    pub(super) fn anchor_of_ancestor(
        &self,
        prefix: &str,
        statement: &Statement,
        place: Option<&Place>,
        rows: &mut Rows,
    ) {
        for (kind, standing) in self.judged(prefix, statement, place, rows) {
            if let Standing::Bound(bound) = standing {
                rows.add(&format!("{prefix}anchor {}", kind.as_str()), State::Verified, told(&bound));
            }
        }
    }

    /// The anchors of the checkpoint under which a release was proved. One that is wrong gets its row here.
    fn judged(
        &self,
        prefix: &str,
        statement: &Statement,
        place: Option<&Place>,
        rows: &mut Rows,
    ) -> Vec<(AnchorKind, Standing)> {
        let Some(place) = place else { return vec![] };
        let trust = anchor::Trust { policy: self.policy, blocks: self.blocks };
        let mut judged = vec![];
        let text = known_text(&place.anchored);
        for anchor in self.anchors.iter().filter(|anchor| known_text(&anchor.checkpoint) == text) {
            let kind = anchor.evidence.kind();
            let row = format!("{prefix}anchor {}", kind.as_str());
            if anchor.checkpoint != place.anchored {
                rows.add(&row, State::Invalid, "holds the checkpoint with other signatures than the log's own");
                continue;
            }
            let Some(standing) = rows.attempt(&row, anchor::check(anchor, &trust)) else { continue };
            let created = statement.created().unwrap_or(i64::MAX);
            match &standing {
                Standing::Bound(bound) if bound.time.saturating_add(CLOCKS) < created => {
                    let detail = format!("said to be made {}, and {}", statement.predicate.created, told(bound));
                    rows.add(&row, State::Invalid, detail);
                }
                _ => judged.push((kind, standing)),
            }
        }
        judged
    }
}

/// Every anchor must hold a checkpoint to which a proof of the bundle leads: a true anchor of something else is no evidence.
pub(super) fn anchors_of_something_else(bundle: &Bundle, rows: &mut Rows) {
    let receipts = bundle
        .records
        .iter()
        .flat_map(|record| record.receipt.iter().chain(record.marks.iter().filter_map(|mark| mark.receipt.as_ref())));
    let checkpoints: Vec<String> = receipts.filter_map(checkpoint_of).collect();
    let is_strange =
        |anchor: &&Anchor| !checkpoints.iter().any(|known| known_text(known) == known_text(&anchor.checkpoint));
    for anchor in bundle.anchors.iter().filter(is_strange) {
        let row = format!("anchor {}", anchor.evidence.kind().as_str());
        rows.add(&row, State::Invalid, "holds a checkpoint to which no proof of the bundle leads");
    }
}

fn checkpoint_of(receipt: &Receipt) -> Option<String> {
    Some(Proof::parse(&receipt.proof).ok()?.checkpoint)
}

/// The text of a note, without its signatures. Nothing is concluded from it but that two notes are of one head.
fn known_text(note: &str) -> Option<&str> {
    note.rfind("\n\n").map(|at| &note[..at])
}

fn told(bound: &Bound) -> String {
    let end = if bound.is_final { "" } else { "; may still be reorganised" };
    format!("existed before {}: {}{end}", rfc3339(bound.time), bound.source)
}
