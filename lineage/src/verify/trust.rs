//! Whom to believe, and what no longer counts: the policy, the revocation lists of the issuers that it names, and the
//! hand-overs from keys that it knows to keys that it does not.

use std::collections::BTreeMap;

use super::Rows;
use super::hand_overs::HandOvers;
use super::witnesses;
use crate::anchor::evm::Blocks;
use crate::anchor::note::VerifierKey;
use crate::anchor::proof::Place;
use crate::credential::keys::PublicKey;
use crate::credential::logged::Logged;
use crate::credential::policy::{Policy, RevocationList};
use crate::credential::revocation::{Keeps, List, Target};
use crate::graph::statement::rfc3339;
use crate::verdict::State;

/// Clocks of signers may be ahead of ours by so many seconds.
pub(super) const CLOCK_SKEW: i64 = 300;

const DAY: i64 = 86_400;

/// A file that somebody gave: its name, for messages, and its bytes.
pub type Named = (String, Vec<u8>);

/// Whom to believe, when, and what is known of keys beside that.
#[derive(Clone, Copy)]
pub struct Belief<'a> {
    /// Whom to believe. Without it nobody is known.
    pub policy: Option<&'a Policy>,
    /// Revocation lists that are at hand. Those of issuers that the policy names count.
    pub revocations: &'a [Named],
    /// Hand-overs that are at hand, beside those of the bundle.
    pub hand_overs: &'a [Named],
    /// Nodes of chains to ask for blocks, when the network may be used.
    pub blocks: Option<&'a dyn Blocks>,
    /// The time to judge by, in Unix seconds.
    pub now: i64,
}

/// What all of it comes to.
pub(super) struct Trust<'a> {
    pub policy: &'a Policy,
    pub now: i64,
    rulings: BTreeMap<Target, Vec<Ruling>>,
    pub hand_overs: HandOvers,
}

/// Somebody who may says that something no longer counts.
struct Ruling {
    text: String,
    keeps: Option<Keeps>,
    successor: Option<PublicKey>,
}

/// Whether something still counts.
pub(super) enum Standing {
    /// Nobody says otherwise.
    Good,
    /// It was revoked, but not for what was logged before.
    Kept(String),
    /// It no longer counts.
    Revoked(String),
}

impl<'a> Trust<'a> {
    /// Reads the lists and hand-overs, and says in rows what each is worth. `carried` are hand-overs of a bundle.
    pub fn new(belief: &Belief<'a>, no_policy: &'a Policy, carried: &[Logged], rows: &mut Rows) -> Self {
        let policy = belief.policy.unwrap_or(no_policy);
        let (rulings, hand_overs) = (from_policy(policy), HandOvers::default());
        let mut trust = Trust { policy, now: belief.now, rulings, hand_overs };
        trust.read_lists(belief.revocations, rows);
        trust.hand_overs = HandOvers::read(belief.hand_overs, carried, &trust, rows);
        trust
    }

    /// Why this no longer counts, if so, whatever was logged when.
    pub fn revoked(&self, target: &Target) -> Option<String> {
        match self.standing(target, None, &|_| None) {
            Standing::Revoked(reason) => Some(reason),
            Standing::Good | Standing::Kept(_) => None,
        }
    }

    /// Whether `target` still counts for something whose place in the log with a given verifier key `place` answers, once
    /// it is proven. `successor`: the key to which it is handed over, when that is what is asked about.
    pub fn standing(
        &self,
        target: &Target,
        successor: Option<&PublicKey>,
        place: &dyn Fn(&str) -> Option<Place>,
    ) -> Standing {
        let mut standing = Standing::Good;
        for ruling in self.rulings.get(target).into_iter().flatten() {
            if successor.is_some() && ruling.successor.as_ref() == successor {
                continue;
            }
            let Some(keeps) = &ruling.keeps else { return Standing::Revoked(ruling.text.clone()) };
            // A log that the policy does not know could have been made up by whoever has the key, and one without its
            // witnesses could have been made up again, with another order.
            let is_kept = |place: &Place| place.index < keeps.before && self.believes(&keeps.log, place);
            match place(&keeps.log).filter(is_kept) {
                Some(Place { index, .. }) => {
                    let before = keeps.before;
                    standing = Standing::Kept(format!("{}; entry {index} is before {before}, and stays", ruling.text));
                }
                None => return Standing::Revoked(ruling.text.clone()),
            }
        }
        standing
    }

    /// True when any certificate was revoked, so that it makes sense to ask for each.
    pub fn revokes_certificates(&self) -> bool {
        self.rulings.keys().any(|target| matches!(target, Target::Certificate(_)))
    }

    /// What the policy says of a log in which something has this place.
    pub fn log_trust(&self, log: &VerifierKey, place: &Place) -> (State, String) {
        witnesses::log_trust(self.policy, log, &place.checkpoint, self.now)
    }

    /// True when the policy knows the log with this verifier key, and the witnesses that it asks for saw the checkpoint.
    fn believes(&self, vkey: &str, place: &Place) -> bool {
        VerifierKey::parse(vkey).is_ok_and(|log| self.log_trust(&log, place).0 == State::Verified)
    }

