//! Appends a batch: durable when it returns, and after a crash at any moment as before or as after.
//!
//! 1. Check the published checkpoint against the tiles, and that nobody has seen more of this log.
//! 2. Stage the batch, with its hash. From here the entries and their order are fixed.
//! 3. Write entry bundles, then tiles from level 0 upward.
//! 4. Recompute the root from the files just written, and prove that the old tree is its beginning.
//! 5. Sign, and rename `checkpoint` into place: the commit point. Then the staged batch is dropped.
//!
//! A batch that was staged and not published is written again first, with the same entries in the same order and, Ed25519
//! being deterministic, with the same bytes. Every file is written under a temporary name that is always the same, so that
//! nothing piles up however often a writer is killed.
//!
//! What an append reads is one tile and one bundle at the right edge of the tree for each level: O(log n).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use countermark_lineage::anchor::checkpoint::Checkpoint;
use countermark_lineage::anchor::entry::MAX_ENTRY;
use countermark_lineage::anchor::tiles::{self, Name, WIDTH, width_at};
use countermark_lineage::digest::{Hash, tree};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{Log, lock};
use crate::{Error, files};

/// A staged batch of more bytes is refused: it is read as a whole after a crash.
const MAX_BATCH: u64 = 1 << 30;

/// Above so many files, syncing the whole file system once costs less than syncing each.
const MANY: usize = 64;

const RESTORE: &str = "restore the log from a copy; nothing was published";

impl Log {
    /// Appends these entries behind all others and answers their indices. Durable when this returns.
    ///
    /// Nothing is looked for: what is in the log already gets a second place. See [`Log::append_once`].
    ///
    /// # Errors
    /// [`Error::Refused`] when the log on disk does not agree with its checkpoint, or somebody has seen more of it; nothing
    /// is published then.
    pub fn append<E: AsRef<[u8]> + Sync>(&self, entries: &[E]) -> Result<Range<u64>, Error> {
        let _lock = lock(&self.folder)?;
        self.extend(&self.settled()?, entries)
    }

    /// Appends to the head that [`Log::settled`] answered to the one that holds the lock.
    pub(super) fn extend<E: AsRef<[u8]> + Sync>(&self, head: &Checkpoint, entries: &[E]) -> Result<Range<u64>, Error> {
        let bytes: u64 = entries.iter().map(|entry| 2 + entry.as_ref().len() as u64).sum();
        if entries.iter().any(|entry| entry.as_ref().len() > MAX_ENTRY) {
            return Err(Error::refused(&self.folder, "refuses an entry above 65,535 bytes", "log a hash of it"));
        }
        if bytes > MAX_BATCH {
            return Err(Error::refused(&self.folder, "refuses a batch above 1 GiB", "append it in parts"));
        }
        if entries.is_empty() {
            return Ok(head.size..head.size);
        }
        self.stage(head.size, entries)?;
        self.point("staged")?;
        self.write_batch(head, entries, false)?;
        self.drop_staged(head.size)?;
        self.point("dropped")?;
        Ok(head.size..head.size + entries.len() as u64)
    }

