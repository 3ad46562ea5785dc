//! Who signed, whether the policy lets them speak for this artifact, and whether enough of them did.

use std::collections::BTreeSet;

use super::hand_overs::Doubt;
use super::trust::{Standing, Trust};
use super::{Examiner, Rows};
use crate::credential::keys::PublicKey;
use crate::credential::policy::{Signer, Threshold};
use crate::credential::revocation::Target;
use crate::digest::Hash;
use crate::graph::Relation;
use crate::graph::statement::Statement;
use crate::verdict::State;

/// Somebody in the policy for whom a key may speak.
pub(super) struct Voice<'a> {
    pub signer: &'a Signer,
    /// The signer's own key, when that is another one.
    pub by_hand_over: Option<PublicKey>,
}

/// What somebody says, as far as the policy asks who may say it.
pub(super) struct Said<'a> {
    /// Name of the artifact.
    pub name: &'a str,
    /// Relations to its parents.
    pub relations: &'a [Relation],
    /// When it was made, in Unix seconds: the signer's word, or the earliest that it can be.
    pub created: i64,
}

impl<'a> Trust<'a> {
    /// The one for whom `key` may say this, or why there is nobody; no reason when nobody is known at all.
    pub fn voice(&self, key: &PublicKey, said: &Said<'_>) -> Result<Voice<'a>, Option<Doubt>> {
        let mut doubt = None;
        if let Some(signer) = self.policy.signer(key) {
            match self.permits(signer, said) {
                Ok(()) => return Ok(Voice { signer, by_hand_over: None }),
                Err(denied) => doubt = Some(denied),
            }
        }
        for origin in self.hand_overs.origins(key) {
            let Some(signer) = self.policy.signer(&origin.key) else { continue };
            let denied = match origin.doubt {
                Some(denied) => denied,
                None => match self.permits(signer, said) {
                    Ok(()) => return Ok(Voice { signer, by_hand_over: Some(origin.key) }),
                    Err(denied) => denied,
                },
            };
            doubt.get_or_insert(denied);
        }
        Err(doubt)
    }

    /// Whether the policy lets this signer say this, at this time.
    fn permits(&self, signer: &Signer, said: &Said<'_>) -> Result<(), Doubt> {
        let name = &signer.name;
        let refuse = |state, text| Err(Doubt { state, text });
        if !signer.may_name(said.name) {
            return refuse(State::UnknownSigner, format!("{name} may not vouch for {:?}", said.name));
        }
        if let Some(relation) = said.relations.iter().find(|relation| !signer.may_state(**relation)) {
            return refuse(State::UnknownSigner, format!("{name} may not state the relation {relation}"));
        }
        if let Some(from) = signer.from.filter(|from| said.created < from.0) {
            return refuse(State::UnknownSigner, format!("{name} may vouch for what was made from {from} on"));
        }
        let Some(until) = signer.until else { return Ok(()) };
        if said.created > until.0 {
            return refuse(State::UnknownSigner, format!("{name} may vouch for what was made until {until}"));
        }
        if self.now > until.0 {
            // Whoever has the key can write any date.
            let text = format!("{name} could vouch until {until}, and nothing proves that this was made before that");
            return refuse(State::Unknown, text);
        }
        Ok(())
    }
}

impl<'a> Examiner<'a> {
    /// Asks the policy who signed, whether they may vouch for this artifact and its edges, whether they still count, and
    /// whether as many signed as it wants.
    pub(super) fn signer(&self, statement: &Statement, id: &Hash, prefix: &str, rows: &mut Rows) -> String {
        if let Some(reason) = self.revoked(&Target::Statement(*id)) {
            rows.add(&format!("{prefix}statement"), State::Revoked, reason);
        }
        for mark in statement.marks() {
            if let Some(reason) = self.revoked(&Target::Mark(mark)) {
                rows.add(&format!("{prefix}mark {}", mark.short()), State::Revoked, reason);
            }
        }
        let row = format!("{prefix}signer");
        let key = statement.predicate.signer;
        let voice = self.voice(&key, statement);
        let name = match &voice {
            Ok(voice) => voice.signer.name.clone(),
            Err(_) => self.trust.policy.signer(&key).map_or_else(|| key.to_string(), |signer| signer.name.clone()),
        };
        match (self.key_standing(&key, statement, id), voice) {
            (Standing::Revoked(reason), _) => {
                rows.add(&row, State::Revoked, reason);
                // What a revoked key says of itself is worth nothing, not even a name.
                return key.to_string();
            }
            (_, Err(doubt)) => rows.add(&row, doubt.state, doubt.text),
            (standing, Ok(Voice { signer, by_hand_over })) => {
                let mut detail = format!("{} ({})", signer.name, key.short());
                if let Some(old) = by_hand_over {
                    detail += &format!(", by hand-over from {}", old.short());
                }
                if let Standing::Kept(why) = standing {
                    detail += &format!("; its key was {why}");
                }
                rows.add(&row, State::Verified, detail);
            }
        }
        for threshold in self.trust.policy.thresholds(statement.name()) {
            self.threshold(threshold, statement, id, prefix, rows);
        }
        name
    }

