//! The log on disk: C2SP tlog-tiles in a plain folder that any web host can serve.
//!
//! ```text
//! checkpoint  tile/…                     public, tiles never change
//! .state/log.key .state/origin           the log's own key and name
//! .state/lock .state/pending-<size>      one writer; a staged batch
//! ```
//!
//! The rename of `checkpoint` is the commit point. Whatever happens before it leaves the old log; the staged batch is
//! then written again with the same entries in the same order, and Ed25519 being deterministic, with the same bytes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use countermark_lineage::anchor::checkpoint::Checkpoint;
use countermark_lineage::anchor::entry::{Entry, EntryType, MAX_ENTRY};
use countermark_lineage::anchor::note::{self, VerifierKey};
use countermark_lineage::anchor::proof::Proof;
use countermark_lineage::anchor::tiles::{self, ReadTile, WIDTH};
use countermark_lineage::digest::{Hash, tree};
use ed25519_dalek::SigningKey;

use crate::{Error, files, keys};

mod cosigned;

const MAX_NOTE: u64 = 1 << 20;
const MAX_PENDING: u64 = 1 << 32;

/// A log that this process may append to.
pub struct Log {
    folder: PathBuf,
    key: SigningKey,
    verifier: VerifierKey,
}

impl Log {
    /// Makes a log with a key of its own, whose first entry is the log's genesis.
    ///
    /// # Errors
    /// [`Error::Refused`] when the folder holds a log or anything else.
    pub fn create(folder: &Path, origin: Option<&str>) -> Result<Self, Error> {
        if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::refused(folder, "is not empty", "name a new folder, or the folder of a log"));
        }
        let state = folder.join(".state");
        fs::create_dir_all(&state).map_err(Error::io(&state, "choose a folder that can be written"))?;
        let key = keys::generate();
        let key_id = Hash(*key.verifying_key().as_bytes()).short();
        let origin = origin.map_or_else(|| format!("countermark-log/{key_id}"), str::to_owned);
        let verifier = VerifierKey::new(&origin, key.verifying_key().into())?;
        keys::write_new(&state.join("log.key"), &keys::to_pem(&key)?, files::SECRET)?;
        files::write(&state.join("origin"), origin.as_bytes(), files::PUBLIC)?;
        let log = Log { folder: folder.to_owned(), key, verifier };
        let empty = Checkpoint { size: 0, root: tree::empty_root() };
        log.publish(&empty)?;
        let genesis = Hash::sha256(log.verifier.to_string().as_bytes());
        let signer = log.key.verifying_key().into();
        let entry =
            Entry { entry_type: EntryType::Genesis, object: genesis, root: genesis, statement: genesis, signer };
        log.append(&[entry.sign(&log.key)?])?;
        Ok(log)
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
        let log = Log { folder: folder.to_owned(), key, verifier };
        log.head()?;
        Ok(log)
    }

    /// Opens the log in `folder`, or makes one there. The flag says which.
    ///
    /// # Errors
    /// As [`Log::open`] and [`Log::create`].
    pub fn open_or_create(folder: &Path) -> Result<(Self, bool), Error> {
        if folder.join(".state").join("origin").exists() {
            Ok((Log::open(folder)?, false))
        } else {
            Ok((Log::create(folder, None)?, true))
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

    /// The entry at `index`.
    ///
    /// # Errors
    /// [`Error::Refused`] when the log is shorter.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, Error> {
        let size = self.head()?.size;
        let bundle = self.read_widest(|width| tiles::bundle_path(index / WIDTH, width))?;
        let entries = tiles::decode_bundle(&bundle)?;
        let entry = entries.get((index % WIDTH) as usize).filter(|_| index < size);
        entry.map(|entry| entry.to_vec()).ok_or_else(|| {
            Error::refused(&self.folder, format!("has no entry {index}"), format!("it holds entries 0 to {}", size - 1))
        })
    }

    /// Proofs that these entries are in the log, all under the checkpoint that is published now.
    ///
    /// # Errors
    /// [`Error::Lineage`] when there is no such entry.
    pub fn prove(&self, indices: &[u64]) -> Result<Vec<Proof>, Error> {
        let note = self.note()?;
        let size = Checkpoint::open(&note, &self.verifier)?.size;
        let prove = |index: &u64| {
            Ok(Proof { index: *index, path: tiles::inclusion(self, *index, size)?, checkpoint: note.clone() })
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
        if head.size > self.head()?.size || tiles::root(self, head.size)? != head.root {
            let help = "an older copy of the log was restored; put the newest one back";
            return Err(Error::refused(&self.folder, "does not hold what this checkpoint speaks of", help));
        }
        let prove = |index: &u64| {
            let path = tiles::inclusion(self, *index, head.size)?;
            Ok(Proof { index: *index, path, checkpoint: note.to_owned() })
        };
        indices.iter().map(prove).collect()
    }

    /// Appends what is not there yet and answers the index of each entry. Durable when this returns.
    ///
    /// # Errors
    /// [`Error::Refused`] when the log on disk does not agree with its checkpoint; nothing is published then.
    pub fn append(&self, entries: &[Vec<u8>]) -> Result<Vec<u64>, Error> {
        let _lock = self.lock()?;
        self.finish_staged()?;
        let head = self.head()?;
        let mut fresh: Vec<&[u8]> = Vec::new();
        let mut indices = Vec::new();
        for entry in entries {
            if entry.len() > MAX_ENTRY {
                return Err(Error::refused(&self.folder, "refuses an entry above 65,535 bytes", "log a hash of it"));
            }
            let leaf = tree::leaf(entry);
            let staged = fresh.iter().position(|other| tree::leaf(other) == leaf).map(|at| head.size + at as u64);
            let index = match staged {
                Some(index) => index,
                None => match self.find(&leaf, head.size)? {
                    Some(index) => index,
                    None => {
                        fresh.push(entry);
                        head.size + fresh.len() as u64 - 1
                    }
                },
            };
            indices.push(index);
        }
        if !fresh.is_empty() {
            self.stage(head.size, &fresh)?;
            self.write_batch(&head, &fresh)?;
            self.drop_staged(head.size)?;
        }
        Ok(indices)
    }

    fn lock(&self) -> Result<File, Error> {
        let path = self.folder.join(".state").join("lock");
        let help = "is another program writing to this log?";
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path, help))?;
        file.lock().map_err(Error::io(&path, help))?;
        Ok(file)
    }

    /// Index of the entry with this leaf hash.
    fn find(&self, leaf: &Hash, size: u64) -> Result<Option<u64>, Error> {
        for tile in 0..size.div_ceil(WIDTH) {
            let hashes = self.read_tile(0, tile, WIDTH.min(size - tile * WIDTH))?;
            if let Some(at) = hashes.iter().position(|hash| hash == leaf) {
                return Ok(Some(tile * WIDTH + at as u64));
            }
        }
        Ok(None)
    }

    fn pending(&self, size: u64) -> PathBuf {
        self.folder.join(".state").join(format!("pending-{size}"))
    }

    /// Fixes the batch and its order: length-prefixed entries, then the hash of them.
    fn stage(&self, size: u64, entries: &[&[u8]]) -> Result<(), Error> {
        let mut bytes = tiles::encode_bundle(entries.iter().copied())?;
        bytes.extend_from_slice(&Hash::sha256(&bytes).0);
        files::write(&self.pending(size), &bytes, files::SECRET)
    }

    fn drop_staged(&self, size: u64) -> Result<(), Error> {
        let path = self.pending(size);
        fs::remove_file(&path).map_err(Error::io(&path, "remove it by hand"))
    }

    /// After a crash: writes a staged batch again, or drops one that was published or never completed.
    fn finish_staged(&self) -> Result<(), Error> {
        let state = self.folder.join(".state");
        let help = "check that the log's folder can be read";
        for entry in fs::read_dir(&state).map_err(Error::io(&state, help))? {
            let path = entry.map_err(Error::io(&state, help))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(size) = name.strip_prefix("pending-").and_then(|size| size.parse::<u64>().ok()) else { continue };
            let head = self.head()?;
            let bytes = files::read(&path, MAX_PENDING)?;
            let complete = bytes.split_last_chunk::<32>().filter(|(batch, hash)| Hash::sha256(batch).0 == **hash);
            match complete {
                Some((batch, _)) if size == head.size => self.write_batch(&head, &tiles::decode_bundle(batch)?)?,
                Some(_) if size > head.size => {
                    return Err(Error::refused(
                        &path,
                        format!("was staged at size {size}, but the published log holds {}", head.size),
                        "an older copy of the log was restored; put the newest one back before writing",
                    ));
                }
                _ => {}
            }
            self.drop_staged(size)?;
        }
        Ok(())
    }

    /// Writes bundles and tiles, checks them against the old head, and publishes the new one.
    fn write_batch(&self, head: &Checkpoint, entries: &[&[u8]]) -> Result<(), Error> {
        if tiles::root(self, head.size)? != head.root {
            return Err(Error::refused(
                &self.folder,
                "holds tiles that do not lead to its checkpoint",
                "restore the log from a copy; nothing was written",
            ));
        }
        let size = head.size + entries.len() as u64;
        self.write_bundles(head.size, entries)?;
        let leaves: Vec<Hash> = entries.iter().map(|entry| tree::leaf(entry)).collect();
        for (level, index, hashes) in tiles::append(self, head.size, &leaves)? {
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            self.write_tile(&tiles::tile_path(level, index, hashes.len() as u64), &bytes)?;
        }
        let new = Checkpoint { size, root: tiles::root(self, size)? };
        if tiles::root(self, head.size)? != head.root {
            return Err(Error::refused(&self.folder, "changed while it was written", "restore the log from a copy"));
        }
        self.publish(&new)
    }

    fn write_bundles(&self, old_size: u64, entries: &[&[u8]]) -> Result<(), Error> {
        let mut rest = entries;
        let mut size = old_size;
        while !rest.is_empty() {
            let (index, width) = (size / WIDTH, size % WIDTH);
            let count = rest.len().min((WIDTH - width) as usize);
            let (batch, after) = rest.split_at(count);
            let mut bytes = match width {
                0 => vec![],
                _ => self.old_bundle(index, width)?,
            };
            bytes.extend(tiles::encode_bundle(batch.iter().copied())?);
            self.write_tile(&tiles::bundle_path(index, width + count as u64), &bytes)?;
            (rest, size) = (after, size + count as u64);
        }
        Ok(())
    }

    /// The first `width` entries of a bundle, which may have grown in a batch that was not published.
    fn old_bundle(&self, index: u64, width: u64) -> Result<Vec<u8>, Error> {
        let bytes = self.read_widest(|width| tiles::bundle_path(index, width))?;
        let entries = tiles::decode_bundle(&bytes)?;
        Ok(tiles::encode_bundle(entries.into_iter().take(width as usize))?)
    }

    /// Tiles are immutable: the same name with other bytes is an error.
    fn write_tile(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join(path);
        match fs::read(&path) {
            Ok(there) if there == bytes => Ok(()),
            Ok(_) => {
                Err(Error::refused(&path, "would change, and a tile never changes", "restore the log from a copy"))
            }
            Err(_) => files::write(&path, bytes, files::PUBLIC),
        }
    }

    fn publish(&self, head: &Checkpoint) -> Result<(), Error> {
        let note = head.sign(&self.verifier.name, &self.key)?;
        files::write(&self.folder.join("checkpoint"), note.as_bytes(), files::PUBLIC)
    }

    /// The full file, or else the widest partial one.
    fn read_widest(&self, path_of: impl Fn(u64) -> String) -> Result<Vec<u8>, Error> {
        let full = self.folder.join(path_of(WIDTH));
        if full.is_file() {
            return files::read(&full, 1 << 25);
        }
        let widest = (1..WIDTH).rev().map(|width| self.folder.join(path_of(width))).find(|path| path.is_file());
        let widest = widest.ok_or_else(|| Error::refused(&full, "is missing", "restore the log from a copy"))?;
        files::read(&widest, 1 << 25)
    }
}

