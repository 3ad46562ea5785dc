//! Strikes a mark into a model on disk, and looks for marks in one.
//!
//! Beside the mark key lie, for each mark, its commitment record `marks/<mark id>.json` (hashed, logged, published with
//! the release) and the owner's note `marks/<mark id>.note.json`: which model was marked, for whom, and the receipt.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use countermark_formats::{Checkpoint, ReadAt, safetensors};
use countermark_io::{files, keys};
use countermark_lineage::anchor::entry::{Entry, EntryType};
use countermark_lineage::anchor::note::VerifierKey;
use countermark_lineage::anchor::proof::Proof;
use countermark_lineage::bundle::{Bytes, Receipt};
use countermark_lineage::credential::keys::PublicKey;
use countermark_lineage::credential::policy::Policy;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::{Artifact, CARD};
use countermark_watermark::{
    Commitment, DetectReport, EmbedOptions, EmbedReport, MarkKey, Strength, Verdict, recipient_commitment,
};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::keyset::{self, MarkFile};
use crate::{Error, Progress};

const MAX_RECORD: u64 = 1 << 20;
const NOTE: &str = ".note.json";

/// What to mark, and how.
#[derive(Clone, Debug)]
pub struct EmbedRequest {
    /// A safetensors file, or a folder with such files.
    pub model: PathBuf,
    /// `owner.mark.key`.
    pub key: PathBuf,
    /// The marked copy: a file for a file, a new folder for a folder.
    pub out: PathBuf,
    /// The folder of the log, made when it is not there. The entry is signed by the `owner.key` beside the mark key.
    pub log: Option<PathBuf>,
    /// How strong.
    pub strength: Strength,
    /// 16 bytes to carry; drawn from the record when left out.
    pub payload: Option<[u8; 16]>,
    /// Whose copy this is.
    pub recipient: Option<String>,
}

impl EmbedRequest {
    /// Mark `model` with `key` into `out`, at the default strength.
    pub fn new(model: impl Into<PathBuf>, key: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        EmbedRequest {
            model: model.into(),
            key: key.into(),
            out: out.into(),
            log: None,
            strength: Strength::Auto,
            payload: None,
            recipient: None,
        }
    }
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct Embedded {
    /// Identifier of the mark, hex.
    pub mark_id: String,
    /// Where the commitment record lies.
    pub record: PathBuf,
    /// Index of the commitment in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// Root of the marked copy.
    pub root: Hash,
    /// What the mark cost and how well it sits.
    pub report: EmbedReport,
}

/// The owner's note on a mark.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    /// Root of the marked copy.
    marked: Hash,
    /// Whose copy it is: the record holds only a salted hash of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipient: Option<Recipient>,
    /// Place of the commitment in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logged: Option<Logged>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipient {
    name: String,
    salt: Hash,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Logged {
    vkey: String,
    receipt: Receipt,
}

/// Writes a marked copy of a model. It appears under its name only after its commitment was written, and logged if asked.
///
/// # Errors
/// When the model, the key or the log cannot be used. What was there before stays.
pub fn embed(request: &EmbedRequest, progress: &impl Progress) -> Result<Embedded, Error> {
    let mark_file = MarkFile::load(&request.key)?;
    let signer = request.log.as_ref().map(|_| keys::load(&keyset::beside(&request.key, "owner.key"))).transpose()?;
    let artifact = files::open(&request.model)?;
    let model = open_model(&request.model, &artifact)?;
    progress.begin("hash base", artifact.total_size());
    let base = artifact.measure_with(&|bytes| progress.advance(bytes), false)?;

    let salt = Hash(*keys::random());
    let recipient = request.recipient.as_ref().map(|name| Recipient { name: name.clone(), salt });
    let mark_id: [u8; 16] = std::array::from_fn({
        let random = keys::random();
        move |at| random[at]
    });
    let commitment = recipient.as_ref().map(|recipient| recipient_commitment(&recipient.name, &recipient.salt.0));
    let key = MarkKey::derive(&mark_file.secret, *mark_file.owner.as_bytes(), mark_id, commitment);
    let options = EmbedOptions { strength: request.strength, payload: request.payload, base_digest: base.root.0 };

    let mut copy = Copy::begin(&request.out, &artifact)?;
    let meter = Meter::begin(progress, "embed", countermark_watermark::embed_work(&model));
    let report =
        countermark_watermark::embed(&model, &key, &options, &|done| meter.reached(done), &mut |index, bytes| {
            let tensor = &model.tensors()[index];
            copy.write(model.shard_path(tensor.shard).unwrap_or_default(), tensor.info.range.start, bytes)
        })?;
    let marked = copy.root(progress)?;

    let record = report.commitment.to_json_bytes();
    let mut note = Note { marked, recipient, logged: None };
    let mut index = None;
    if let (Some(folder), Some(signer)) = (&request.log, signer) {
        let log = keyset::open_log(folder, &request.key)?;
        let entry = entry(&record, &signer)?;
        let indices = log.append(std::slice::from_ref(&entry))?;
        let proof = log.prove(&indices)?.first().map(Proof::to_text).unwrap_or_default();
        index = indices.first().copied();
        note.logged =
            Some(Logged { vkey: log.verifier().to_string(), receipt: Receipt { entry: Bytes(entry), proof } });
    }
    let marks = keyset::beside(&request.key, "marks");
    let mark_id = report.commitment.mark_id_hex();
    let path = marks.join(format!("{mark_id}.json"));
    files::write(&path, &record, files::PUBLIC)?;
    let note = serde_json::to_vec_pretty(&note).unwrap_or_default();
    files::write(&marks.join(format!("{mark_id}{NOTE}")), &note, files::SECRET)?;
    copy.publish()?;
    Ok(Embedded { mark_id, record: path, entry: index, root: marked, report })
}

fn open_model(path: &Path, artifact: &Artifact) -> Result<Checkpoint, Error> {
    artifact.checkpoint()?.ok_or_else(|| {
        let help = "marks are struck into .safetensors files; convert the model first";
        countermark_io::Error::refused(path, "holds no safetensors file", help).into()
    })
}

/// Turns bytes done in all into bytes done since last time.
struct Meter<'a, P> {
    progress: &'a P,
    done: AtomicU64,
}

