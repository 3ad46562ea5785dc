//! Which keys speak for which others: the hand-overs at hand, and what each is worth.

use std::collections::{BTreeMap, BTreeSet};

use super::Rows;
use super::trust::{CLOCK_SKEW, Named, Standing, Trust};
use crate::anchor::note::VerifierKey;
use crate::credential::hand_over::{MAX_CHAIN, Signed};
use crate::credential::keys::PublicKey;
use crate::credential::logged::Logged;
use crate::credential::revocation::Target;
use crate::digest::Hash;
use crate::graph::statement::rfc3339;
use crate::verdict::State;

/// Hand-overs whose signatures hold, at most one from each key, and none that leads back to where it came from.
#[derive(Default)]
pub(super) struct HandOvers {
    by_new_key: BTreeMap<PublicKey, Vec<Link>>,
}

struct Link {
    from: PublicKey,
    doubt: Option<Doubt>,
}

/// Why a hand-over does not count.
#[derive(Clone)]
pub(super) struct Doubt {
    pub state: State,
    pub text: String,
}

/// A key whose rights came to another one.
pub(super) struct Origin {
    pub key: PublicKey,
    /// Why they did not.
    pub doubt: Option<Doubt>,
}

impl HandOvers {
    /// Reads those of `files` and those that a bundle carries.
    pub fn read(files: &[Named], carried: &[Logged], trust: &Trust<'_>, rows: &mut Rows) -> Self {
        let mut found: BTreeMap<Hash, (Signed, Option<Doubt>)> = BTreeMap::new();
        let named = files.iter().map(|(name, bytes)| (Some(name), Signed::parse(bytes)));
        let all = named.chain(carried.iter().map(|file| (None, Signed::open(file.clone()))));
        for (name, signed) in all {
            match signed {
                Ok(signed) => {
                    let doubt = doubt(&signed, trust);
                    // The same one may be here twice, once without its receipt.
                    let better = found.get(&signed.id).is_none_or(|(_, known)| known.is_some() && doubt.is_none());
                    if better {
                        found.insert(signed.id, (signed, doubt));
                    }
                }
                Err(error) => {
                    let source = name.map_or_else(String::new, |name| format!("{name}: "));
                    rows.add("hand-over", State::Invalid, format!("{source}{}", error.problem()));
                }
            }
        }
        let mut next: BTreeMap<PublicKey, BTreeSet<PublicKey>> = BTreeMap::new();
        // One that does not count makes neither a fork nor a circle: a thief could spoil what the list has settled.
        let is_settled = |doubt: &Option<Doubt>| doubt.as_ref().is_some_and(|doubt| doubt.state == State::Revoked);
        for (signed, _) in found.values().filter(|(_, doubt)| !is_settled(doubt)) {
            next.entry(signed.content.from).or_default().insert(signed.content.to);
        }
        let mut hand_overs = HandOvers::default();
        let mut told = BTreeSet::new();
        for (signed, doubt) in found.into_values() {
            let (from, to) = (signed.content.from, signed.content.to);
            let heirs = next.get(&from).map_or(0, BTreeSet::len);
            let problem = if is_settled(&doubt) {
                None
            } else if heirs > 1 {
                Some(format!("{} was handed over to {heirs} keys, and can be to one only", from.short()))
            } else if is_circle(&from, &next) {
                Some(format!("{} is handed over in a circle", from.short()))
            } else {
                None
            };
            match problem {
                Some(problem) if told.insert(from) => rows.add("hand-over", State::Invalid, problem),
                Some(_) => {}
                None => hand_overs.by_new_key.entry(to).or_default().push(Link { from, doubt }),
            }
        }
        hand_overs
    }

    /// The keys whose rights came to `key`, the nearest first, over at most [`MAX_CHAIN`] hand-overs.
    pub fn origins(&self, key: &PublicKey) -> Vec<Origin> {
        let mut origins: Vec<Origin> = Vec::new();
        let mut met = BTreeSet::from([*key]);
        // A key to which an undoubted way leads is not met again on a doubtful one.
        for is_doubtful in [false, true] {
            let mut edge = vec![(*key, None::<Doubt>)];
            for _ in 0..MAX_CHAIN {
                let mut further = Vec::new();
                for (key, doubt) in edge {
                    let links = self.by_new_key.get(&key).into_iter().flatten();
                    for link in links.filter(|link| is_doubtful || link.doubt.is_none()) {
                        let worst = doubt.clone().or_else(|| link.doubt.clone());
                        if met.insert(link.from) {
                            origins.push(Origin { key: link.from, doubt: worst.clone() });
                            further.push((link.from, worst));
                        } else if is_doubtful && worst.is_none() {
                            // The same way again, which may lead on to a doubtful one.
                            further.push((link.from, None));
                        }
                    }
                }
                edge = further;
            }
        }
        origins
    }

    /// True when `key` has this [`PublicKey::id`], or speaks for a key that has.
    pub fn speaks_for(&self, key: &PublicKey, id: &[u8; 32]) -> bool {
        key.id() == *id || self.origins(key).iter().any(|origin| origin.doubt.is_none() && origin.key.id() == *id)
    }
}

/// Follows the one hand-over from each key; forks were refused before.
fn is_circle(start: &PublicKey, next: &BTreeMap<PublicKey, BTreeSet<PublicKey>>) -> bool {
    let mut key = start;
    for _ in 0..=next.len() {
        match next.get(key).and_then(BTreeSet::first) {
            Some(after) if after == start => return true,
            Some(after) => key = after,
            None => return false,
        }
    }
    // It leads into a circle that others are in.
    false
}

/// Why a hand-over that both keys signed does not count, if so.
fn doubt(signed: &Signed, trust: &Trust<'_>) -> Option<Doubt> {
    let content = &signed.content;
    let short = content.from.short();
    let refuse = |state, why: String| Some(Doubt { state, text: format!("the hand-over from {short} {why}") });
    let place = signed.place();
    let place_in = |vkey: &str| match &place {
        Ok(Some(place)) if content.log.as_deref() == Some(vkey) => Some(place.clone()),
        _ => None,
    };
    if let Standing::Revoked(reason) = trust.standing(&Target::Key(content.from), Some(&content.to), &place_in) {
        return refuse(State::Revoked, format!("does not count, as the old key was {reason}"));
    }
    if signed.issued() > trust.now.saturating_add(CLOCK_SKEW) {
        return refuse(State::Unknown, format!("is of the future: {}", rfc3339(signed.issued())));
    }
    match (&content.log, &place) {
        (None, _) if trust.policy.require.log => {
            refuse(State::Unknown, "is in no log, and the policy asks for one".to_owned())
        }
        (None, _) => None,
        (Some(_), Err(error)) => {
            let state = if signed.file.receipt.is_none() { State::Unknown } else { State::Invalid };
            refuse(state, format!("has no place in its log: {}", error.problem()))
        }
        (Some(vkey), Ok(place)) => {
            let judged =
                VerifierKey::parse(vkey).ok().zip(place.as_ref()).map(|(log, place)| trust.log_trust(&log, place));
            let (state, why) = judged.unwrap_or((State::Invalid, "it has no place in its log".to_owned()));
            (state > State::Unanchored).then(|| Doubt { state, text: format!("the hand-over from {short}: {why}") })
        }
    }
}