    fn read_lists(&mut self, files: &[Named], rows: &mut Rows) {
        let policy = self.policy;
        let mut lists: BTreeMap<PublicKey, Vec<(&str, List)>> = BTreeMap::new();
        for (name, bytes) in files {
            let list = match List::parse(bytes) {
                Ok(list) => list,
                Err(error) => {
                    rows.add("revocations", State::Invalid, format!("{name}: {}", error.problem()));
                    continue;
                }
            };
            let issuer = list.content.issuer;
            if policy.revocation_lists.iter().any(|known| known.key == issuer) {
                lists.entry(issuer).or_default().push((name, list));
            } else {
                let detail = format!("{name} is signed by {issuer}, and the policy names no such [[revocation_list]]");
                rows.add("revocations", State::UnknownSigner, detail);
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        for issuer in policy.revocation_lists.iter().filter(|issuer| seen.insert(issuer.key)) {
            match lists.remove(&issuer.key) {
                Some(lists) => self.read_lists_of(issuer, lists, rows),
                None if issuer.required => {
                    let short = issuer.key.short();
                    let detail = format!("the policy asks for a revocation list of {short}, and none is here");
                    rows.add("revocations", State::Unknown, detail);
                }
                None => {}
            }
        }
    }

    /// What any list of an issuer revoked stays revoked. That nothing else was is the word of the newest list only.
    fn read_lists_of(&mut self, issuer: &RevocationList, mut lists: Vec<(&str, List)>, rows: &mut Rows) {
        lists.sort_by_key(|(_, list)| (list.content.sequence, list.file.receipt.is_some()));
        for pair in lists.windows(2) {
            if let Some(problem) = pair[0].1.contradicts(&pair[1].1) {
                let detail = format!("{} and {}: {problem}", pair[0].0, pair[1].0);
                rows.add("revocations", State::Invalid, detail);
            }
        }
        if let Some((name, newest)) = lists.last() {
            let (state, detail) = self.judge_list(issuer, newest);
            rows.add("revocations", state, format!("{name}: {detail}"));
        }
        // The newest first: it says the same as the older ones, and more.
        let mut told = std::collections::BTreeSet::new();
        for (_, list) in lists.iter().rev() {
            let (sequence, short) = (list.content.sequence, issuer.key.short());
            for (index, entry) in list.content.entries.iter().enumerate() {
                let Some(target) = entry.target() else { continue };
                let same = serde_json::to_string(entry).unwrap_or_else(|_| format!("{sequence}/{index}"));
                if !told.insert(same) {
                    continue;
                }
                let text = format!("revoked ({}) by list {sequence} of {short}: {}", entry.kind, entry.reason);
                let ruling = Ruling { text, keeps: entry.keeps.clone(), successor: entry.successor };
                self.rulings.entry(target).or_default().push(ruling);
            }
        }
    }

    fn judge_list(&self, issuer: &RevocationList, list: &List) -> (State, String) {
        let (issued, next_update) = list.times();
        let (sequence, entries) = (list.content.sequence, list.content.entries.len());
        let what = format!("list {sequence} of {} with {entries} entries", issuer.key.short());
        if let Some(least) = issuer.sequence.filter(|least| sequence < *least) {
            return (State::Stale, format!("{what} is older than list {least}, which the policy has seen"));
        }
        if issued > self.now.saturating_add(CLOCK_SKEW) {
            return (State::Unknown, format!("{what} was made after the time judged by: {}", rfc3339(issued)));
        }
        if self.now > next_update {
            return (State::Stale, format!("{what} is stale: a newer one was due by {}", rfc3339(next_update)));
        }
        let age = self.now.saturating_sub(issued).max(0) / DAY;
        if let Some(days) = issuer.max_age_days.filter(|days| self.now.saturating_sub(issued) > i64::from(*days) * DAY)
        {
            return (State::Stale, format!("{what} is {age} days old, and the policy allows {days}"));
        }
        let what = format!("{what}, {age} days old");
        let Some(vkey) = &list.content.log else { return (State::Verified, format!("{what}, in no log")) };
        if list.file.receipt.is_none() {
            return (State::Unknown, format!("{what}: the receipt of its log is missing"));
        }
        match (list.place(), VerifierKey::parse(vkey)) {
            (Ok(Some(place)), Ok(log)) => {
                let (state, trust) = self.log_trust(&log, &place);
                (state, format!("{what}, entry {} of {}; {trust}", place.index, log.name))
            }
            (Err(error), _) | (_, Err(error)) => (State::Invalid, format!("{what}: {}", error.problem())),
            (Ok(None), Ok(_)) => (State::Invalid, format!("{what}: has no place in its log")),
        }
    }
}

/// The revocations that the policy itself holds.
fn from_policy(policy: &Policy) -> BTreeMap<Target, Vec<Ruling>> {
    let mut rulings: BTreeMap<Target, Vec<Ruling>> = BTreeMap::new();
    for entry in &policy.revoked {
        let targets = [
            entry.key.map(Target::Key),
            entry.statement.map(Target::Statement),
            entry.mark.map(Target::Mark),
            entry.certificate.map(Target::Certificate),
        ];
        for target in targets.into_iter().flatten() {
            let ruling = Ruling { text: entry.reason.clone(), keeps: None, successor: None };
            rulings.entry(target).or_default().push(ruling);
        }
    }
    rulings
}