impl<'a, P: Progress> Meter<'a, P> {
    fn begin(progress: &'a P, what: &str, total: u64) -> Self {
        progress.begin(what, total);
        Meter { progress, done: AtomicU64::new(0) }
    }

    fn reached(&self, done: u64) {
        self.progress.advance(done.saturating_sub(self.done.swap(done, Ordering::Relaxed)));
    }
}

/// A copy in the making, beside where it will be.
struct Copy {
    folder: tempfile::TempDir,
    out: PathBuf,
    /// For a single file, its name; a folder is published whole.
    single: Option<String>,
}

const FULL_DISK: &str = "nothing was replaced; free some space and try again";

impl Copy {
    fn begin(out: &Path, artifact: &Artifact) -> Result<Self, Error> {
        if artifact.is_folder && fs::symlink_metadata(out).is_ok() {
            let help = "name a folder that is not there yet";
            return Err(countermark_io::Error::refused(out, "is there already", help).into());
        }
        let parent = files::parent(out);
        fs::create_dir_all(parent).map_err(countermark_io::Error::io(parent, "choose a folder that can be written"))?;
        let folder = tempfile::Builder::new().prefix(".countermark-").tempdir_in(parent);
        let folder = folder.map_err(countermark_io::Error::io(parent, "choose a folder that can be written"))?;
        let card = artifact.card.iter().map(|card| (CARD, card));
        for (path, source) in artifact.files.iter().map(|(path, source)| (&**path, source)).chain(card) {
            let target = folder.path().join(path);
            // The tensors come from the embedding, every one of them.
            let length = match safetensors::parse(&**source) {
                Ok(header) if path.ends_with(".safetensors") => header.data_start,
                _ => source.len(),
            };
            copy_bytes(&**source, length, &target).map_err(countermark_io::Error::io(&target, FULL_DISK))?;
        }
        let single = (!artifact.is_folder).then(|| artifact.name.clone());
        Ok(Copy { folder, out: out.to_owned(), single })
    }

    fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::options().write(true).open(self.folder.path().join(path))?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    /// Root of the copy as it will be published.
    fn root(&self, progress: &impl Progress) -> Result<Hash, Error> {
        let path = match &self.single {
            Some(name) => self.folder.path().join(name),
            None => self.folder.path().to_owned(),
        };
        let artifact = files::open(&path)?;
        progress.begin("hash marked", artifact.total_size());
        Ok(artifact.measure_with(&|bytes| progress.advance(bytes), false)?.root)
    }

    fn publish(self) -> Result<(), Error> {
        sync_all(self.folder.path()).map_err(countermark_io::Error::io(&self.out, FULL_DISK))?;
        let published = match &self.single {
            Some(name) => fs::rename(self.folder.path().join(name), &self.out),
            None => {
                // A temporary folder is private; the copy is as public as any new folder.
                #[cfg(unix)]
                {
                    use std::os::unix::fs::PermissionsExt as _;
                    let _ = fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o755));
                }
                fs::rename(self.folder.path(), &self.out)
            }
        };
        published.map_err(countermark_io::Error::io(&self.out, FULL_DISK))?;
        Ok(())
    }
}

fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync_all(&path)? } else { File::open(path)?.sync_all()? }
    }
    Ok(())
}

/// Copies the first `length` bytes through positioned reads, so that what was opened is what is copied.
fn copy_bytes(source: &dyn ReadAt, length: u64, target: &Path) -> io::Result<()> {
    fs::create_dir_all(files::parent(target))?;
    let mut file = File::create_new(target)?;
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < length {
        let size = (length - offset).min(buffer.len() as u64) as usize;
        source.read_exact_at(&mut buffer[..size], offset)?;
        file.write_all(&buffer[..size])?;
        offset += size as u64;
    }
    Ok(())
}

