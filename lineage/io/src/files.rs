//! Artifacts on disk: opened for positioned reads, written by temporary file, sync and rename.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countermark_formats::ReadAt;
use countermark_lineage::digest::artifact::{Artifact, CARD, Names};
use countermark_lineage::digest::listing::{check_path, is_provenance, is_version_control};

use crate::Error;
pub use crate::open_file::OpenFile;
use crate::open_file::{Root, Stamp, regular, settled};

/// Above so many files in a folder, none is kept open.
const MANY: usize = 200;

/// Opens a file, or a folder with everything below it that is not provenance; also by URL.
///
/// # Errors
/// [`Error::Io`]; [`Error::Refused`] for links inside a folder, names that are not UTF-8, and empty folders.
pub fn open(path: &Path) -> Result<Artifact, Error> {
    if let Some(url) = url(path)? {
        #[cfg(feature = "object-store")]
        return crate::remote::open(url);
    }
    let local = from_file_url(path)?;
    let path = local.as_deref().unwrap_or(path);
    let name = base_name(path)?;
    let metadata = fs::metadata(path).map_err(Error::io(path, "check the path"))?;
    if !metadata.is_dir() {
        let source: Arc<dyn ReadAt> = Arc::new(OpenFile::open(path)?);
        let files = vec![(name.clone(), source)];
        return Ok(Artifact { files, ..empty(name, false) });
    }
    let root = Root::open(path).map_err(Error::io(path, "check that the folder can be read"))?;
    let walked = walk(path)?;
    let is_large = walked.files.len() > MANY;
    let mut artifact = Artifact { ignored: walked.ignored.clone(), ..empty(name, true) };
    artifact.files.reserve(walked.files.len());
    let mut kept = Vec::new();
    for relative in &walked.files {
        let file = Arc::new(OpenFile::found(&root, relative, is_large)?);
        if !is_large {
            kept.push(file.clone());
        }
        put(&mut artifact, relative.clone(), file);
    }
    if artifact.files.is_empty() {
        return Err(Error::refused(path, "holds no file to sign or verify", "name the folder that holds the model"));
    }
    artifact.names = Some(Arc::new(Folder { path: path.to_owned(), walked, kept }));
    Ok(artifact)
}

/// An artifact without files.
pub(crate) fn empty(name: String, is_folder: bool) -> Artifact {
    let (files, card, provenance, ignored, names) = (vec![], None, vec![], vec![], None);
    Artifact { name, is_folder, files, card, provenance, ignored, names }
}

/// Puts a file of a folder where it belongs: card, provenance, or the listing.
pub(crate) fn put(artifact: &mut Artifact, relative: String, file: Arc<dyn ReadAt>) {
    let top = relative.split('/').next().unwrap_or_default();
    if is_version_control(top) {
        artifact.ignored.push(top.to_owned());
    } else if relative == CARD {
        artifact.card = Some(file);
    } else if is_provenance(&relative) {
        artifact.provenance.push((relative, file));
    } else {
        artifact.files.push((relative, file));
    }
}

/// Is this path the URL of an object that is fetched? Those of files are paths.
pub fn is_url(path: &Path) -> bool {
    matches!(url(path), Ok(Some(_)) | Err(_))
}

/// The text of a URL that `remote` fetches.
fn url(path: &Path) -> Result<Option<&str>, Error> {
    let Some(text) = path.to_str().filter(|text| text.contains("://")) else { return Ok(None) };
    #[cfg(feature = "object-store")]
    if crate::remote::is_url(text) {
        return Ok(Some(text));
    }
    let is_path = text.starts_with("file://") || path.exists();
    if is_path {
        return Ok(None);
    }
    Err(Error::refused(path, "is a URL that cannot be read", "use s3://, gs://, az://, https://, file:// or a path"))
}

/// The path itself, or the one that the URL of a file names.
///
/// # Errors
/// [`Error::Refused`] for the URL of a file elsewhere, or with escapes.
pub fn local(path: &Path) -> Result<PathBuf, Error> {
    Ok(from_file_url(path)?.unwrap_or_else(|| path.to_owned()))
}

/// The path in `file://PATH`.
fn from_file_url(path: &Path) -> Result<Option<PathBuf>, Error> {
    let Some(rest) = path.to_str().and_then(|text| text.strip_prefix("file://")) else { return Ok(None) };
    if !rest.starts_with('/') || rest.contains('%') {
        return Err(Error::refused(
            path,
            "names another host, or holds escapes",
            "write file:///ABSOLUTE/PATH, or the path",
        ));
    }
    Ok(Some(rest.into()))
}

/// A folder as it was when it was opened.
struct Folder {
    path: PathBuf,
    walked: Walked,
    /// Its files, unless there are too many to look at each again.
    kept: Vec<Arc<OpenFile>>,
}