    /// Why this no longer counts, if so, whatever was logged when.
    pub(super) fn revoked(&self, target: &Target) -> Option<String> {
        self.trust.revoked(target)
    }

    /// Whether a key still counts for this statement, which may have been logged before the key was lost.
    fn key_standing(&self, key: &PublicKey, statement: &Statement, id: &Hash) -> Standing {
        self.trust.standing(&Target::Key(*key), None, &|vkey| self.place_in(vkey, statement, id))
    }

    /// The one for whom `key` may speak about this statement, or why there is nobody.
    fn voice(&self, key: &PublicKey, statement: &Statement) -> Result<Voice<'a>, Doubt> {
        let relations: Vec<Relation> = statement.predicate.parents.iter().map(|parent| parent.relation).collect();
        // The statement was parsed, so its time is readable.
        let created = statement.created().unwrap_or(i64::MAX);
        let said = Said { name: statement.name(), relations: &relations, created };
        self.trust.voice(key, &said).map_err(|doubt| {
            doubt.unwrap_or_else(|| {
                let text = format!("nobody in the policy vouches for {key}");
                Doubt { state: State::UnknownSigner, text }
            })
        })
    }

    /// Counts the different signers that the policy lets vouch for this statement.
    fn threshold(&self, threshold: &Threshold, statement: &Statement, id: &Hash, prefix: &str, rows: &mut Rows) {
        let row = format!("{prefix}threshold");
        // The envelope was verified when the statement was read out of it.
        let Some(verified) = self.records.get(id).and_then(|record| record.statement.verify().ok()) else {
            return rows.add(&row, State::Unknown, "the signatures are not at hand");
        };
        let mut groups: Vec<(BTreeSet<String>, String)> = Vec::new();
        let mut others = Vec::new();
        for key in verified.keys() {
            let counts = match (self.key_standing(key, statement, id), self.voice(key, statement)) {
                (Standing::Revoked(_), _) => Err("revoked".to_owned()),
                (_, Err(doubt)) => Err(doubt.text),
                (_, Ok(voice)) => match &threshold.signers {
                    Some(signers) if !signers.contains(&voice.signer.name) => Err("not asked for".to_owned()),
                    _ => Ok(voice.signer.name.clone()),
                },
            };
            match counts {
                Ok(name) => join(&mut groups, self.identity(key), name),
                Err(why) => others.push(format!("{} ({why})", key.short())),
            }
        }
        let required = threshold.required.get() as usize;
        let names: Vec<&str> = groups.iter().map(|(_, name)| &**name).collect();
        let mut detail = format!("{} of {required} signers", groups.len());
        if !names.is_empty() {
            detail += &format!(": {}", names.join(", "));
        }
        if !others.is_empty() {
            detail += &format!("; does not count: {}", others.join(", "));
        }
        let state = if groups.len() >= required { State::Verified } else { State::UnknownSigner };
        rows.add(&row, state, detail);
    }

    /// Everything that makes two keys those of one signer: itself, the keys that it took over, and how the policy calls
    /// any of them.
    fn identity(&self, key: &PublicKey) -> BTreeSet<String> {
        let origins = self.trust.hand_overs.origins(key).into_iter().map(|origin| origin.key);
        let keys: Vec<PublicKey> = std::iter::once(*key).chain(origins).collect();
        let named = self.trust.policy.signers.iter().filter(|signer| keys.contains(&signer.key));
        let names = named.map(|signer| format!("name {}", signer.name));
        keys.iter().map(PublicKey::to_string).chain(names).collect()
    }
}

/// Puts a signer into the group that it shares anything with, and joins groups that thereby turn out to be one.
fn join(groups: &mut Vec<(BTreeSet<String>, String)>, mut identity: BTreeSet<String>, name: String) {
    let mut kept = name;
    groups.retain(|(known, name)| {
        let is_same = !known.is_disjoint(&identity);
        if is_same {
            identity.extend(known.iter().cloned());
            kept.clone_from(name);
        }
        !is_same
    });
    groups.push((identity, kept));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signers_that_share_anything_are_one() {
        let mut groups = Vec::new();
        let set = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
        join(&mut groups, set(&["a", "name A"]), "A".into());
        join(&mut groups, set(&["b", "name B"]), "B".into());
        assert_eq!(groups.len(), 2);
        join(&mut groups, set(&["a2", "name A"]), "A".into());
        assert_eq!(groups.len(), 2);
        join(&mut groups, set(&["c", "a2", "b"]), "C".into());
        assert_eq!(groups.len(), 1, "c joins all");
    }
}
