//! The log on disk: C2SP tlog-tiles in a plain folder that any web host can serve.
//!
//! ```text
//! checkpoint  tile/…  anchors/…          public, tiles never change
//! .state/log.key .state/origin           the log's own key and name
//! .state/lock .state/pending-<size>      one writer; a staged batch
//! .state/leaves/…                        where a leaf is, for callers that log again what is logged already
//! .state/witness/…                       what witnesses have seen of this log
//! ```
//!
//! One file per question: [`append`](Log::append) writes, `cosigned` adds what witnesses say, `read` reads tiles of a size, `find` looks for an entry, `rollback`
//! refuses to sign a second history.

mod append;
mod cosigned;
mod find;
mod read;
mod rollback;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use countermark_lineage::anchor::checkpoint::Checkpoint;
use countermark_lineage::anchor::entry::{Entry, EntryType};
use countermark_lineage::anchor::note::{self, VerifierKey};
use countermark_lineage::anchor::proof::Proof;
use countermark_lineage::anchor::tiles::{self, Name, WIDTH, width_at};
use countermark_lineage::digest::{Hash, tree};
use ed25519_dalek::SigningKey;

use crate::{Error, files, keys};

pub(crate) use read::MAX_FILE;
pub use read::Tiles;

/// A checkpoint of more bytes is none.
pub(crate) const MAX_NOTE: u64 = 1 << 20;

/// Stands in `.state` while a log is made.
const UNFINISHED: &str = "unfinished";

/// A log that this process may append to.
pub struct Log {
    folder: PathBuf,
    key: SigningKey,
    verifier: VerifierKey,
    reads: AtomicU64,
    #[cfg(test)]
    stops: append::Stops,
}

impl Log {
    /// Makes a log with a key of its own, whose first entry is the log's genesis. What was interrupted is finished.
    ///
    /// # Errors
    /// [`Error::Refused`] when the folder holds a log or anything else.
    pub fn create(folder: &Path, origin: Option<&str>) -> Result<Self, Error> {
        let state = folder.join(".state");
        if !is_free(folder) {
            return Err(Error::refused(folder, "is not empty", "name a new folder, or the folder of a log"));
        }
        fs::create_dir_all(&state).map_err(Error::io(&state, "choose a folder that can be written"))?;
        let _lock = lock(folder)?;
        let (key_path, origin_path) = (state.join("log.key"), state.join("origin"));
        // Somebody else may have been faster, while this one waited.
        if folder.join("checkpoint").exists() && !state.join(UNFINISHED).exists() {
            return Err(Error::refused(folder, "has become a log just now", "open it"));
        }
        files::write(&state.join(UNFINISHED), b"", files::SECRET)?;
        if !key_path.exists() {
            keys::write_new(&key_path, &keys::to_pem(&keys::generate())?, files::SECRET)?;
        }
        let key = keys::load_ed25519(&key_path)?;
        let key_id = Hash(*key.verifying_key().as_bytes()).short();
        let origin = match origin {
            Some(origin) => origin.to_owned(),
            None if origin_path.exists() => files::read_text(&origin_path, 4096)?,
            None => format!("countermark-log/{key_id}"),
        };
        let verifier = VerifierKey::new(&origin, key.verifying_key().into())?;
        files::write(&origin_path, origin.as_bytes(), files::PUBLIC)?;
        let log = Log::with(folder, key, verifier);
        if !folder.join("checkpoint").exists() {
            log.publish(&Checkpoint { size: 0, root: tree::empty_root() })?;
        }
        let genesis = Hash::sha256(log.verifier.to_string().as_bytes());
        let signer = log.key.verifying_key().into();
        let entry =
            Entry { entry_type: EntryType::Genesis, object: genesis, root: genesis, statement: genesis, signer };
        let entry = entry.sign(&log.key)?;
        let head = log.settled()?;
        if head.size == 0 {
            log.extend(&head, &[entry])?;
        }
        let unfinished = state.join(UNFINISHED);
        fs::remove_file(&unfinished).map_err(Error::io(&unfinished, "remove it by hand"))?;
        Ok(log)
    }

    fn with(folder: &Path, key: SigningKey, verifier: VerifierKey) -> Self {
        Log {
            folder: folder.to_owned(),
            key,
            verifier,
            reads: AtomicU64::new(0),
            #[cfg(test)]
            stops: append::Stops::default(),
        }
    }

