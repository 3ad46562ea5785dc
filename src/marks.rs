//! The marks of one key: for each its commitment record `marks/<mark id>.json` (hashed, logged, published with the
//! release) and the owner's note `marks/<mark id>.note.json`: which model was marked, for whom, and the receipt.

use std::path::{Path, PathBuf};
use std::{fs, io};

use countermark_io::files;
use countermark_lineage::anchor::Anchor;
use countermark_lineage::anchor::entry::{Entry, EntryType};
use countermark_lineage::anchor::note::VerifierKey;
use countermark_lineage::anchor::proof::{Place, Proof};
use countermark_lineage::bundle::Receipt;
use countermark_lineage::credential::keys::{PrivateKey, PublicKey};
use countermark_lineage::credential::policy::{AnchorKind, Policy};
use countermark_lineage::digest::Hash;
use countermark_lineage::graph::statement::rfc3339;
use countermark_lineage::verdict::State;
use countermark_lineage::verify::{held_since, log_trust};
use countermark_watermark::{Commitment, recipient_commitment};
use serde::{Deserialize, Serialize};

use crate::trust::Trust;
use crate::{Error, keyset};

pub(crate) const MAX_RECORD: u64 = 1 << 20;
const NOTE: &str = ".note.json";

/// The owner's note on a mark.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    /// Root of the marked copy.
    pub marked: Hash,
    /// Whose copy it is: the record holds only a salted hash of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Recipient>,
    /// Place of the commitment in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged: Option<Logged>,
    /// Groups whose key was disclosed: whoever has one can change that group's slots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disclosed: Vec<usize>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipient {
    pub name: String,
    pub salt: Hash,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logged {
    pub vkey: String,
    pub receipt: Receipt,
    /// What holds the checkpoint of the receipt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<Anchor>,
}

/// What an anchor says of when a mark was committed to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommittedBefore {
    /// RFC 3339, UTC.
    pub time: String,
    /// What holds the checkpoint.
    pub kind: AnchorKind,
    /// Where, and by whose word.
    pub source: String,
    /// True when it can no longer be undone.
    #[serde(rename = "final")]
    pub is_final: bool,
}

impl Note {
    /// Whose copy it is, when the name opens the record's salted hash; otherwise the note says nothing.
    pub fn recipient_of(self, commitment: &Commitment) -> Option<String> {
        let opens = |named: &Recipient| {
            Some(recipient_commitment(&named.name, &named.salt.0)) == commitment.transcript.recipient
        };
        self.recipient.filter(opens).map(|named| named.name)
    }
}

/// The log entry that commits to a mark's record.
pub(crate) fn entry(record: &[u8], key: &dyn PrivateKey) -> Result<Vec<u8>, Error> {
    let object = Hash::sha256(record);
    let root = Hash(Commitment::from_json_bytes(record)?.transcript.base_digest);
    let signer = key.public();
    Ok(Entry { entry_type: EntryType::MarkCommitment, object, root, statement: object, signer }.sign(key)?)
}

/// The owner that a commitment record names.
pub(crate) fn owner_of(record: &[u8]) -> Result<[u8; 32], Error> {
    Ok(Commitment::from_json_bytes(record)?.transcript.owner_public_key)
}

/// Reads a commitment record, and checks that it is one.
pub(crate) fn read_record(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = files::read(path, MAX_RECORD)?;
    Commitment::from_json_bytes(&bytes)?;
    Ok(bytes)
}

/// Records of the marks that were struck into the artifact with this root.
pub(crate) fn records_of(marks: &Path, root: Hash) -> Result<Vec<Vec<u8>>, Error> {
    let mut records = Vec::new();
    for path in record_paths(marks)? {
        if read_note(&path).is_some_and(|note| note.marked == root) {
            records.push(read_record(&path)?);
        }
    }
    Ok(records)
}

/// Commitment records in a folder, sorted; none when there is no folder.
pub(crate) fn record_paths(marks: &Path) -> Result<Vec<PathBuf>, Error> {
    if !marks.is_dir() {
        return Ok(vec![]);
    }
    let help = "check that the folder of the marks can be read";
    let entries = fs::read_dir(marks).map_err(countermark_io::Error::io(marks, help))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(countermark_io::Error::io(marks, help))?;
    let ends = |path: &Path, ending| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(ending))
    };
    paths.retain(|path| ends(path, ".json") && !ends(path, NOTE));
    paths.sort();
    Ok(paths)
}

/// The note beside a record, when there is a readable one.
pub(crate) fn read_note(record: &Path) -> Option<Note> {
    let bytes = files::read(&note_path(record), MAX_RECORD).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Writes the note beside a record.
pub(crate) fn write_note(record: &Path, note: &Note) -> Result<(), Error> {
    let note = serde_json::to_vec_pretty(note).unwrap_or_default();
    Ok(files::write(&note_path(record), &note, files::SECRET)?)
}

fn note_path(record: &Path) -> PathBuf {
    record.with_extension("note.json")
}

/// The folder of the marks beside a mark key.
pub(crate) fn folder(key: &Path) -> PathBuf {
    keyset::beside(key, "marks")
}

/// The proven place of this very record in a log that the owner's policy knows, by the owner's own entry.
pub(crate) fn place(logged: &Logged, commitment: &Commitment, owner: &PublicKey, policy: &Policy) -> Option<Place> {
    let bytes = &logged.receipt.entry.0;
    let entry = Entry::verify(bytes).ok()?;
    let log = VerifierKey::parse(&logged.vkey).ok()?;
    let place = Proof::parse(&logged.receipt.proof).ok()?.verify(bytes, &log).ok()?;
    // As a verdict would have it: known to the policy, and seen by the witnesses that it asks for.
    if log_trust(policy, &log, &place.checkpoint, keyset::now()).0 != State::Verified {
        return None;
    }
    let object = Hash::sha256(&commitment.to_json_bytes());
    let is_this = (entry.entry_type, entry.object, entry.signer) == (EntryType::MarkCommitment, object, *owner);
    is_this.then_some(place)
}

/// The earliest time before which the checkpoint of this place existed, by the word of somebody whom the policy knows.
pub(crate) fn committed_before(anchors: &[Anchor], place: &Place, trust: &Trust) -> Option<CommittedBefore> {
    let (kind, bound) = held_since(anchors, &place.anchored, &trust.belief(keyset::now()))?;
    Some(CommittedBefore { time: rfc3339(bound.time), kind, source: bound.source, is_final: bound.is_final })
}
