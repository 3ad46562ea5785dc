//! Digests of files that were hashed before, in one SQLite file of the user's cache folder.
//!
//! An entry counts for a file whose device, inode, size, time of the last write and time of the last change are all as they
//! were; the last of them only the clock sets. Nothing is kept of a file that was written less than two seconds ago, nor of
//! file systems whose inodes or times another machine decides. A write through a memory mapping sets the times only when
//! its page was clean, so a file that was touched in the last hour is kept only when its file system was synced after that
//! and before the file was hashed: then every page was clean, and the next write shows. Entries of neighbouring inodes share a page, so that a
//! folder of many files is a few reads; each page carries a checksum, since a wrong bit here would be a wrong digest.
//!
//! The cache is a convenience of one machine and one user. Whoever can write the file can lie to its owner, as with any
//! file that is the owner's; a file that others can write is not used, nor one in a folder that they can write, since
//! SQLite believes the log that lies beside its file. A medium that somebody else could change while it was not mounted
//! is beyond this: leave the cache out there. A cache that is damaged is put aside with a warning.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use countermark_formats::ReadAt;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::{Cache, Known};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use crate::open_file::{OpenFile, Stamp, now};

mod page;

use page::{Entry, Page};

/// Environment variable that names the cache file; empty turns the cache off.
pub const VARIABLE: &str = "COUNTERMARK_CACHE";

/// A file written so recently is not kept: another write could leave the same times.
const YOUNGEST: u64 = 2_000_000_000;

/// A page that was dirty for so long was written back meanwhile, and is clean.
const CLEAN: u64 = 3_600_000_000_000;

/// A larger cache is begun anew.
const LARGEST: u64 = 1 << 30;

/// Tells this schema from any other file of SQLite.
const APPLICATION: i64 = 0x636d_6b31;

/// Digests of files on this machine. Nothing is written before [`FileCache::save`].
pub struct FileCache {
    path: PathBuf,
    connection: Mutex<Option<Connection>>,
    pages: RwLock<HashMap<(u64, u64), Arc<Page>>>,
    file_systems: RwLock<HashMap<u64, bool>>,
    /// When each file system was synced, in nanoseconds since 1970; `None` when that failed.
    synced: Mutex<HashMap<u64, Option<i64>>>,
    fresh: Mutex<Vec<(u64, Entry)>>,
    warnings: Mutex<Vec<String>>,
}

/// Where the cache is: `$COUNTERMARK_CACHE`, else `countermark/digests.sqlite` in the user's cache folder.
pub fn default_path() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return (!path.is_empty()).then(|| path.into());
    }
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    caches.map(|caches| caches.join("countermark/digests.sqlite"))
}

impl FileCache {
    /// Opens the cache at `path`, or makes it. Whatever is wrong with it becomes a warning, and then nothing is known.
    pub fn open(path: &Path) -> Self {
        let cache = FileCache {
            path: path.to_owned(),
            connection: Mutex::new(None),
            pages: RwLock::default(),
            file_systems: RwLock::default(),
            synced: Mutex::default(),
            fresh: Mutex::default(),
            warnings: Mutex::default(),
        };
        let opened = match connect(path) {
            Err(Problem::Damaged(problem)) => {
                cache.warn(format!("{problem}; it is put aside and begun anew"));
                put_aside(path);
                connect(path)
            }
            other => other,
        };
        match opened {
            Ok(connection) => *lock(&cache.connection) = Some(connection),
            Err(Problem::Damaged(problem) | Problem::Unusable(problem)) => cache.warn(problem),
        }
        cache
    }

    /// What went wrong so far, for people. None of it touches a digest.
    pub fn warnings(&self) -> Vec<String> {
        lock(&self.warnings).clone()
    }

    fn warn(&self, problem: impl std::fmt::Display) {
        lock(&self.warnings).push(format!("cache {}: {problem}", self.path.display()));
    }

    /// Writes what was remembered. Entries that another process wrote meanwhile stay.
    pub fn save(&self) {
        let fresh = std::mem::take(&mut *lock(&self.fresh));
        if fresh.is_empty() {
            return;
        }
        let mut guard = lock(&self.connection);
        let Some(connection) = guard.as_mut() else { return };
        if let Err(error) = save(connection, fresh) {
            self.warn(format!("{error}; nothing was kept this time"));
            if is_damage(&error) {
                *guard = None;
                put_aside(&self.path);
            }
        }
    }

