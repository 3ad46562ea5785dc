//! Artifacts on disk: opened for positioned reads, written by temporary file, sync and rename.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countermark_formats::ReadAt;
use countermark_lineage::digest::artifact::{Artifact, CARD};
use countermark_lineage::digest::listing::{check_path, is_provenance, is_version_control};

use crate::Error;

/// A file of the length it had when it was opened.
///
/// With a handle kept open, the bytes stay those of this very file. A folder of many files would need more handles than a
/// process may hold, so there each read opens the file anew; `verify` hashes whatever it reads.
pub struct OpenFile {
    path: PathBuf,
    handle: Option<File>,
    length: u64,
}

impl OpenFile {
    /// Opens a regular file; a link to one is followed.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Refused`] for anything that is not a regular file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = regular(path)?;
        let metadata = file.metadata().map_err(Error::io(path, CHECK_PATH))?;
        Ok(OpenFile { path: path.to_owned(), handle: Some(file), length: metadata.len() })
    }

    /// As [`OpenFile::open`], and keeps no handle.
    fn open_later(path: &Path) -> Result<Self, Error> {
        let opened = OpenFile::open(path)?;
        Ok(OpenFile { handle: None, ..opened })
    }
}

const CHECK_PATH: &str = "check the path and its permissions";

/// Opens a regular file, and nothing that could block or end a read, such as a pipe.
fn regular(path: &Path) -> Result<File, Error> {
    let metadata = fs::metadata(path).map_err(Error::io(path, CHECK_PATH))?;
    if !metadata.is_file() {
        return Err(Error::refused(path, "is not a regular file", "name a file, or a folder of files"));
    }
    File::open(path).map_err(Error::io(path, CHECK_PATH))
}

impl ReadAt for OpenFile {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.handle {
            Some(file) => read_exact_at(file, buffer, offset),
            None => read_exact_at(&File::open(&self.path)?, buffer, offset),
        }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
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

/// Above so many files in a folder, none is kept open.
const MANY: usize = 200;

/// Opens a file, or a folder with everything below it that is not provenance.
///
/// # Errors
/// [`Error::Io`]; [`Error::Refused`] for links inside a folder, names that are not UTF-8, and empty folders.
pub fn open(path: &Path) -> Result<Artifact, Error> {
    let name = base_name(path)?;
    let metadata = fs::metadata(path).map_err(Error::io(path, "check the path"))?;
    if !metadata.is_dir() {
        let source: Arc<dyn ReadAt> = Arc::new(OpenFile::open(path)?);
        let files = vec![(name.clone(), source)];
        return Ok(Artifact { name, is_folder: false, files, card: None, provenance: vec![], ignored: vec![] });
    }
    let (mut paths, mut ignored) = (Vec::new(), Vec::new());
    walk(path, "", &mut paths, &mut ignored)?;
    paths.sort();
    ignored.sort();
    let open: fn(&Path) -> Result<OpenFile, Error> =
        if paths.len() > MANY { OpenFile::open_later } else { OpenFile::open };
    let mut provenance: Vec<(String, Arc<dyn ReadAt>)> = Vec::new();
    let mut files: Vec<(String, Arc<dyn ReadAt>)> = Vec::with_capacity(paths.len());
    let mut card: Option<Arc<dyn ReadAt>> = None;
    for relative in paths {
        let source: Arc<dyn ReadAt> = Arc::new(open(&path.join(&relative))?);
        if relative == CARD {
            card = Some(source);
        } else if is_provenance(&relative) {
            provenance.push((relative, source));
        } else {
            files.push((relative, source));
        }
    }
    if files.is_empty() {
        return Err(Error::refused(path, "holds no file to sign or verify", "name the folder that holds the model"));
    }
    Ok(Artifact { name, is_folder: true, files, card, provenance, ignored })
}

/// The last part of a path, also of `.`.
fn base_name(path: &Path) -> Result<String, Error> {
    let whole = match path.file_name() {
        Some(_) => path.to_owned(),
        None => fs::canonicalize(path).map_err(Error::io(path, "check the path"))?,
    };
    let name = whole.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Error::refused(path, "has no name in UTF-8", "rename it"))?;
    check_path(name).map_err(|error| Error::refused(path, error.problem(), "rename it"))?;
    Ok(name.to_owned())
}

