//! Revocation lists: which keys, statements, marks and certificates no longer count, signed by somebody whom the policy
//! names, and entered into a log.
//!
//! A list only grows. Each one repeats all entries of the one before in their order, names its hash and has the next
//! number, so that of two lists one can see which is newer, and that the newer one forgets nothing.
//!
//! An entry about a key may keep what was logged before some place ([`Keeps`]): a key that was stolen in May does not void
//! what it signed in March, where the log proves that this was there before. Nothing else can tell the two apart, since
//! whoever has the key writes any date.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::dsse::Content;
use super::keys::{PrivateKey, PublicKey};
use super::logged::{self, Logged};
use crate::Error;
use crate::anchor::entry::EntryType;
use crate::anchor::note::VerifierKey;
use crate::anchor::proof::Place;
use crate::digest::Hash;
use crate::graph::statement::{rfc3339, unix};
use crate::limit::at_most;
use crate::verdict::is_reordering;

/// Schema of the payload.
pub const SCHEMA: &str = "countermark.dev/revocations/v1";

/// Most entries of one list.
pub const MAX_ENTRIES: usize = 50_000;

/// Longest reason, in bytes.
const MAX_REASON: usize = 500;

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocations {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The key that signs the list.
    pub issuer: PublicKey,
    /// 1 for the first list, then one more each time.
    pub sequence: u64,
    /// When it was made: RFC 3339, the issuer's word.
    pub issued: String,
    /// By when there will be a newer one; after that, this one is stale.
    pub next_update: String,
    /// SHA-256 of the payload of the list before; nothing for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Hash>,
    /// Verifier key of the log that holds this list, as a C2SP vkey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// What no longer counts, the oldest entry first.
    #[serde(deserialize_with = "at_most::<MAX_ENTRIES, _, _>")]
    pub entries: Vec<Entry>,
}

/// One thing that no longer counts. Exactly one of `key`, `statement`, `mark` and `certificate` is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// A signer's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
    /// The id of a statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<Hash>,
    /// SHA-256 of a mark's commitment record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Hash>,
    /// SHA-256 of a certificate's DER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Hash>,
    /// Why, in one word.
    pub kind: Kind,
    /// Why, for the reader of a verdict.
    pub reason: String,
    /// When the issuer entered it: RFC 3339.
    pub revoked: String,
    /// What stays good all the same; for keys and certificates only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeps: Option<Keeps>,
    /// The one key to which this key was rightly handed over: that hand-over stays good; for keys only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<PublicKey>,
}

/// Why something was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Somebody else has the key.
    Stolen,
    /// Nobody has the key, as far as its owner knows.
    Lost,
    /// There is a newer one.
    Superseded,
    /// It should never have been signed, or trusted.
    Mistake,
}

impl Kind {
    /// The word in the list.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Stolen => "stolen",
            Kind::Lost => "lost",
            Kind::Superseded => "superseded",
            Kind::Mistake => "mistake",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What stays good: whatever is proven to be in this log before this entry, when the verifier's policy knows the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keeps {
    /// Verifier key of the log.
    pub log: String,
    /// The first entry that no longer counts.
    pub before: u64,
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A key.
    Key(PublicKey),
    /// A statement, by its id.
    Statement(Hash),
    /// A mark, by the SHA-256 of its commitment record.
    Mark(Hash),
    /// A certificate, by the SHA-256 of its DER.
    Certificate(Hash),
}

impl Target {
    /// The public key or the certificate that the first block of a PEM text holds.
    pub fn of_pem(text: &str) -> Option<Self> {
        const END: &str = "-----END ";
        let text = &text[text.find("-----BEGIN ")?..];
        let end = text.find(END)?;
        let last = text[end..].find('\n').map_or(text.len(), |line| end + line);
        match der::pem::decode_vec(&text.as_bytes()[..last]).ok()? {
            ("PUBLIC KEY", der) => PublicKey::from_spki(&der).map(Target::Key),
            ("CERTIFICATE", der) => Some(Target::Certificate(Hash::sha256(&der))),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Key(key) => write!(f, "key {key}"),
            Target::Statement(id) => write!(f, "statement {id}"),
            Target::Mark(mark) => write!(f, "mark {mark}"),
            Target::Certificate(certificate) => write!(f, "certificate {certificate}"),
        }
    }
}

impl Entry {
    /// An entry that keeps nothing.
    pub fn new(target: Target, kind: Kind, reason: &str, now: i64) -> Self {
        let (mut key, mut statement, mut mark, mut certificate) = (None, None, None, None);
        match target {
            Target::Key(named) => key = Some(named),
            Target::Statement(named) => statement = Some(named),
            Target::Mark(named) => mark = Some(named),
            Target::Certificate(named) => certificate = Some(named),
        }
        let (reason, revoked) = (reason.to_owned(), rfc3339(now));
        Entry { key, statement, mark, certificate, kind, reason, revoked, keeps: None, successor: None }
    }

