//! Places in logs: of the release, and of the commitments to its marks, which must be older.

use std::collections::BTreeMap;

use super::{Examiner, Rows, witnesses};
use crate::Error;
use crate::anchor::entry::{Entry, EntryType};
use crate::anchor::note::VerifierKey;
use crate::anchor::proof::{Place, Proof};
use crate::bundle::{Mark, Receipt, Record};
use crate::digest::Hash;
use crate::graph::statement::Statement;
use crate::verdict::State;

impl Examiner<'_> {
    /// Checks that the release is in the log that the statement names, and that the entry is about this release.
    pub(super) fn release(
        &self,
        record: &Record,
        statement: &Statement,
        id: &Hash,
        prefix: &str,
        rows: &mut Rows,
    ) -> Option<Place> {
        let row = format!("{prefix}log");
        let Some(vkey) = &statement.predicate.release.log else {
            if self.policy.require.log {
                rows.add(&row, State::Unknown, "the policy asks for a log entry and the release names no log");
            }
            return None;
        };
        let log = rows.attempt(&row, VerifierKey::parse(vkey))?;
        let Some(receipt) = &record.receipt else {
            rows.add(&row, State::Unknown, format!("the receipt of {} is missing", log.name));
            return None;
        };
        let (entry, place) = rows.attempt(&row, open_receipt(receipt, &log))?;
        if let Some(part) = disagreement(&entry, &release_entry(record, statement, id)) {
            rows.add(&row, State::Invalid, format!("the logged {part} is not that of this release"));
            return None;
        }
        let (state, trust) = witnesses::log_known(self.policy, &log);
        rows.add(
            &row,
            state,
            format!(
                "entry {} of {}, inclusion proved under {} entries; {trust}",
                place.index, log.name, place.head.size
            ),
        );
        witnesses::row(self.policy, &log, &place, self.now, prefix, rows);
        Some(place)
    }

    /// The proven place of a release in the log with this verifier key.
    pub(super) fn place_in(&self, vkey: &str, statement: &Statement, id: &Hash) -> Option<Place> {
        if statement.predicate.release.log.as_deref() != Some(vkey) {
            return None;
        }
        let record = self.records.get(id)?;
        let (entry, place) = open_receipt(record.receipt.as_ref()?, &VerifierKey::parse(vkey).ok()?).ok()?;
        disagreement(&entry, &release_entry(record, statement, id)).is_none().then_some(place)
    }

    /// Checks that each mark was committed to in the same log, before the release.
    pub(super) fn marks(
        &self,
        record: &Record,
        statement: &Statement,
        release: Option<&Place>,
        prefix: &str,
        rows: &mut Rows,
    ) {
        let mut named: BTreeMap<Hash, Option<&Mark>> = statement.marks().map(|hash| (hash, None)).collect();
        for mark in &record.marks {
            let hash = Hash::sha256(&mark.record.0);
            match named.get_mut(&hash) {
                Some(place @ None) => *place = Some(mark),
                Some(Some(_)) => rows.add(&format!("{prefix}mark"), State::Invalid, "a commitment stands there twice"),
                None => {
                    let detail = format!("commitment {} is not named by the statement", hash.short());
                    rows.add(&format!("{prefix}mark"), State::Invalid, detail);
                }
            }
        }
        for (hash, mark) in named {
            let row = format!("{prefix}mark {}", hash.short());
            let Some(mark) = mark else {
                rows.add(&row, State::Unknown, "the commitment record is missing");
                continue;
            };
            let Some(record) = MarkRecord::parse(&mark.record.0) else {
                rows.add(&row, State::Invalid, "is not a commitment record");
                continue;
            };
            let (Some(release), Some(receipt)) = (release, &mark.receipt) else {
                rows.add(&row, State::Unknown, "nothing proves that the commitment is older than the release");
                continue;
            };
            // The release's place was proved under this key just before.
            let log = statement.predicate.release.log.as_deref().unwrap_or_default();
            let opened = VerifierKey::parse(log).and_then(|log| {
                let (entry, place) = open_receipt(receipt, &log)?;
                Ok((entry, witnesses::bad_line(self.policy, &log, &place, self.now), place))
            });
            let Some((entry, bad_line, place)) = rows.attempt(&row, opened) else { continue };
            // The quorum is asked of the release, which must be under the same head.
            if let Some(problem) = bad_line {
                rows.add(&row, State::Invalid, format!("witnesses: {problem}"));
                continue;
            }
            let is_this =
                entry.entry_type == EntryType::MarkCommitment && entry.object == hash && entry.root == record.base;
            let problem = if !is_this {
                Some("the logged entry is about something else")
            } else if !self.trust.hand_overs.speaks_for(&statement.predicate.signer, &record.owner) {
                Some("the mark was committed to by another owner")
            } else if entry.signer != statement.predicate.signer {
                Some("the commitment was logged by another signer")
            } else if place.head != release.head {
                Some("commitment and release are proved under different checkpoints")
            } else if place.index >= release.index {
                Some("the commitment is not older than the release")
            } else {
                None
            };
            match problem {
                Some(problem) => rows.add(&row, State::Invalid, problem),
                None => {
                    let detail = format!("committed at entry {}, before the release at {}", place.index, release.index);
                    rows.add(&row, State::Verified, detail);
                }
            }
        }
    }
}

/// The members of a mark's commitment record that evidence depends on; the rest is for whoever holds the mark's secret.
struct MarkRecord {
    /// [`PublicKey::id`](crate::credential::keys::PublicKey::id) of the owner.
    owner: [u8; 32],
    /// Root of the unmarked model.
    base: Hash,
}

impl MarkRecord {
    const LONGEST: usize = 64 << 10;

    fn parse(bytes: &[u8]) -> Option<Self> {
        let json: serde_json::Value = serde_json::from_slice(bytes.get(..bytes.len().min(Self::LONGEST))?).ok()?;
        let hash = |member: &str| Hash::parse(json["transcript"][member].as_str()?);
        Some(MarkRecord { owner: hash("owner_public_key")?.0, base: hash("base_digest")? })
    }
}

/// Reads an entry and proves its place under `log`.
fn open_receipt(receipt: &Receipt, log: &VerifierKey) -> Result<(Entry, Place), Error> {
    let entry = Entry::verify(&receipt.entry.0)?;
    let place = Proof::parse(&receipt.proof)?.verify(&receipt.entry.0, log)?;
    Ok((entry, place))
}

/// What the log must hold about a release.
fn release_entry(record: &Record, statement: &Statement, id: &Hash) -> Entry {
    Entry {
        entry_type: EntryType::Release,
        object: record.manifest.as_ref().map_or(*id, |store| Hash::sha256(&store.0)),
        root: statement.root(),
        statement: *id,
        signer: statement.predicate.signer,
    }
}

/// The first part in which two entries differ.
fn disagreement(entry: &Entry, expected: &Entry) -> Option<&'static str> {
    [
        ("type", entry.entry_type != expected.entry_type),
        ("manifest", entry.object != expected.object),
        ("artifact root", entry.root != expected.root),
        ("statement", entry.statement != expected.statement),
        ("signer", entry.signer != expected.signer),
    ]
    .into_iter()
    .find_map(|(part, differs)| differs.then_some(part))
}