impl ReadTile for Log {
    fn read_tile(&self, level: u8, index: u64, width: u64) -> Result<Vec<Hash>, countermark_lineage::Error> {
        let path = tiles::tile_path(level, index, WIDTH);
        let refuse =
            |problem: String| countermark_lineage::Error::input(&*path, problem, "restore the log from a copy");
        let bytes = self
            .read_widest(|width| tiles::tile_path(level, index, width))
            .map_err(|error| refuse(error.to_string()))?;
        let hashes = bytes.chunks_exact(32).take(width as usize).map(|hash| Hash(hash.try_into().unwrap_or_default()));
        let hashes: Vec<Hash> = hashes.collect();
        if hashes.len() as u64 != width || bytes.len() % 32 != 0 {
            return Err(refuse(format!("holds fewer than {width} hashes")));
        }
        Ok(hashes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|i| format!("entry {i}").into_bytes()).collect()
    }

    #[test]
    fn appended_entries_are_proved_and_kept_once() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(&folder.path().join("log"), Some("log.example")).unwrap();
        let all = entries(300);
        assert_eq!(log.append(&all[..200]).unwrap(), (1..201).collect::<Vec<_>>());
        assert_eq!(log.append(&all).unwrap(), (1..301).collect::<Vec<_>>());
        let log = Log::open(&folder.path().join("log")).unwrap();
        assert_eq!(log.head().unwrap().size, 301);
        for (index, entry) in [(1, &all[0]), (255, &all[254]), (256, &all[255]), (300, &all[299])] {
            assert_eq!(log.entry(index).unwrap(), *entry);
            log.prove(&[index]).unwrap()[0].verify(entry, log.verifier()).unwrap();
        }
        assert!(log.entry(301).is_err());
        assert!(log.prove(&[301]).is_err());
        assert!(Log::create(&folder.path().join("log"), None).is_err());
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_same_log() {
        let all = entries(40);
        let batch: Vec<&[u8]> = all[10..].iter().map(|entry| &**entry).collect();
        let mut notes = Vec::new();
        for crash_after in 0..4 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            let log = Log::create(&path, Some("log.example")).unwrap();
            // The same key each time, so that the final notes can be compared byte for byte.
            fs::remove_dir_all(&path).unwrap();
            fs::create_dir_all(path.join(".state")).unwrap();
            let key = SigningKey::from_bytes(&[3; 32]);
            let verifier = VerifierKey::new("log.example", key.verifying_key().into()).unwrap();
            let log = Log { key, verifier, ..log };
            log.publish(&Checkpoint { size: 0, root: tree::empty_root() }).unwrap();
            log.append(&all[..10]).unwrap();
            let head = log.head().unwrap();
            if crash_after >= 1 {
                log.stage(head.size, &batch).unwrap();
            }
            if crash_after >= 2 {
                log.write_bundles(head.size, &batch).unwrap();
            }
            if crash_after >= 3 {
                log.write_batch(&head, &batch).unwrap();
            }
            log.append(&all).unwrap();
            assert_eq!(log.head().unwrap().size, 40, "crash after step {crash_after}");
            notes.push(log.note().unwrap());
        }
        assert!(notes.iter().all(|note| *note == notes[0]));
    }

    #[test]
    fn a_changed_tile_stops_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = Log::create(&path, None).unwrap();
        log.append(&entries(5)).unwrap();
        let tile = path.join(tiles::tile_path(0, 0, 6));
        let mut bytes = fs::read(&tile).unwrap();
        bytes[40] ^= 1;
        fs::write(&tile, bytes).unwrap();
        let before = log.note().unwrap();
        assert!(log.append(&[b"new".to_vec()]).is_err());
        assert_eq!(log.note().unwrap(), before);
    }
}
