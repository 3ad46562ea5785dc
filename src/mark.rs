//! Strikes a mark into a model on disk.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use countermark_formats::{Checkpoint, ReadAt, safetensors};
use countermark_io::{files, keys};
use countermark_lineage::anchor::proof::Proof;
use countermark_lineage::bundle::{Bytes, Receipt};
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::{Artifact, CARD};
use countermark_watermark::{EmbedOptions, EmbedReport, MarkKey, Strength, recipient_commitment};
use serde::Serialize;

use crate::keyset::{self, MarkFile};
use crate::marks::{self, Logged, Note, Recipient};
use crate::progress::Meter;
use crate::{Error, Progress};

/// What to mark, and how.
#[derive(Clone, Debug)]
pub struct EmbedRequest {
    /// A safetensors or GGUF file, or a folder with such files.
    pub model: PathBuf,
    /// `owner.mark.key`.
    pub key: PathBuf,
    /// The marked copy: a file for a file, a new folder for a folder.
    pub out: PathBuf,
    /// The folder of the log, made when it is not there. The entry is signed by the `owner.key` beside the mark key.
    pub log: Option<PathBuf>,
    /// How strong.
    pub strength: Strength,
    /// 16 bytes to carry, or 8 in a smaller model; drawn from the record when left out.
    pub payload: Option<Vec<u8>>,
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
    let key = MarkKey::derive(&mark_file.secret, mark_file.owner.id(), mark_id, commitment);
    let options = EmbedOptions {
        strength: request.strength,
        payload: request.payload.clone(),
        base_digest: base.root.0,
        ..EmbedOptions::default()
    };

    let mut copy = Copy::begin(&request.out, &artifact)?;
    let meter = Meter::begin(progress, "embed", countermark_watermark::embed_work(&model));
    let report =
        countermark_watermark::embed(&model, &key, &options, &|done| meter.reached(done), &mut |index, bytes| {
            let tensor = &model.tensors()[index];
            copy.write(model.shard_path(tensor.shard).unwrap_or_default(), tensor.info.range.start, bytes)
        })?;
    let marked = copy.root(progress)?;

    let record = report.commitment.to_json_bytes();
    let mut note = Note { marked, recipient, logged: None, disclosed: vec![] };
    let mut index = None;
    if let (Some(folder), Some(signer)) = (&request.log, signer) {
        let log = keyset::open_log(folder, &request.key)?;
        let entry = marks::entry(&record, &*signer)?;
        let indices = log.append_once(std::slice::from_ref(&entry))?;
        let proof = log.prove(&indices)?.first().map(Proof::to_text).unwrap_or_default();
        index = indices.first().copied();
        note.logged = Some(Logged {
            vkey: log.verifier().to_string(),
            receipt: Receipt { entry: Bytes(entry), proof },
            anchors: vec![],
        });
    }
    let mark_id = report.commitment.mark_id_hex();
    let path = marks::folder(&request.key).join(format!("{mark_id}.json"));
    files::write(&path, &record, files::PUBLIC)?;
    marks::write_note(&path, &note)?;
    copy.publish()?;
    Ok(Embedded { mark_id, record: path, entry: index, root: marked, report })
}

/// The weights of an artifact.
pub(crate) fn open_model(path: &Path, artifact: &Artifact) -> Result<Checkpoint, Error> {
    const PICKLES: [&str; 5] = [".bin", ".pt", ".pth", ".ckpt", ".pkl"];
    artifact.checkpoint()?.ok_or_else(|| {
        let is_pickle = |name: &str| PICKLES.iter().any(|ending| name.ends_with(ending));
        let (what, help) = if artifact.files.iter().any(|(name, _)| is_pickle(name)) {
            let help =
                "convert it with safetensors.torch.save_file; a pickle runs code when it is read, so it is never read";
            ("holds its weights as a PyTorch pickle", help)
        } else {
            (
                "holds no weights that can be read",
                "weights are read from .safetensors and .gguf files; convert the model first",
            )
        };
        countermark_io::Error::refused(path, what, help).into()
    })
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
            // The tensors come from the embedding, every one of them; a GGUF file has padding between them.
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
