//! Looks for marks in a model on disk: for the owner, for somebody who holds a disclosure, and for the copy that leaked.

use std::path::{Path, PathBuf};

use countermark_formats::Checkpoint;
use countermark_io::files;
use countermark_lineage::digest::Hash;
use countermark_watermark::{BandReport, Base, Commitment, Compute, DetectReport, Disclosure, Opened, Verdict, search};
use serde::Serialize;

use crate::keyset::{self, MarkFile};
use crate::mark::open_model;
pub use crate::marks::CommittedBefore;
use crate::marks::{self, MAX_RECORD};
use crate::progress::Meter;
use crate::trust::Trust;
use crate::{Error, Progress};

/// Where to look, and for which marks.
#[derive(Clone, Debug)]
pub struct DetectRequest {
    /// A safetensors or GGUF file, or a folder with such files.
    pub model: PathBuf,
    /// Whose marks.
    pub with: With,
    /// The unmarked base: for the distance from it, and for looking at the difference.
    pub base: Option<PathBuf>,
}

/// What opens the records.
#[derive(Clone, Debug)]
pub enum With {
    /// `owner.mark.key`, with the commitment record; all records beside the key when left out.
    Key {
        /// The key.
        key: PathBuf,
        /// The record.
        commitment: Option<PathBuf>,
    },
    /// A disclosure, which opens one group of one mark.
    Disclosure(PathBuf),
}

impl DetectRequest {
    /// Look in `model` for every mark of `key`.
    pub fn new(model: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        DetectRequest { model: model.into(), with: With::Key { key: key.into(), commitment: None }, base: None }
    }
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Detection {
    /// True when the odds are beyond the threshold.
    pub detected: bool,
    /// The statistics, and what they come to.
    #[serde(flatten)]
    pub report: DetectReport,
    /// `logged` when a receipt beside the record proves it for a log that the policy beside the key knows, else `unlogged`.
    pub commitment: &'static str,
    /// The time before which the commitment was logged, by an anchor that the policy beside the key can judge.
    pub committed_before: Option<CommittedBefore>,
    /// Whose copy it is, when the owner's note on the mark says so.
    pub recipient: Option<String>,
    /// With a base: whether the best record committed to it, so that the difference to it counts.
    pub base_is_committed: Option<bool>,
}

/// Looks for marks. The result counts every record that was tried.
///
/// # Errors
/// When the model or the key cannot be used, or there is no record to look for.
pub fn detect(request: &DetectRequest, progress: &impl Progress) -> Result<Detection, Error> {
    match &request.with {
        With::Disclosure(path) => {
            let disclosure = Disclosure::from_json_bytes(&files::read(path, MAX_RECORD)?)?;
            let (report, base) = look(request, &[disclosure.open()?], progress)?;
            Ok(Detection {
                detected: report.verdict == Verdict::Detected,
                base_is_committed: base.map(|root| root.0 == disclosure.commitment.transcript.base_digest),
                report,
                commitment: "unlogged",
                committed_before: None,
                recipient: None,
            })
        }
        With::Key { key, commitment } => {
            let owner = MarkFile::load(key)?;
            let records = Records::load(&owner, key, commitment.as_deref())?;
            let (report, base) = look(request, &records.opened, progress)?;
            let best = records.opened.iter().position(|opened| opened.mark_id() == report.mark_id).unwrap_or_default();
            let (record, commitment) = (&records.paths[best], &records.commitments[best]);
            let note = marks::read_note(record);
            // With the revocation lists that lie by it, as for a verdict.
            let trust = Trust::load(Some(&keyset::beside(key, "policy.toml")), &[], &[]).unwrap_or_default();
            let logged = note.as_ref().and_then(|note| note.logged.as_ref());
            let place =
                logged.and_then(|logged| marks::place(logged, commitment, &owner.owner, trust.policy.as_ref()?));
            let anchors = logged.map_or(&[][..], |logged| &logged.anchors);
            let committed_before = place.as_ref().and_then(|place| marks::committed_before(anchors, place, &trust));
            Ok(Detection {
                detected: report.verdict == Verdict::Detected,
                base_is_committed: base.map(|root| root.0 == commitment.transcript.base_digest),
                report,
                commitment: if place.is_some() { "logged" } else { "unlogged" },
                committed_before,
                recipient: note.and_then(|note| note.recipient_of(commitment)),
            })
        }
    }
}

/// Opens model and base, and searches. Answers the base's root too.
fn look(
    request: &DetectRequest,
    opened: &[Opened],
    progress: &impl Progress,
) -> Result<(DetectReport, Option<Hash>), Error> {
    let model = open_model(&request.model, &files::open(&request.model)?)?;
    let base = request.base.as_deref().map(|path| open_base(path, progress)).transpose()?;
    let work = countermark_watermark::detect_work(&model, base.as_ref().map(|(base, _)| base));
    let meter = Meter::begin(progress, "detect", work);
    let with_base = base.as_ref().map(|(model, root)| Base { model, digest: Some(root.0) });
    let report = search(&Compute::cpu(), &model, opened, with_base, &|done| meter.reached(done))?;
    Ok((report, base.map(|(_, root)| root)))
}

/// A base counts only for records that committed to its root, so it is hashed.
fn open_base(path: &Path, progress: &impl Progress) -> Result<(Checkpoint, Hash), Error> {
    let artifact = files::open(path)?;
    progress.begin("hash base", artifact.total_size());
    let root = artifact.measure_with(&|bytes| progress.advance(bytes), false)?.root;
    Ok((open_model(path, &artifact)?, root))
}

/// The records that a key opens.
struct Records {
    paths: Vec<PathBuf>,
    commitments: Vec<Commitment>,
    opened: Vec<Opened>,
}

impl Records {
    fn load(owner: &MarkFile, key: &Path, only: Option<&Path>) -> Result<Records, Error> {
        let folder = marks::folder(key);
        let paths = match only {
            Some(path) => vec![path.to_owned()],
            None => marks::record_paths(&folder)?,
        };
        if paths.is_empty() {
            let help = "name the commitment record with --commitment FILE, or embed a mark first";
            return Err(countermark_io::Error::refused(&folder, "holds no commitment record", help).into());
        }
        let mut records = Records { paths: vec![], commitments: vec![], opened: vec![] };
        for path in paths {
            let commitment = Commitment::from_json_bytes(&files::read(&path, MAX_RECORD)?)?;
            let disclosed = marks::read_note(&path).map(|note| note.disclosed).unwrap_or_default();
            records.opened.push(commitment.open(&owner.secret)?.without(&disclosed));
            records.commitments.push(commitment);
            records.paths.push(path);
        }
        Ok(records)
    }
}

/// Whose copy leaked.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// Copies whose mark is in the model, the best odds first. More than one when copies were mixed.
    pub leaked: Vec<Copy>,
    /// Every copy that was tried.
    pub copies: Vec<Copy>,
    /// What the odds have to reach.
    pub threshold_log10_p: f64,
    /// Statistics, bands and copies tried, all paid for.
    pub hypotheses: u64,
}