impl Names for Folder {
    fn unchanged(&self) -> io::Result<()> {
        let is_same = |(relative, stamp): &(String, Stamp)| {
            let folder = self.path.join(relative);
            let now = if relative.is_empty() { fs::metadata(folder)? } else { fs::symlink_metadata(folder)? };
            Ok(Stamp::of(&now) == *stamp)
        };
        let same = self.walked.folders.iter().map(is_same).collect::<io::Result<Vec<bool>>>()?;
        if same.contains(&false) {
            // Something was added, removed or renamed in one of them, which may be none of ours.
            let now = walk(&self.path).map_err(io::Error::other)?;
            let lists = [(&self.walked.files, &now.files, "removed"), (&now.files, &self.walked.files, "added")];
            for (left, right, how) in lists {
                if let Some(file) = left.iter().find(|file| right.binary_search(file).is_err()) {
                    return Err(io::Error::other(format!(
                        "{file} was {how} while the folder was read; wait until nothing writes there, then try again"
                    )));
                }
            }
        }
        for file in &self.kept {
            file.still_there().map_err(|error| io::Error::other(format!("{}: {error}", file.path().display())))?;
        }
        Ok(())
    }
}

/// The last part of a path, also of `.`.
pub(crate) fn base_name(path: &Path) -> Result<String, Error> {
    let whole = match path.file_name() {
        Some(_) => path.to_owned(),
        None => fs::canonicalize(path).map_err(Error::io(path, "check the path"))?,
    };
    let name = whole.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Error::refused(path, "has no name in UTF-8", "rename it"))?;
    check_path(name).map_err(|error| Error::refused(path, error.problem(), "rename it"))?;
    Ok(name.to_owned())
}

/// What is in a folder.
struct Walked {
    /// Relative paths, sorted.
    files: Vec<String>,
    /// Relative paths of the folders, the first one empty for the folder itself.
    folders: Vec<(String, Stamp)>,
    /// Version control at its top.
    ignored: Vec<String>,
}

/// Lists a folder and everything below, but for version control at its top.
fn walk(folder: &Path) -> Result<Walked, Error> {
    let mut walked = Walked { files: vec![], folders: vec![], ignored: vec![] };
    let mut waiting = vec![String::new()];
    while let Some(relative) = waiting.pop() {
        list(folder, relative, &mut walked, &mut waiting)?;
    }
    walked.files.sort_unstable();
    walked.ignored.sort_unstable();
    Ok(walked)
}

/// Lists one folder without those in it, which then wait.
fn list(top: &Path, relative: String, walked: &mut Walked, waiting: &mut Vec<String>) -> Result<(), Error> {
    let help = "check that the folder can be read";
    let folder = top.join(&relative);
    // The stamp comes first, so that whatever is added after it shows.
    let named = || if relative.is_empty() { fs::metadata(&folder) } else { fs::symlink_metadata(&folder) };
    let (metadata, stamp) = settled(named).map_err(Error::io(&folder, help))?;
    if !metadata.is_dir() {
        return Err(Error::refused(
            &folder,
            "is no longer a folder",
            "wait until nothing writes there, then try again",
        ));
    }
    for entry in fs::read_dir(&folder).map_err(Error::io(&folder, help))? {
        let entry = entry.map_err(Error::io(&folder, help))?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(Error::refused(&entry.path(), "has a name that is not UTF-8", "rename it"));
        };
        let relative = if relative.is_empty() { name } else { format!("{relative}/{name}") };
        if is_version_control(&relative) {
            walked.ignored.push(relative);
            continue;
        }
        check_path(&relative).map_err(|error| Error::refused(&entry.path(), error.problem(), "rename it"))?;
        let kind = entry.file_type().map_err(|error| Error::io(&entry.path(), help)(error))?;
        if kind.is_symlink() {
            return Err(Error::refused(
                &entry.path(),
                "is a symbolic link, and what it leads to can change without the folder changing",
                "replace links by files, for instance with `cp -rL FOLDER COPY`",
            ));
        } else if kind.is_dir() {
            waiting.push(relative);
        } else if kind.is_file() {
            walked.files.push(relative);
        } else {
            let help = "remove it, or sign the files one by one";
            return Err(Error::refused(&entry.path(), "is neither file nor folder", help));
        }
    }
    walked.folders.push((relative, stamp));
    Ok(())
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// [`Error::Io`], or [`Error::Refused`] above the limit.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    if let Some(url) = url(path)? {
        #[cfg(feature = "object-store")]
        return crate::remote::read(url, limit);
    }
    let local = from_file_url(path)?;
    let file = regular(local.as_deref().unwrap_or(path))?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(Error::io(path, "check that it is a file"))?;
    if bytes.len() as u64 > limit {
        return Err(Error::refused(path, format!("is above {limit} bytes"), "is this the right file?"));
    }
    Ok(bytes)
}

/// Is there something at this path or URL?
pub fn exists(path: &Path) -> bool {
    #[cfg(feature = "object-store")]
    if let Ok(Some(url)) = url(path) {
        return crate::remote::exists(url);
    }
    path.exists()
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