/// Relative paths of all files below `folder`, but for version control at its top.
fn walk(folder: &Path, prefix: &str, paths: &mut Vec<String>, ignored: &mut Vec<String>) -> Result<(), Error> {
    let help = "check that the folder can be read";
    for entry in fs::read_dir(folder).map_err(Error::io(folder, help))? {
        let entry = entry.map_err(Error::io(folder, help))?;
        let at = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(Error::refused(&at, "has a name that is not UTF-8", "rename it"));
        };
        let relative = format!("{prefix}{name}");
        if is_version_control(&relative) {
            ignored.push(relative);
            continue;
        }
        check_path(&relative).map_err(|error| Error::refused(&at, error.problem(), "rename it"))?;
        let kind = entry.file_type().map_err(Error::io(&at, help))?;
        if kind.is_symlink() {
            return Err(Error::refused(
                &at,
                "is a symbolic link, and what it leads to can change without the folder changing",
                "replace links by files, for instance with `cp -rL FOLDER COPY`",
            ));
        } else if kind.is_dir() {
            walk(&at, &format!("{relative}/"), paths, ignored)?;
        } else if kind.is_file() {
            paths.push(relative);
        } else {
            return Err(Error::refused(&at, "is neither file nor folder", "remove it, or sign the files one by one"));
        }
    }
    Ok(())
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// [`Error::Io`], or [`Error::Refused`] above the limit.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let file = regular(path)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io(path, "check that it is a file"))?;
    if bytes.len() as u64 > limit {
        return Err(Error::refused(path, format!("is above {limit} bytes"), "is this the right file?"));
    }
    Ok(bytes)
}

/// As [`read`], and the bytes must be UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String, Error> {
    String::from_utf8(read(path, limit)?).map_err(|_| Error::refused(path, "is not UTF-8", "is this the right file?"))
}

/// A file that appears under its name only when it is complete: temporary file in the same folder, sync, rename.
pub struct Replacement {
    temporary: tempfile::NamedTempFile,
    path: PathBuf,
}

impl Replacement {
    /// Begins to write the file that will be `path`. What is there now stays until [`Replacement::commit`].
    pub fn new(path: &Path) -> Result<Self, Error> {
        let folder = parent(path);
        fs::create_dir_all(folder).map_err(Error::io(folder, "choose a folder that can be written"))?;
        let help = "choose a folder that can be written";
        let temporary =
            tempfile::Builder::new().prefix(".countermark-").tempfile_in(folder).map_err(Error::io(folder, help))?;
        Ok(Replacement { temporary, path: path.to_owned() })
    }

    /// The file being written.
    pub fn file(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// Syncs, renames, and syncs the folder. `mode` is the permission on Unix.
    pub fn commit(self, mode: u32) -> Result<(), Error> {
        let path = &self.path;
        let help = "nothing was replaced; free some space and try again";
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let permissions = fs::Permissions::from_mode(mode);
            self.temporary.as_file().set_permissions(permissions).map_err(Error::io(path, help))?;
        }
        #[cfg(not(unix))]
        let _ = mode;
        self.temporary.as_file().sync_all().map_err(Error::io(path, help))?;
        self.temporary.persist(path).map_err(|error| Error::io(path, help)(error.error))?;
        sync_folder(parent(path))
    }
}

/// Permission of a public file.
pub const PUBLIC: u32 = 0o644;
/// Permission of a secret.
pub const SECRET: u32 = 0o600;

/// Writes a whole file at once: it is there completely or not at all.
///
/// # Errors
/// [`Error::Io`]; what was there before stays.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let mut replacement = Replacement::new(path)?;
    replacement
        .file()
        .write_all(bytes)
        .map_err(Error::io(path, "nothing was replaced; free some space and try again"))?;
    replacement.commit(mode)
}

/// The folder of a path; `.` for a bare name.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(folder: &Path) -> Result<(), Error> {
    // Elsewhere than on Unix a folder cannot be opened as a file, and a rename is durable without it.
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder, "check the disk"))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
