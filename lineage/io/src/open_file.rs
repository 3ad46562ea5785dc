//! A file opened for positioned reads, that notices when something else writes to it.
//!
//! What the system says of a file (device, inode, size, times of the last write and of the last change) is taken when it is
//! opened and compared after the last read. Times have a grain: a second write within one tick of the kernel's clock leaves
//! no trace. So a file whose last change is younger than the grain is not begun before the tick is over. What remains
//! unseen is a write that began before the file was opened and leaves its size alone: one long call that is still under
//! way, for which Linux sets the times at the start, or a memory mapping whose pages were dirty before.

use std::any::Any;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countermark_formats::ReadAt;

use crate::Error;

/// What the system says of a file beside its bytes. Another value means that the bytes may be others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Last write, nanoseconds since 1970.
    pub mtime: i64,
    /// Last change of bytes, name or permissions, nanoseconds since 1970. Nobody but the clock sets it.
    pub ctime: i64,
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

impl Stamp {
    #[cfg(unix)]
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            mtime: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Elsewhere there is no inode to be had: size and time of the last write must do, and nothing is cached.
    #[cfg(not(unix))]
    pub(crate) fn of(metadata: &fs::Metadata) -> Self {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let mtime = modified.map_or(0, |since| since.as_nanos() as i64);
        Stamp { device: 0, inode: 0, size: metadata.len(), mtime, ctime: mtime }
    }

    /// Nanoseconds since the last write or change; zero for a time that has not come yet.
    pub fn age(&self) -> u64 {
        now().saturating_sub(self.mtime.max(self.ctime)).max(0) as u64
    }

    /// How long to wait until a further write would show: a tick, or two seconds where times are whole seconds.
    fn grain(&self) -> Option<Duration> {
        const TICK: u64 = 20_000_000;
        const COARSE: u64 = 2_000_000_000;
        let whole_seconds = self.mtime % 1_000_000_000 == 0 && self.ctime % 1_000_000_000 == 0;
        let grain = if whole_seconds { COARSE } else { TICK };
        grain.checked_sub(self.age()).filter(|rest| *rest > 0).map(Duration::from_nanos)
    }
}

/// Asks for a stamp, waits until it is older than the grain of the clock, and asks again when it had to wait.
pub(crate) fn settled(stat: impl Fn() -> io::Result<fs::Metadata>) -> io::Result<(fs::Metadata, Stamp)> {
    let metadata = stat()?;
    let stamp = Stamp::of(&metadata);
    let Some(rest) = stamp.grain() else { return Ok((metadata, stamp)) };
    std::thread::sleep(rest);
    let metadata = stat()?;
    let stamp = Stamp::of(&metadata);
    Ok((metadata, stamp))
}

/// What an error says when a file is no longer what it was.
pub(crate) fn changed() -> io::Error {
    io::Error::other("changed while it was read; wait until nothing writes to it, then try again")
}

/// A file of the length and the times that it had when it was first looked at.
///
/// With a handle kept open, reads go to this very file. A folder of many files would need more handles than a process may
/// hold, so there each pass opens the file anew, and makes sure that it is still the same one.
pub struct OpenFile {
    place: Place,
    handle: Option<File>,
    stamp: OnceLock<Stamp>,
}

enum Place {
    /// Named by somebody; a link is followed.
    Named(PathBuf),
    /// Found in a folder, where links are refused.
    Found(Arc<Root>, String),
}

/// A folder that is being read.
pub(crate) struct Root {
    path: PathBuf,
    #[cfg(unix)]
    handle: File,
}

impl Root {
    pub(crate) fn open(path: &Path) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Root {
            path: path.to_owned(),
            #[cfg(unix)]
            handle: File::open(path)?,
        }))
    }

    /// Opens a file below without following a link in its place, and without waiting for the writer of a pipe.
    #[cfg(unix)]
    fn file(&self, relative: &str) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags, openat};
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        Ok(File::from(openat(&self.handle, relative, flags, Mode::empty())?))
    }

    #[cfg(not(unix))]
    fn file(&self, relative: &str) -> io::Result<File> {
        File::open(self.path.join(relative))
    }
}

const CHECK_PATH: &str = "check the path and its permissions";