    /// The published head, once what a crash left behind is finished.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub(super) fn settled(&self) -> Result<Checkpoint, Error> {
        self.refuse_rollback(&self.head()?)?;
        self.finish_staged()?;
        let head = self.head()?;
        if tiles::root(&self.tiles(head.size), head.size)? != head.root {
            return Err(Error::refused(&self.folder, "holds tiles that do not lead to its checkpoint", RESTORE));
        }
        Ok(head)
    }

    fn pending(&self, size: u64) -> PathBuf {
        self.folder.join(".state").join(format!("pending-{size}"))
    }

    /// Fixes the batch and its order: length-prefixed entries, then the hash of them.
    fn stage<E: AsRef<[u8]>>(&self, size: u64, entries: &[E]) -> Result<(), Error> {
        let path = self.pending(size);
        let help = "nothing was appended; free some space and try again";
        let write = |file: File| {
            let mut file = BufWriter::with_capacity(1 << 20, file);
            let mut hash = Sha256::new();
            for entry in entries {
                let entry = entry.as_ref();
                let length = (entry.len() as u16).to_be_bytes();
                hash.update(length);
                hash.update(entry);
                file.write_all(&length)?;
                file.write_all(entry)?;
            }
            file.write_all(&hash.finalize())?;
            file.into_inner().map_err(io::IntoInnerError::into_error)
        };
        put(&path, files::SECRET, Synced::First, write).map_err(Error::io(&path, help))?;
        sync_folder(files::parent(&path))
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
            let bytes = files::read(&path, MAX_BATCH + 32)?;
            let complete = bytes.split_last_chunk::<32>().filter(|(batch, hash)| Hash::sha256(batch).0 == **hash);
            match complete {
                Some((batch, _)) if size == head.size => {
                    self.write_batch(&head, &tiles::decode_bundle(batch)?, true)?;
                }
                Some(_) if size > head.size => {
                    return Err(Error::refused(
                        &path,
                        format!("was staged at size {size}, but the published log holds {}", head.size),
                        "an older copy of the log was restored; put the newest one back before writing",
                    ));
                }
                // Published, and the writer died before it tidied up.
                Some(_) => self.tidy(size, head.size),
                None => {}
            }
            self.drop_staged(size)?;
            self.point("dropped after a crash")?;
        }
        Ok(())
    }

    /// Writes bundles and tiles, checks them against the old head, and publishes the new one.
    fn write_batch<E: AsRef<[u8]> + Sync>(
        &self,
        head: &Checkpoint,
        entries: &[E],
        is_again: bool,
    ) -> Result<(), Error> {
        let size = head.size + entries.len() as u64;
        let (first, width) = (head.size / WIDTH, head.size % WIDTH);
        let old = self.tiles(head.size);
        // What the last bundle holds already goes into the one that takes its place, if it is what its tile says.
        let (old_bundle, old_leaves) = match width {
            0 => (vec![], vec![]),
            _ => {
                let leaves = tiles::ReadTile::read_tile(&old, 0, first, width)?;
                let name = Name::Bundle { index: first, width };
                let bundle = old.read(&name)?;
                tiles::check_bundle(&name, &bundle, &leaves)?;
                (bundle, leaves)
            }
        };
        let (start, rest) = entries.split_at(entries.len().min((WIDTH - width) as usize));
        let chunks: Vec<&[E]> = std::iter::once(start).chain(rest.chunks(WIDTH as usize)).collect();
        let writer = Writer {
            log: self,
            is_again,
            sync: if chunks.len() * 2 > MANY && CAN_SYNC_ALL { Synced::Later } else { Synced::First },
            folders: Mutex::default(),
        };
        let bundle = |(number, chunk): (usize, &&[E])| -> Result<Option<Hash>, Error> {
            let index = first + number as u64;
            let (mut bytes, mut leaves) = match number {
                0 => (old_bundle.clone(), old_leaves.clone()),
                _ => (vec![], vec![]),
            };
            bytes.reserve(chunk.iter().map(|entry| 2 + entry.as_ref().len()).sum());
            for entry in *chunk {
                let entry = entry.as_ref();
                bytes.extend_from_slice(&(entry.len() as u16).to_be_bytes());
                bytes.extend_from_slice(entry);
                leaves.push(tree::leaf(entry));
            }
            let width = leaves.len() as u64;
            writer.write(&Name::Bundle { index, width }, &bytes)?;
            self.point("bundle")?;
            writer.tile(0, index, &leaves)?;
            self.point("tile of leaves")?;
            Ok((width == WIDTH).then(|| tree::root(&leaves)))
        };
        let roots = match &chunks[..] {
            [chunk] => vec![bundle((0, chunk))?],
            chunks => chunks.par_iter().enumerate().map(bundle).collect::<Result<Vec<_>, _>>()?,
        };
        let full: Vec<Hash> = roots.into_iter().flatten().collect();
        for (level, index, hashes) in tiles::append_from(&old, 1, head.size, full)? {
            writer.tile(level, index, &hashes)?;
            self.point("tile")?;
        }
        writer.finish()?;
        self.point("synced")?;
        let new = self.rebuilt(head, size)?;
        self.publish(&new)?;
        self.point("published")?;
        self.tidy(head.size, size);
        Ok(())
    }

    /// The head that the files just written lead to, which the old one is the beginning of.
    fn rebuilt(&self, old: &Checkpoint, size: u64) -> Result<Checkpoint, Error> {
        let tiles = self.tiles(size);
        let root = tiles::root(&tiles, size)?;
        if old.size > 0 {
            let path = tiles::consistency(&tiles, old.size, size)?;
            if !tree::is_consistent(old.size, &old.root, size, &root, &path) {
                return Err(Error::refused(&self.folder, "changed while it was written", RESTORE));
            }
        }
        Ok(Checkpoint { size, root })
    }

    /// Signs a head and makes it the published one.
    pub(super) fn publish(&self, head: &Checkpoint) -> Result<(), Error> {
        let note = head.sign(&self.verifier.name, &self.key)?;
        let path = self.folder.join("checkpoint");
        let help = "nothing was published; free some space and try again";
        put_bytes(&path, note.as_bytes(), Synced::First).map_err(Error::io(&path, help))?;
        sync_folder(&self.folder)
    }

    /// Removes partial tiles whose full tile is published now: a reader falls back to that one. What stays does no harm.
    fn tidy(&self, old_size: u64, size: u64) {
        for level in 0..8 {
            let index = old_size.checked_shr(8 * u32::from(level)).unwrap_or(0) / WIDTH;
            let grown = (1..WIDTH).contains(&width_at(level, index, old_size)) && width_at(level, index, size) == WIDTH;
            if !grown {
                continue;
            }
            let mut names = vec![Name::Tile { level, index, width: WIDTH }];
            if level == 0 {
                names.push(Name::Bundle { index, width: WIDTH });
            }
            for name in names {
                let _ = fs::remove_dir_all(self.folder.join(name.path() + ".p"));
            }
        }
    }

    /// A moment at which a test may have the writer stop.
    #[cfg(not(test))]
    fn point(&self, _what: &str) -> Result<(), Error> {
        Ok(())
    }

    #[cfg(test)]
    fn point(&self, what: &str) -> Result<(), Error> {
        self.stops.pass(what).map_err(|()| Error::refused(&self.folder, format!("stopped after {what}"), "a test"))
    }
}