    /// What it is about; nothing when it names none or several.
    pub fn target(&self) -> Option<Target> {
        let targets = [
            self.key.map(Target::Key),
            self.statement.map(Target::Statement),
            self.mark.map(Target::Mark),
            self.certificate.map(Target::Certificate),
        ];
        let mut targets = targets.into_iter().flatten();
        let first = targets.next()?;
        targets.next().is_none().then_some(first)
    }

    fn problem(&self) -> Option<String> {
        let Some(target) = self.target() else {
            return Some("names not exactly one of key, statement, mark and certificate".to_owned());
        };
        let printable = !self.reason.contains(|c: char| c.is_control() || is_reordering(c));
        if !(1..=MAX_REASON).contains(&self.reason.len()) || !printable {
            return Some(format!("reason is not 1 to {MAX_REASON} printable bytes"));
        }
        if unix(&self.revoked).is_none() {
            return Some("revoked is not an RFC 3339 time".to_owned());
        }
        if let Some(keeps) = &self.keeps {
            if !matches!(target, Target::Key(_) | Target::Certificate(_)) {
                return Some("keeps is for keys and certificates only".to_owned());
            }
            if let Err(error) = VerifierKey::parse(&keeps.log) {
                return Some(format!("keeps: {}", error.problem()));
            }
        }
        if self.successor.is_some() && !matches!(target, Target::Key(key) if self.successor != Some(key)) {
            return Some("successor is for keys only, and another key".to_owned());
        }
        None
    }
}

impl Revocations {
    /// Days until a list is stale, unless its issuer says otherwise.
    pub const DAYS: u32 = 90;

    /// The list after `previous`, or the first one: the same entries, to which new ones can be added.
    pub fn after(previous: Option<&List>, issuer: PublicKey, now: i64, days: u32) -> Self {
        Revocations {
            schema: SCHEMA.to_owned(),
            issuer,
            sequence: previous.map_or(1, |list| list.content.sequence.saturating_add(1)),
            issued: rfc3339(now),
            next_update: rfc3339(now.saturating_add(i64::from(days) * 86_400)),
            previous: previous.map(|list| list.id),
            log: None,
            entries: previous.map_or_else(Vec::new, |list| list.content.entries.clone()),
        }
    }

    /// Signs the list.
    ///
    /// # Errors
    /// When the list contradicts itself, or the key is not the issuer's or does not answer.
    pub fn sign(&self, key: &dyn PrivateKey) -> Result<List, Error> {
        let payload = serde_json::to_vec(self).unwrap_or_default();
        List::open(Logged::sign(Content::Revocations, &payload, &[key])?)
    }

    fn parse(payload: &[u8]) -> Result<Self, Error> {
        let refuse = |place: String, problem: String| {
            Err(Error::input(place, problem, "ask its issuer for a list made by a current version"))
        };
        let list: Revocations = match serde_json::from_slice(payload) {
            Ok(list) => list,
            Err(error) => return refuse("revocation list".to_owned(), error.to_string()),
        };
        if list.schema != SCHEMA {
            return refuse("revocation list".to_owned(), format!("schema is not {SCHEMA}"));
        }
        if list.sequence == 0 || (list.sequence == 1) != list.previous.is_none() {
            let problem = "the first list has number 1 and no previous one, all others have one".to_owned();
            return refuse("revocation list sequence".to_owned(), problem);
        }
        let (issued, next) = (unix(&list.issued), unix(&list.next_update));
        if issued.is_none() || next.is_none() || next <= issued {
            let problem = "are not two RFC 3339 times, the earlier one first".to_owned();
            return refuse("revocation list issued, next_update".to_owned(), problem);
        }
        for (index, entry) in list.entries.iter().enumerate() {
            if let Some(problem) = entry.problem() {
                return refuse(format!("revocation list entry {index}"), problem);
            }
        }
        Ok(list)
    }
}

/// A list whose signature holds. Whether its issuer may revoke is the policy's matter.
#[derive(Clone, Debug)]
pub struct List {
    /// What it says.
    pub content: Revocations,
    /// SHA-256 of its payload.
    pub id: Hash,
    /// The file.
    pub file: Logged,
}