impl OpenFile {
    /// Opens a regular file; a link to one is followed.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Refused`] for anything that is not a regular file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = regular(path)?;
        let (_, stamp) = settled(|| file.metadata()).map_err(Error::io(path, CHECK_PATH))?;
        Ok(OpenFile { place: Place::Named(path.to_owned()), handle: Some(file), stamp: stamp.into() })
    }

    /// A file in a folder, opened now or, when `later`, for each pass.
    pub(crate) fn found(root: &Arc<Root>, relative: &str, later: bool) -> Result<Self, Error> {
        let mut found =
            OpenFile { place: Place::Found(root.clone(), relative.to_owned()), handle: None, stamp: OnceLock::new() };
        if !later {
            let (file, _) = found.fresh().map_err(Error::io(&root.path.join(relative), CHECK_PATH))?;
            found.handle = Some(file);
        }
        Ok(found)
    }

    /// What the system said of it when it was first looked at.
    ///
    /// # Errors
    /// When it cannot be opened, or is not a regular file.
    pub fn stamp(&self) -> io::Result<Stamp> {
        match (self.stamp.get(), &self.place) {
            (Some(stamp), _) => Ok(*stamp),
            #[cfg(unix)]
            (None, Place::Found(root, relative)) => {
                let stamp = stat_at(root, relative)?;
                // Younger than the grain: have the handle decide, which waits.
                if stamp.grain().is_some() { Ok(self.fresh()?.1) } else { self.same(stamp) }
            }
            _ => Ok(self.fresh()?.1),
        }
    }

    /// Its path, for messages and to open it by other means.
    pub fn path(&self) -> PathBuf {
        match &self.place {
            Place::Named(path) => path.clone(),
            Place::Found(root, relative) => root.path.join(relative),
        }
    }

    /// Opens it, and makes sure that it is the file which was there at first.
    fn fresh(&self) -> io::Result<(File, Stamp)> {
        let file = match &self.place {
            Place::Named(path) => File::open(path)?,
            Place::Found(root, relative) => root.file(relative)?,
        };
        let (metadata, stamp) = settled(|| file.metadata())?;
        if !metadata.is_file() {
            return Err(io::Error::other("is not a regular file"));
        }
        Ok((file, self.same(stamp)?))
    }

    /// `stamp`, when it is that of the first look.
    fn same(&self, stamp: Stamp) -> io::Result<Stamp> {
        if *self.stamp.get_or_init(|| stamp) == stamp { Ok(stamp) } else { Err(changed()) }
    }

    /// Has everything written back that is dirty in the file system that it is on.
    #[cfg(all(target_os = "linux", feature = "sqlite"))]
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        let opened = if self.handle.is_none() { Some(self.fresh()?.0) } else { None };
        let file = self.handle.as_ref().or(opened.as_ref()).ok_or(io::ErrorKind::NotFound)?;
        Ok(rustix::fs::syncfs(file)?)
    }

    /// Elsewhere nothing is cached.
    #[cfg(all(not(target_os = "linux"), feature = "sqlite"))]
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Looks at the path again: is the same file there, and untouched?
    pub(crate) fn still_there(&self) -> io::Result<()> {
        let Some(before) = self.stamp.get() else { return Ok(()) };
        let now = match &self.place {
            Place::Named(path) => Stamp::of(&fs::metadata(path)?),
            #[cfg(unix)]
            Place::Found(root, relative) => stat_at(root, relative)?,
            #[cfg(not(unix))]
            Place::Found(root, relative) => Stamp::of(&fs::symlink_metadata(root.path.join(relative))?),
        };
        if now == *before { Ok(()) } else { Err(changed()) }
    }
}

/// One call without opening anything.
#[cfg(unix)]
fn stat_at(root: &Root, relative: &str) -> io::Result<Stamp> {
    use rustix::fs::{AtFlags, FileType, statat};
    let stat = statat(&root.handle, relative, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("is not a regular file"));
    }
    #[allow(clippy::unnecessary_cast, reason = "these have other types on other systems")]
    let stamp = Stamp {
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
        size: stat.st_size as u64,
        mtime: (stat.st_mtime as i64).saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64),
        ctime: (stat.st_ctime as i64).saturating_mul(1_000_000_000).saturating_add(stat.st_ctime_nsec as i64),
    };
    Ok(stamp)
}

/// Opens a regular file, and nothing that could block or end a read, such as a pipe.
pub(crate) fn regular(path: &Path) -> Result<File, Error> {
    let metadata = fs::metadata(path).map_err(Error::io(path, CHECK_PATH))?;
    if !metadata.is_file() {
        return Err(Error::refused(path, "is not a regular file", "name a file, or a folder of files"));
    }
    File::open(path).map_err(Error::io(path, CHECK_PATH))
}

impl ReadAt for OpenFile {
    /// Zero when it cannot be looked at, which the first read will report.
    fn len(&self) -> u64 {
        self.stamp().map_or(0, |stamp| stamp.size)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.handle {
            Some(file) => read_exact_at(file, buffer, offset),
            None => read_exact_at(&self.fresh()?.0, buffer, offset),
        }
    }

    fn for_one_pass(&self) -> io::Result<Option<Box<dyn ReadAt + '_>>> {
        if self.handle.is_some() {
            return Ok(None);
        }
        let (file, stamp) = self.fresh()?;
        Ok(Some(Box::new(Handle { file, stamp })))
    }

    fn unchanged(&self) -> io::Result<()> {
        if let (Some(file), Some(stamp)) = (&self.handle, self.stamp.get())
            && Stamp::of(&file.metadata()?) != *stamp
        {
            return Err(changed());
        }
        self.still_there()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// A file that is open for one pass. Were another put in its place meanwhile, the time of its last change would tell.
struct Handle {
    file: File,
    stamp: Stamp,
}

impl ReadAt for Handle {
    fn len(&self) -> u64 {
        self.stamp.size
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        read_exact_at(&self.file, buffer, offset)
    }

    fn unchanged(&self) -> io::Result<()> {
        if Stamp::of(&self.file.metadata()?) == self.stamp { Ok(()) } else { Err(changed()) }
    }
}

/// An end before the length that the file had is a change like any other.
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    read_all_at(file, buffer, offset)
        .map_err(|error| if error.kind() == io::ErrorKind::UnexpectedEof { changed() } else { error })
}

#[cfg(unix)]
fn read_all_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_all_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                buffer = &mut buffer[count..];
                offset += count as u64;
            }
        }
    }
    Ok(())
}