/// Stops a writer after so many of its steps.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Stops {
    /// Steps that are left; nobody stops without a number.
    pub left: Mutex<Option<usize>>,
    /// What was passed.
    pub passed: Mutex<Vec<String>>,
}

#[cfg(test)]
impl Stops {
    fn pass(&self, what: &str) -> Result<(), ()> {
        self.passed.lock().unwrap().push(what.to_owned());
        match self.left.lock().unwrap().as_mut() {
            Some(0) => Err(()),
            Some(left) => {
                *left -= 1;
                if *left == 0 { Err(()) } else { Ok(()) }
            }
            None => Ok(()),
        }
    }
}

/// When a file's bytes get to the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Synced {
    /// Before it gets its name.
    First,
    /// With all others of the batch.
    Later,
}

/// Writes the files of a batch, each complete or not there at all.
struct Writer<'a> {
    log: &'a Log,
    /// True when a crash may have left some of them.
    is_again: bool,
    sync: Synced,
    /// Folders in which a name is new.
    folders: Mutex<BTreeSet<PathBuf>>,
}

impl Writer<'_> {
    fn tile(&self, level: u8, index: u64, hashes: &[Hash]) -> Result<(), Error> {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        self.write(&Name::Tile { level, index, width: hashes.len() as u64 }, &bytes)
    }

    /// Tiles are immutable: the same name with other bytes is an error, unless it is what a loss of power leaves of a file
    /// that no checkpoint covers yet.
    fn write(&self, name: &Name, bytes: &[u8]) -> Result<(), Error> {
        let path = self.log.folder.join(name.path());
        self.note(files::parent(&path))?;
        match fs::read(&path) {
            Ok(there) if there == bytes => {
                if self.is_again && self.sync == Synced::First {
                    let synced = File::open(&path).and_then(|file| file.sync_all());
                    synced.map_err(Error::io(&path, "check the disk"))?;
                }
                return Ok(());
            }
            Ok(there) if !(self.is_again && is_torn(&there, bytes)) => {
                return Err(Error::refused(&path, "would change, and a tile never changes", RESTORE));
            }
            _ => {}
        }
        let help = "nothing was published; free some space and try again";
        put_bytes(&path, bytes, self.sync).map_err(Error::io(&path, help))
    }

    /// Makes a folder and remembers it, and with it every folder above that got a new name.
    fn note(&self, folder: &Path) -> Result<(), Error> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = folder;
        while folders.insert(at.to_owned()) && at != self.log.folder {
            // After a crash it is not known which names are on the disk.
            if at.is_dir() && !self.is_again {
                break;
            }
            at = files::parent(at);
        }
        fs::create_dir_all(folder).map_err(Error::io(folder, "choose a folder that can be written"))
    }

    /// All files are on the disk, and their names, when this returns.
    fn finish(self) -> Result<(), Error> {
        if self.sync == Synced::Later {
            return sync_all(&self.log.folder);
        }
        let folders = self.folders.into_inner().unwrap_or_else(PoisonError::into_inner);
        folders.iter().rev().try_for_each(|folder| sync_folder(folder))
    }
}