    /// The page, from memory or from the file.
    fn page(&self, device: u64, number: u64) -> Option<Arc<Page>> {
        if let Some(page) = self.pages.read().unwrap_or_else(PoisonError::into_inner).get(&(device, number)) {
            return Some(page.clone());
        }
        let mut guard = lock(&self.connection);
        let connection = guard.as_mut()?;
        let page = match load(connection, device, number) {
            Ok(page) => Arc::new(page),
            Err(error) => {
                self.warn(format!("{error}; everything is hashed"));
                *guard = None;
                if is_damage(&error) {
                    put_aside(&self.path);
                }
                return None;
            }
        };
        drop(guard);
        self.pages.write().unwrap_or_else(PoisonError::into_inner).insert((device, number), page.clone());
        Some(page)
    }

    /// Is the file system one whose inodes and times are of this machine's making?
    fn is_local(&self, file: &OpenFile, device: u64) -> bool {
        if let Some(known) = self.file_systems.read().unwrap_or_else(PoisonError::into_inner).get(&device) {
            return *known;
        }
        let is_local = is_local(&file.path());
        self.file_systems.write().unwrap_or_else(PoisonError::into_inner).insert(device, is_local);
        is_local
    }
}

impl FileCache {
    /// Has the kernel write back what is dirty, once for each file system and before anything of it is hashed.
    fn sync(&self, file: &OpenFile, device: u64) {
        // Held meanwhile: others must not begin to hash before it is done.
        lock(&self.synced).entry(device).or_insert_with(|| {
            let begun = now();
            file.sync_file_system().ok().map(|()| begun)
        });
    }

    /// Would a write to this file show, whichever way it came?
    fn would_show(&self, stamp: &Stamp) -> bool {
        let age = stamp.age();
        let synced = || lock(&self.synced).get(&stamp.device).copied().flatten();
        let before_sync =
            || synced().is_some_and(|at| stamp.mtime.max(stamp.ctime) <= at.saturating_sub(YOUNGEST.cast_signed()));
        age >= CLEAN || (age >= YOUNGEST && before_sync())
    }
}

impl Cache for FileCache {
    fn recall(&self, source: &dyn ReadAt) -> Option<Known> {
        let file = source.as_any()?.downcast_ref::<OpenFile>()?;
        let stamp = file.stamp().ok()?;
        if !self.is_local(file, stamp.device) {
            return None;
        }
        let page = self.page(stamp.device, page::number(stamp.inode))?;
        let entry = page.find(stamp.inode).filter(|entry| entry.is_of(&stamp));
        // It will be hashed now. One that is known was clean when it was kept, and its times say that it still is.
        if entry.is_none() && stamp.age() < CLEAN {
            self.sync(file, stamp.device);
        }
        Some(entry?.known())
    }

    fn remember(&self, source: &dyn ReadAt, known: &Known) {
        let Some(file) = source.as_any().and_then(|any| any.downcast_ref::<OpenFile>()) else { return };
        let Ok(stamp) = file.stamp() else { return };
        if stamp.size != known.size || !self.is_local(file, stamp.device) {
            return;
        }
        let page = self.page(stamp.device, page::number(stamp.inode));
        let is_known = page.is_some_and(|page| page.find(stamp.inode).is_some_and(|entry| entry.is_of(&stamp)));
        if is_known || self.would_show(&stamp) {
            lock(&self.fresh).push((stamp.device, Entry::new(&stamp, known)));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Problem {
    /// The file is not what it should be.
    Damaged(String),
    /// There can be no cache here.
    Unusable(String),
}

fn connect(path: &Path) -> Result<Connection, Problem> {
    let unusable = |problem: String| Problem::Unusable(format!("{problem}; everything is hashed"));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        private_folder(folder).map_err(|error| unusable(error.to_string()))?;
    }
    let folder = crate::files::parent(path);
    match fs::metadata(folder) {
        Ok(metadata) if !is_private(&metadata) => {
            return Err(unusable("is in a folder that belongs to somebody else, or that others can write".to_owned()));
        }
        Ok(_) => {}
        Err(error) => return Err(unusable(error.to_string())),
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(unusable("is not a regular file".to_owned())),
        Ok(metadata) if !is_private(&metadata) => {
            return Err(unusable("belongs to somebody else, or others can write it".to_owned()));
        }
        Ok(metadata) if metadata.len() > LARGEST => {
            return Err(Problem::Damaged(format!("is above {} MiB", LARGEST >> 20)));
        }
        Ok(_) => {}
        Err(_) => create_private(path).map_err(|error| unusable(error.to_string()))?,
    }
    let prepare = || -> rusqlite::Result<(Connection, i64)> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        let application = connection.pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0))?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if application == 0 && tables == 0 {
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE;
                 CREATE TABLE IF NOT EXISTS page (device INTEGER, number INTEGER, bytes BLOB, PRIMARY KEY (device, number));
                 PRAGMA application_id = {APPLICATION};
                 COMMIT;"
            ))?;
            return Ok((connection, APPLICATION));
        }
        Ok((connection, application))
    };
    match prepare() {
        Ok((connection, APPLICATION)) => Ok(connection),
        Ok(_) => Err(unusable("is a database of something else".to_owned())),
        Err(error) if is_damage(&error) => Err(Problem::Damaged(error.to_string())),
        Err(error) => Err(unusable(error.to_string())),
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => matches!(failure.code, DatabaseCorrupt | NotADatabase),
        rusqlite::Error::InvalidColumnType(..) => true,
        // The table is gone, though the file says that it is ours.
        error => error.to_string().contains("no such table"),
    }
}