/// The log entry that commits to a mark's record.
pub(crate) fn entry(record: &[u8], key: &SigningKey) -> Result<Vec<u8>, Error> {
    let object = Hash::sha256(record);
    let root = Hash(Commitment::from_json_bytes(record)?.transcript.base_digest);
    let signer = key.verifying_key().into();
    Ok(Entry { entry_type: EntryType::MarkCommitment, object, root, statement: object, signer }.sign(key))
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
fn record_paths(marks: &Path) -> Result<Vec<PathBuf>, Error> {
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
fn read_note(record: &Path) -> Option<Note> {
    let name = record.file_stem()?.to_str()?;
    let bytes = files::read(&record.with_file_name(format!("{name}{NOTE}")), MAX_RECORD).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Where to look, and for which marks.
#[derive(Clone, Debug)]
pub struct DetectRequest {
    /// A safetensors file, or a folder with such files.
    pub model: PathBuf,
    /// `owner.mark.key`.
    pub key: PathBuf,
    /// The commitment record; all records beside the key when left out.
    pub commitment: Option<PathBuf>,
    /// The unmarked base, to report the distortion.
    pub base: Option<PathBuf>,
}

impl DetectRequest {
    /// Look in `model` for every mark of `key`.
    pub fn new(model: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        DetectRequest { model: model.into(), key: key.into(), commitment: None, base: None }
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
    /// Whose copy it is, when the owner's note on the mark says so.
    pub recipient: Option<String>,
}

/// Looks for marks. The result counts every record that was tried.
///
/// # Errors
/// When the model or the key cannot be used, or there is no record to look for.
pub fn detect(request: &DetectRequest, progress: &impl Progress) -> Result<Detection, Error> {
    let mark_file = MarkFile::load(&request.key)?;
    let marks = keyset::beside(&request.key, "marks");
    let paths = match &request.commitment {
        Some(path) => vec![path.clone()],
        None => record_paths(&marks)?,
    };
    if paths.is_empty() {
        let help = "name the commitment record with --commitment FILE, or embed a mark first";
        return Err(countermark_io::Error::refused(&marks, "holds no commitment record", help).into());
    }
    let mut commitments = Vec::new();
    for path in &paths {
        commitments.push(Commitment::from_json_bytes(&files::read(path, MAX_RECORD)?)?);
    }
    let artifact = files::open(&request.model)?;
    let model = open_model(&request.model, &artifact)?;
    let base = match &request.base {
        Some(path) => Some(open_model(path, &files::open(path)?)?),
        None => None,
    };
    let meter = Meter::begin(progress, "detect", countermark_watermark::detect_work(&model, base.as_ref()));
    let secret = &mark_file.secret;
    let report =
        countermark_watermark::detect(&model, secret, &commitments, base.as_ref(), &|done| meter.reached(done))?;
    let best = commitments.iter().position(|commitment| commitment.transcript.mark_id == report.mark_id);
    let known = best.and_then(|at| Some((&commitments[at], read_note(&paths[at])?)));
    let policy = keyset::load_policy(&keyset::beside(&request.key, "policy.toml")).unwrap_or_default();
    let is_logged = known.as_ref().is_some_and(|(commitment, note)| {
        let proved = |logged: &Logged| proves(logged, commitment, &mark_file.owner, &policy);
        note.logged.as_ref().is_some_and(proved)
    });
    // A note that does not open the record's salted hash says nothing of the recipient.
    let recipient = known.and_then(|(commitment, note)| {
        let opens = |named: &Recipient| {
            Some(recipient_commitment(&named.name, &named.salt.0)) == commitment.transcript.recipient
        };
        note.recipient.filter(opens).map(|named| named.name)
    });
    Ok(Detection {
        detected: report.verdict == Verdict::Detected,
        report,
        commitment: if is_logged { "logged" } else { "unlogged" },
        recipient,
    })
}

/// True when the receipt proves that the owner entered this very record into a log that the owner's policy knows.
fn proves(logged: &Logged, commitment: &Commitment, owner: &PublicKey, policy: &Policy) -> bool {
    let check = || {
        let entry = Entry::verify(&logged.receipt.entry.0)?;
        let log = VerifierKey::parse(&logged.vkey)?;
        Proof::parse(&logged.receipt.proof)?.verify(&logged.receipt.entry.0, &log)?;
        Ok::<_, countermark_lineage::Error>(entry)
    };
    let is_known = policy.logs.iter().any(|log| log.vkey == logged.vkey);
    let object = Hash::sha256(&commitment.to_json_bytes());
    let is_this =
        |entry: Entry| (entry.entry_type, entry.object, entry.signer) == (EntryType::MarkCommitment, object, *owner);
    is_known && check().is_ok_and(is_this)
}