/// What may be left of a file that was named before its bytes were on the disk: some of them, or zeros instead.
fn is_torn(there: &[u8], bytes: &[u8]) -> bool {
    there.len() <= bytes.len() && there.iter().zip(bytes).all(|(there, byte)| there == byte || *there == 0)
}

fn put_bytes(path: &Path, bytes: &[u8], sync: Synced) -> io::Result<()> {
    let write = |mut file: File| file.write_all(bytes).map(|()| file);
    put(path, files::PUBLIC, sync, write)
}

/// Writes a file under a temporary name beside it, always the same one, since one writer holds the lock; then renames it.
fn put(path: &Path, mode: u32, sync: Synced, write: impl FnOnce(File) -> io::Result<File>) -> io::Result<()> {
    let mut name = std::ffi::OsString::from(".writing-");
    name.push(path.file_name().unwrap_or_default());
    let temporary = path.with_file_name(name);
    let file = write(File::create(&temporary)?)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    #[cfg(not(unix))]
    let _ = mode;
    if sync == Synced::First {
        file.sync_all()?;
    }
    drop(file);
    fs::rename(&temporary, path)
}

fn sync_folder(folder: &Path) -> Result<(), Error> {
    // Elsewhere than on Unix a folder cannot be opened as a file, and a rename is durable without it.
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder, "check the disk"))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Whether the system can sync a whole file system, and says when that fails (Linux since 5.8).
const CAN_SYNC_ALL: bool = cfg!(target_os = "linux");

#[cfg(target_os = "linux")]
fn sync_all(folder: &Path) -> Result<(), Error> {
    let synced = File::open(folder).and_then(|file| Ok(rustix::fs::syncfs(file)?));
    synced.map_err(Error::io(folder, "check the disk; nothing was published"))
}

#[cfg(not(target_os = "linux"))]
fn sync_all(folder: &Path) -> Result<(), Error> {
    sync_folder(folder)
}
