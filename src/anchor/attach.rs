//! Proves entries anew under a checkpoint that somebody holds, and puts proofs and anchors where they are needed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use countermark_io::anchor::{Jobs, State};
use countermark_io::files;
use countermark_io::log::Log;
use countermark_lineage::anchor::Anchor;
use countermark_lineage::anchor::cosignature;
use countermark_lineage::anchor::proof::Proof;
use countermark_lineage::anchor::receipt::ReceiptFile;
use countermark_lineage::bundle::{Bundle, Bytes, MAX_BUNDLE, Receipt, Record};
use countermark_lineage::credential::logged::Logged;

use crate::{Error, marks};

/// A file that was looked after.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Which.
    pub path: PathBuf,
    /// How many anchors are in it now.
    pub anchors: usize,
}

/// What is held of one log, the oldest checkpoint first.
pub(super) struct Held {
    log: Log,
    vkey: String,
    /// Size, checkpoint, anchors.
    checkpoints: Vec<(u64, String, Vec<Anchor>)>,
}

impl Held {
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let log = Log::open(folder)?;
        let mut checkpoints: Vec<(u64, String, Vec<Anchor>)> = vec![];
        for (size, _, job) in Jobs::of(folder).all()? {
            let Some(evidence) = job.evidence.filter(|_| job.state >= State::Included) else { continue };
            let anchor = Anchor { checkpoint: job.checkpoint.clone(), evidence };
            match checkpoints.iter_mut().find(|(known, ..)| *known == size) {
                Some((.., anchors)) => anchors.push(anchor),
                None => checkpoints.push((size, job.checkpoint, vec![anchor])),
            }
        }
        for (size, note) in log.cosigned()? {
            match checkpoints.iter_mut().find(|(known, ..)| *known == size) {
                Some((_, checkpoint, _)) => *checkpoint = note,
                None => checkpoints.push((size, note, vec![])),
            }
        }
        checkpoints.sort_by_key(|(size, ..)| *size);
        let vkey = log.verifier().to_string();
        Ok(Held { log, vkey, checkpoints })
    }

    /// Proves these receipts anew under the checkpoint with the most kinds of anchors, among those the one with the most
    /// cosignatures, among those the oldest. Answers its anchors; none when no checkpoint is held that has all of the
    /// entries, and the receipts then stay.
    fn renew(&self, receipts: &mut [&mut Receipt]) -> Result<&[Anchor], Error> {
        let proofs = receipts.iter().map(|receipt| Proof::parse(&receipt.proof)).collect::<Result<Vec<_>, _>>()?;
        let indices: Vec<u64> = proofs.iter().map(|proof| proof.index).collect();
        let Some(newest) = indices.iter().max() else { return Ok(&[]) };
        let kinds = |anchors: &[Anchor]| {
            anchors.iter().map(|anchor| anchor.evidence.kind().as_str()).collect::<BTreeSet<_>>().len()
        };
        let younger = self.checkpoints.iter().filter(|(size, ..)| size > newest);
        // Of equals `max_by_key` takes the last.
        let worth = |(_, note, anchors): &&(u64, String, Vec<Anchor>)| (kinds(anchors), cosignature::lines(note));
        let Some((_, note, anchors)) = younger.rev().max_by_key(worth) else { return Ok(&[]) };
        for (receipt, proof) in receipts.iter_mut().zip(self.log.prove_under(&indices, note)?) {
            receipt.proof = proof.to_text();
        }
        Ok(anchors)
    }

    /// The receipt of an entry, under a checkpoint that is held where there is one, and else under the newest.
    pub fn receipt(&self, index: u64) -> Result<ReceiptFile, Error> {
        let entry = Bytes(self.log.entry(index)?);
        let newest = self.log.prove(&[index])?.pop().map_or_else(String::new, |proof| proof.to_text());
        let mut receipt = Receipt { entry, proof: newest };
        let anchors = self.renew(&mut [&mut receipt])?.to_vec();
        Ok(ReceiptFile::new(self.vkey.clone(), receipt, anchors))
    }

    /// The note beside the record of a mark, when the mark was committed to in this log.
    fn mark(&self, record: &Path) -> Result<Option<Attached>, Error> {
        let Some(mut note) = marks::read_note(record) else { return Ok(None) };
        let Some(logged) = note.logged.as_mut().filter(|logged| logged.vkey == self.vkey) else { return Ok(None) };
        let anchors = self.renew(&mut [&mut logged.receipt])?;
        logged.anchors = anchors.to_vec();
        marks::write_note(record, &note)?;
        Ok(Some(Attached { path: record.to_owned(), anchors: anchors.len() }))
    }

    /// A revocation list or a hand-over, when it is in this log. It holds no anchors.
    fn logged(&self, path: &Path, mut file: Logged) -> Result<Option<Attached>, Error> {
        let Some(receipt) = file.receipt.as_mut() else { return Ok(None) };
        if !is_of(&Proof::parse(&receipt.proof)?.checkpoint, &self.vkey) {
            return Ok(None);
        }
        self.renew(&mut [receipt])?;
        files::write(path, file.to_json().as_bytes(), files::PUBLIC)?;
        Ok(Some(Attached { path: path.to_owned(), anchors: 0 }))
    }

    fn bundle(&self, path: &Path) -> Result<Attached, Error> {
        let mut bundle = Bundle::parse(&files::read(path, MAX_BUNDLE)?)?;
        let mut anchors: Vec<Anchor> = vec![];
        for record in &mut bundle.records {
            if log_of(record).as_deref() != Some(&*self.vkey) {
                continue;
            }
            let mut receipts: Vec<&mut Receipt> = record
                .receipt
                .iter_mut()
                .chain(record.marks.iter_mut().filter_map(|mark| mark.receipt.as_mut()))
                .collect();
            for anchor in self.renew(&mut receipts)? {
                if !anchors.contains(anchor) {
                    anchors.push(anchor.clone());
                }
            }
        }
        bundle.anchors.retain(|anchor| !is_of(&anchor.checkpoint, &self.vkey));
        bundle.anchors.extend(anchors);
        files::write(path, bundle.to_json().as_bytes(), files::PUBLIC)?;
        Ok(Attached { path: path.to_owned(), anchors: bundle.anchors.len() })
    }
}