impl List {
    /// Reads a file and checks its signature.
    ///
    /// # Errors
    /// [`Error::Input`] naming the part that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        List::open(Logged::parse(bytes)?)
    }

    fn open(file: Logged) -> Result<Self, Error> {
        let verified = file.verify(Content::Revocations)?;
        let content = Revocations::parse(&verified.payload)?;
        if verified.key != content.issuer || !verified.cosigners.is_empty() {
            let help = "fetch the list again from its issuer";
            return Err(Error::input("revocation list issuer", "is not the one key that signed the list", help));
        }
        Ok(List { id: Hash::sha256(&verified.payload), content, file })
    }

    /// When it was made and when it becomes stale, in Unix seconds.
    pub fn times(&self) -> (i64, i64) {
        // The list was parsed, so its times are readable.
        let time = |text: &str| unix(text).unwrap_or(i64::MIN);
        (time(&self.content.issued), time(&self.content.next_update))
    }

    /// Its place in the log that it names; nothing when it names none.
    ///
    /// # Errors
    /// [`Error::Input`] when the receipt is missing, does not hold, or is that of something else.
    pub fn place(&self) -> Result<Option<Place>, Error> {
        let Some(vkey) = &self.content.log else { return Ok(None) };
        let Some(receipt) = &self.file.receipt else {
            let help = "fetch the list again from its issuer";
            return Err(Error::input("receipt", "is missing, though the list names a log", help));
        };
        logged::place(receipt, vkey, EntryType::Revocation, &self.id, &self.content.issuer).map(Some)
    }

    /// What two lists of one issuer say against each other, if anything.
    pub fn contradicts(&self, other: &List) -> Option<String> {
        let (old, new) = if self.content.sequence <= other.content.sequence { (self, other) } else { (other, self) };
        let (first, second) = (old.content.sequence, new.content.sequence);
        if first == second {
            return (old.id != new.id).then(|| format!("there are two different lists with number {first}"));
        }
        if second - first == 1 && new.content.previous != Some(old.id) {
            return Some(format!("list {second} was not made from this list {first}"));
        }
        if !new.content.entries.starts_with(&old.content.entries) {
            return Some(format!("list {second} lacks entries of list {first}"));
        }
        None
    }

    /// Everything that is named in it.
    pub fn targets(&self) -> BTreeSet<Target> {
        self.content.entries.iter().filter_map(Entry::target).collect()
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::credential::dsse::Envelope;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn stolen(seed: u8) -> Entry {
        Entry::new(Target::Key(key(seed).public()), Kind::Stolen, "laptop", 0)
    }

    /// The first list, with an entry, changed before it is signed.
    fn list(change: impl FnOnce(&mut Revocations)) -> Result<List, Error> {
        let mut list = Revocations::after(None, key(1).public(), 0, 30);
        list.entries.push(stolen(2));
        change(&mut list);
        list.sign(&key(1))
    }

    #[test]
    fn a_list_is_what_its_issuer_signed() {
        let good = list(|_| ()).unwrap();
        let again = List::parse(good.file.to_json().as_bytes()).unwrap();
        assert_eq!((again.id, &again.content), (good.id, &good.content));
        assert_eq!(good.place().unwrap(), None);

        let mut bad = good.file.clone();
        bad.envelope.cosign(&key(3)).unwrap();
        assert!(List::open(bad).unwrap_err().problem().contains("issuer"));
        let payload = serde_json::to_vec(&good.content).unwrap();
        let by_stranger = Logged::sign(Content::Revocations, &payload, &[&key(3)]).unwrap();
        assert!(List::open(by_stranger).unwrap_err().problem().contains("issuer"));
        let as_statement = Logged::sign(Content::Statement, &payload, &[&key(1)]).unwrap();
        assert!(List::open(as_statement).unwrap_err().problem().contains("payloadType"));
        assert!(Envelope::sign(&payload, &key(1)).unwrap().verify_as(Content::Revocations).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        type Change = fn(&mut Revocations);
        let wrong: [(&str, Change); 12] = [
            ("schema", |list| list.schema = "other".into()),
            ("sequence 0", |list| list.sequence = 0),
            ("first with a previous", |list| list.previous = Some(Hash([1; 32]))),
            ("second without", |list| list.sequence = 2),
            ("stale at birth", |list| list.next_update = list.issued.clone()),
            ("no time", |list| list.issued = "yesterday".into()),
            ("no target", |list| list.entries[0].key = None),
            ("two targets", |list| list.entries[0].mark = Some(Hash([1; 32]))),
            ("empty reason", |list| list.entries[0].reason.clear()),
            ("reason that steers", |list| list.entries[0].reason = "a\u{202e}b".into()),
            ("own successor", |list| list.entries[0].successor = list.entries[0].key),
            ("keeps without a log", |list| list.entries[0].keeps = Some(Keeps { log: "x".into(), before: 1 })),
        ];
        for (what, change) in wrong {
            assert!(list(change).is_err(), "{what}");
        }
        let mut entry = Entry::new(Target::Statement(Hash([1; 32])), Kind::Mistake, "x", 0);
        entry.successor = Some(key(4).public());
        assert!(list(|list| list.entries.push(entry)).is_err());
        assert!(list(|list| list.log = Some("log.example+00000000+AA==".into())).unwrap().place().is_err());
    }

    #[test]
    fn of_two_lists_the_newer_forgets_nothing() {
        let first = list(|_| ()).unwrap();
        let next = |change: fn(&mut Revocations)| {
            let mut list = Revocations::after(Some(&first), key(1).public(), 10, 30);
            list.entries.push(stolen(3));
            change(&mut list);
            list.sign(&key(1)).unwrap()
        };
        let second = next(|_| ());
        assert_eq!(second.content.sequence, 2);
        assert_eq!(first.contradicts(&second), None);
        assert_eq!(second.contradicts(&first), None);
        assert_eq!(first.contradicts(&first), None);
        assert!(first.contradicts(&list(|list| list.entries.clear()).unwrap()).unwrap().contains("two different"));
        assert!(first.contradicts(&next(|list| list.entries.clear())).unwrap().contains("lacks entries"));
        assert!(
            next(|list| list.previous = Some(Hash([9; 32]))).contradicts(&first).unwrap().contains("not made from")
        );
    }
}