    /// Opens a log for appending.
    ///
    /// # Errors
    /// [`Error::Io`] when there is none, [`Error::Lineage`] when its checkpoint was not signed by its key.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let state = folder.join(".state");
        let origin = files::read_text(&state.join("origin"), 4096)?;
        let key = keys::load_ed25519(&state.join("log.key"))?;
        let verifier = VerifierKey::new(&origin, key.verifying_key().into())?;
        let log = Log::with(folder, key, verifier);
        log.head()?;
        Ok(log)
    }

    /// Opens the log in `folder`, or makes one there. The flag says which.
    ///
    /// # Errors
    /// As [`Log::open`] and [`Log::create`].
    pub fn open_or_create(folder: &Path) -> Result<(Self, bool), Error> {
        let state = folder.join(".state");
        let is_there = || state.join("origin").exists() && !state.join(UNFINISHED).exists();
        if is_there() {
            return Ok((Log::open(folder)?, false));
        }
        match Log::create(folder, None) {
            Ok(log) => Ok((log, true)),
            // Somebody else made it meanwhile.
            Err(_) if is_there() => Ok((Log::open(folder)?, false)),
            Err(error) => Err(error),
        }
    }

    /// The key that verifies this log's checkpoints.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The published tree head.
    ///
    /// # Errors
    /// [`Error::Lineage`] when the checkpoint's signature does not hold.
    pub fn head(&self) -> Result<Checkpoint, Error> {
        Ok(Checkpoint::open(&self.note()?, &self.verifier)?)
    }

    fn note(&self) -> Result<String, Error> {
        files::read_text(&self.folder.join("checkpoint"), MAX_NOTE)
    }

    /// The tiles of the log when it had `size` entries. Only tiles that a published checkpoint covers are there for good.
    pub fn tiles(&self, size: u64) -> Tiles<'_> {
        Tiles::new(&self.folder, size, &self.reads)
    }

    /// How many files of tiles and entries were read so far: what an operation costs.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// The entry at `index`.
    ///
    /// # Errors
    /// [`Error::Refused`] when the log is shorter.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, Error> {
        let mut entries = self.bundle(index / WIDTH)?;
        let at = (index % WIDTH) as usize;
        if at >= entries.len() {
            return Err(self.shorter(index));
        }
        Ok(entries.swap_remove(at))
    }

    /// The entries `256 · number` and following, up to 256.
    ///
    /// # Errors
    /// [`Error::Refused`] when the log is shorter.
    pub fn bundle(&self, number: u64) -> Result<Vec<Vec<u8>>, Error> {
        let size = self.head()?.size;
        let name = Name::Bundle { index: number, width: width_at(0, number, size) };
        if name.width() == 0 {
            return Err(self.shorter(number.saturating_mul(WIDTH)));
        }
        let bytes = self.tiles(size).read(&name)?;
        let entries = tiles::decode_bundle(&bytes)?;
        if entries.len() as u64 != name.width() {
            let help = "restore the log from a copy";
            return Err(Error::refused(&self.folder.join(name.path()), "is not a bundle of its width", help));
        }
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }

    fn shorter(&self, index: u64) -> Error {
        Error::refused(&self.folder, format!("has no entry {index}"), "ask `anchor status` how many it holds")
    }

    /// Proofs that these entries are in the log, all under the checkpoint that is published now.
    ///
    /// # Errors
    /// [`Error::Lineage`] when there is no such entry.
    pub fn prove(&self, indices: &[u64]) -> Result<Vec<Proof>, Error> {
        let note = self.note()?;
        let size = Checkpoint::open(&note, &self.verifier)?.size;
        self.prove_at(indices, size, &note)
    }

    fn prove_at(&self, indices: &[u64], size: u64, note: &str) -> Result<Vec<Proof>, Error> {
        let tiles = self.tiles(size);
        let prove = |index: &u64| {
            Ok(Proof { index: *index, path: tiles::inclusion(&tiles, *index, size)?, checkpoint: note.to_owned() })
        };
        indices.iter().map(prove).collect()
    }

    /// The published checkpoint with the log's signature alone, and its size: what an anchor holds.
    ///
    /// # Errors
    /// As [`Log::head`].
    pub fn anchorable(&self) -> Result<(u64, String), Error> {
        let note = self.note()?;
        Ok((Checkpoint::open(&note, &self.verifier)?.size, note::signed_only_by(&note, &self.verifier)?))
    }

    /// Proofs that these entries are in the log, all under `note`, which is one of its earlier checkpoints.
    ///
    /// # Errors
    /// [`Error::Lineage`] when the note is not signed by this log, or an entry is younger than it.
    pub fn prove_under(&self, indices: &[u64], note: &str) -> Result<Vec<Proof>, Error> {
        let head = Checkpoint::open(note, &self.verifier)?;
        let size = self.head()?.size;
        if head.size > size || tiles::root(&self.tiles(size), head.size)? != head.root {
            let help = "an older copy of the log was restored; put the newest one back";
            return Err(Error::refused(&self.folder, "does not hold what this checkpoint speaks of", help));
        }
        // Of the published size, whose files are there, though the proof is for an earlier one.
        let tiles = self.tiles(size);
        let prove = |index: &u64| {
            let path = tiles::inclusion(&tiles, *index, head.size)?;
            Ok(Proof { index: *index, path, checkpoint: note.to_owned() })
        };
        indices.iter().map(prove).collect()
    }
}

/// One writer at a time, in this process and in others. Waits for it, and holds it until the file is dropped.
fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join(".state").join("lock");
    let help = "is another program writing to this log?";
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path, help))?;
    file.lock().map_err(Error::io(&path, help))?;
    Ok(file)
}

/// True when a folder holds nothing but perhaps a log that was never finished.
fn is_free(folder: &Path) -> bool {
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let state = folder.join(".state");
    if state.join(UNFINISHED).exists() {
        return true;
    }
    // Killed before it was marked, a new log holds its lock and what is being written, at most.
    names(folder).iter().all(|name| name == ".state")
        && names(&state).iter().all(|name| name == "lock" || name.starts_with(".countermark-"))
}

#[cfg(test)]
mod tests;