/// Renames the file, so that somebody can look at it, and removes what belongs to it.
fn put_aside(path: &Path) {
    let with = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let _ = fs::rename(path, with(".damaged"));
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(with(ending));
    }
}

fn load(connection: &Connection, device: u64, number: u64) -> rusqlite::Result<Page> {
    let mut query = connection.prepare_cached("SELECT bytes FROM page WHERE device = ?1 AND number = ?2")?;
    let key = (device.cast_signed(), number.cast_signed());
    let bytes: Option<Vec<u8>> = query.query_row(key, |row| row.get(0)).optional()?;
    // A page with a wrong checksum knows nothing, and is written over when there is something to write.
    Ok(bytes.and_then(|bytes| Page::parse(&bytes, device, number)).unwrap_or_default())
}

fn save(connection: &mut Connection, fresh: Vec<(u64, Entry)>) -> rusqlite::Result<()> {
    let mut pages: BTreeMap<(u64, u64), Vec<Entry>> = BTreeMap::new();
    for (device, entry) in fresh {
        pages.entry((device, page::number(entry.inode()))).or_default().push(entry);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for ((device, number), entries) in pages {
        let mut page = load(&transaction, device, number)?;
        page.extend(entries);
        let mut write = transaction.prepare_cached("INSERT OR REPLACE INTO page VALUES (?1, ?2, ?3)")?;
        write.execute((device.cast_signed(), number.cast_signed(), page.to_bytes(device, number)))?;
    }
    transaction.commit()
}

#[cfg(target_os = "linux")]
fn is_local(path: &Path) -> bool {
    // ext2 to 4, XFS, Btrfs, overlay, F2FS, ZFS, bcachefs: see statfs(2). Not tmpfs: its pages are never written back, so
    // a mapping that wrote once can write again at any time without a trace.
    const LOCAL: [u32; 7] = [0xef53, 0x5846_5342, 0x9123_683e, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e];
    #[allow(clippy::unnecessary_cast, reason = "another type on other processors")]
    rustix::fs::statfs(path).is_ok_and(|system| LOCAL.contains(&(system.f_type as u32)))
}

/// Elsewhere it cannot be told, so nothing is kept.
#[cfg(not(target_os = "linux"))]
fn is_local(_: &Path) -> bool {
    false
}

#[cfg(unix)]
fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn private_folder(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(unix)]
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let created = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    // Another process may have been faster.
    created.map(drop).or_else(|error| if path.is_file() { Ok(()) } else { Err(error) })
}

#[cfg(not(unix))]
fn create_private(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn is_private(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // Only where the system tells who we are.
    let is_ours = fs::metadata("/proc/self").map_or(true, |own| own.uid() == metadata.uid());
    is_ours && metadata.mode() & 0o022 == 0
}

#[cfg(not(unix))]
fn is_private(_: &fs::Metadata) -> bool {
    true
}

/// Hash of nothing in particular, for pages.
fn checksum(device: u64, number: u64, body: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("countermark.dev 2026 cache page v1");
    hasher.update(&device.to_le_bytes()).update(&number.to_le_bytes()).update(body);
    let hash = Hash(hasher.finalize().into());
    let mut short = [0; 16];
    short.copy_from_slice(&hash.0[..16]);
    short
}

/// Would an entry with this stamp count for this file?
fn is_same(entry: &Stamp, stamp: &Stamp) -> bool {
    (entry.inode, entry.size, entry.mtime, entry.ctime) == (stamp.inode, stamp.size, stamp.mtime, stamp.ctime)
}