/// One recipient's copy.
#[derive(Clone, Debug, Serialize)]
pub struct Copy {
    /// The recipient's name.
    pub recipient: String,
    /// The mark of the copy, hex.
    pub mark_id: String,
    /// Odds, paid for all copies tried.
    pub log10_p: f64,
    /// Each band.
    pub bands: Vec<BandReport>,
}

/// Looks for the marks of all recipients' copies. The odds pay for every one of them.
///
/// # Errors
/// When the model or the key cannot be used, or no mark was made for a recipient.
pub fn trace(request: &DetectRequest, progress: &impl Progress) -> Result<Trace, Error> {
    let With::Key { key, commitment } = &request.with else {
        let help = "give the mark key: a disclosure opens one mark only";
        return Err(countermark_io::Error::refused(&request.model, "cannot be traced", help).into());
    };
    let records = Records::load(&MarkFile::load(key)?, key, commitment.as_deref())?;
    let mut names = vec![];
    let mut opened = vec![];
    for ((path, commitment), record) in records.paths.iter().zip(&records.commitments).zip(records.opened) {
        if let Some(name) = marks::read_note(path).and_then(|note| note.recipient_of(commitment)) {
            names.push(name);
            opened.push(record);
        }
    }
    if opened.is_empty() {
        let help = "mark each copy with --recipient NAME before it is handed out";
        return Err(countermark_io::Error::refused(&marks::folder(key), "holds no recipient's mark", help).into());
    }
    let (report, _) = look(request, &opened, progress)?;
    let copy = |(recipient, record): (String, countermark_watermark::RecordReport)| Copy {
        recipient,
        mark_id: record.mark_id.iter().map(|byte| format!("{byte:02x}")).collect(),
        log10_p: record.log10_p,
        bands: record.bands,
    };
    let mut copies: Vec<Copy> = names.into_iter().zip(report.records).map(copy).collect();
    copies.sort_by(|a, b| a.log10_p.total_cmp(&b.log10_p));
    let leaked = copies.iter().filter(|copy| copy.log10_p <= report.threshold_log10_p).cloned().collect();
    Ok(Trace { leaked, copies, threshold_log10_p: report.threshold_log10_p, hypotheses: report.hypotheses })
}