/// Puts the anchors of a log into a bundle, or into the note of a mark, and proves a logged file anew; for a folder, into the notes of all marks in it.
/// Everything is proved anew under a checkpoint that is held and has it.
///
/// # Errors
/// When a file cannot be used; it stays as it was.
pub fn attach(log: &Path, path: &Path) -> Result<Vec<Attached>, Error> {
    let held = Held::open(log)?;
    if path.is_dir() {
        let notes = marks::record_paths(path)?;
        return Ok(notes
            .iter()
            .map(|path| held.mark(path))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect());
    }
    match marks::read_note(path) {
        Some(_) => Ok(held.mark(path)?.into_iter().collect()),
        None => Ok(match Logged::parse(&files::read(path, MAX_BUNDLE)?) {
            Ok(file) => held.logged(path, file)?.into_iter().collect(),
            Err(_) => vec![held.bundle(path)?],
        }),
    }
}

/// The verifier key of the log that a record names. What does not verify is not touched.
fn log_of(record: &Record) -> Option<String> {
    let verified = record.statement.verify().ok()?;
    countermark_lineage::graph::statement::Statement::parse(&verified.payload).ok()?.predicate.release.log
}

/// True when a checkpoint is of the log with this verifier key.
fn is_of(checkpoint: &str, vkey: &str) -> bool {
    let log = countermark_lineage::anchor::note::VerifierKey::parse(vkey);
    log.is_ok_and(|log| countermark_lineage::anchor::note::open(checkpoint, &log).is_ok())
}
