//! Every regular file of a model, as OpenSSF Model Signing counts them: all names in UTF-8, hidden ones too, but for
//! paths that are left out.
//!
//! Links are refused, or followed where a signature says that its signer did: then they must lead to something inside
//! the model, and not to a folder that they are in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countermark_formats::ReadAt;
use countermark_lineage::credential::oms::is_ignored;
use countermark_lineage::digest::artifact::{Artifact, Names};
use countermark_lineage::digest::listing::is_provenance;
use countermark_lineage::verify::oms::Selection;

use crate::Error;
use crate::files::{self, OpenFile};
use crate::open_file::Root;

/// Above so many files, none is kept open.
const MANY: usize = 200;
/// Folders in folders, links followed.
const DEEPEST: usize = 200;

/// Opens all files of the model at `path`, which may be one file, or a URL. Those that exist and are left out are in
/// [`Artifact::ignored`].
///
/// # Errors
/// [`Error::Io`]; [`Error::Refused`] for links that are not followed, names that are not UTF-8, pipes and devices.
pub fn open(path: &Path, selection: &Selection) -> Result<Artifact, Error> {
    if files::is_url(path) {
        return remote(path, selection);
    }
    let path = &files::local(path)?;
    let name = files::base_name(path)?;
    let metadata = fs::metadata(path).map_err(Error::io(path, "check the path of the model"))?;
    if !metadata.is_dir() {
        let source: Arc<dyn ReadAt> = Arc::new(OpenFile::open(path)?);
        let files = vec![(name.clone(), source)];
        return Ok(Artifact { files, ..files::empty(name, false) });
    }
    let root = Root::open(path).map_err(Error::io(path, "check that the folder can be read"))?;
    let listed = Listed::of(path, selection)?;
    let later = listed.files.len() > MANY;
    let open = |(relative, is_link): &(String, bool)| {
        let source: Arc<dyn ReadAt> = match is_link {
            true => Arc::new(OpenFile::open(&path.join(relative))?),
            false => Arc::new(OpenFile::found(&root, relative, later)?),
        };
        Ok((relative.clone(), source))
    };
    let files = listed.files.iter().map(open).collect::<Result<Vec<_>, Error>>()?;
    let ignored = listed.left_out.clone();
    let folder = Folder { path: path.clone(), selection: selection.clone(), files: listed.files };
    let names: Arc<dyn Names> = Arc::new(folder);
    Ok(Artifact { files, ignored, names: Some(names), ..files::empty(name, true) })
}

/// Everything under a URL that is not left out. A listing there knows no links.
fn remote(path: &Path, selection: &Selection) -> Result<Artifact, Error> {
    let mut artifact = files::open(path)?;
    let card = artifact.card.take().map(|card| (countermark_lineage::digest::artifact::CARD.to_owned(), card));
    let all = artifact.files.drain(..).chain(card).chain(artifact.provenance.drain(..)).collect::<Vec<_>>();
    let is_left_out = |name: &str| artifact.is_folder && is_ignored(name, &selection.left_out);
    let (out, mut files): (Vec<_>, Vec<_>) = all.into_iter().partition(|(name, _)| is_left_out(name));
    files.sort_by(|a, b| a.0.cmp(&b.0));
    let ignored = out.into_iter().map(|(name, _)| name).collect();
    Ok(Artifact { files, ignored, ..artifact })
}

/// A folder as it was listed.
struct Folder {
    path: PathBuf,
    selection: Selection,
    files: Vec<(String, bool)>,
}

impl Names for Folder {
    fn unchanged(&self) -> io::Result<()> {
        let now = Listed::of(&self.path, &self.selection).map_err(io::Error::other)?;
        if now.files == self.files {
            return Ok(());
        }
        Err(io::Error::other("files were added or removed while the model was read; wait until nothing writes there"))
    }
}

/// Relative paths, sorted.
#[derive(Default)]
struct Listed {
    /// Each with whether a link was followed on the way.
    files: Vec<(String, bool)>,
    left_out: Vec<String>,
}

impl Listed {
    fn of(top: &Path, selection: &Selection) -> Result<Self, Error> {
        let mut listed = Listed::default();
        let home = fs::canonicalize(top).map_err(Error::io(top, "check the path of the model"))?;
        let walk = Walk { top, home: home.clone(), selection };
        let mut above = vec![home];
        walk.folder("", false, &mut above, &mut listed)?;
        listed.files.sort_unstable();
        listed.left_out.sort_unstable();
        Ok(listed)
    }
}

struct Walk<'a> {
    top: &'a Path,
    /// Without links in it.
    home: PathBuf,
    selection: &'a Selection,
}

impl Walk<'_> {
    fn folder(&self, relative: &str, linked: bool, above: &mut Vec<PathBuf>, listed: &mut Listed) -> Result<(), Error> {
        let folder = self.top.join(relative);
        let help = "check that the folder can be read";
        if above.len() > DEEPEST {
            return Err(Error::refused(&folder, format!("is more than {DEEPEST} folders deep"), "sign a part of it"));
        }
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder, help))? {
            let entry = entry.map_err(Error::io(&folder, help))?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(Error::refused(&entry.path(), "has a name that is not UTF-8", "rename it"));
            };
            let relative = if relative.is_empty() { name } else { format!("{relative}/{name}") };
            // What is above it was looked at on the way here.
            if self.selection.left_out.contains(&relative) {
                if is_provenance(&relative) && entry.file_type().map_err(Error::io(&folder, help))?.is_dir() {
                    let problem = "is a folder, and only a file of this name speaks for the model and is left out";
                    return Err(Error::refused(&entry.path(), problem, "rename it, so that it is looked at"));
                }
                listed.left_out.push(relative);
                continue;
            }
            let path = entry.path();
            let kind = entry.file_type().map_err(Error::io(&path, help))?;
            let (kind, linked, target) = if kind.is_symlink() {
                let target = self.target(&path)?;
                (fs::metadata(&path).map_err(Error::io(&path, help))?.file_type(), true, Some(target))
            } else {
                (kind, linked, None)
            };
            if kind.is_file() {
                listed.files.push((relative, linked));
            } else if kind.is_dir() {
                let real = target.unwrap_or_else(|| above.last().unwrap_or(&self.home).join(entry.file_name()));
                if above.contains(&real) {
                    return Err(Error::refused(&path, "is a link to a folder that it is in", "remove the link"));
                }
                above.push(real);
                self.folder(&relative, linked, above, listed)?;
                above.pop();
            } else {
                return Err(Error::refused(&path, "is neither file nor folder", "remove it, or leave it out"));
            }
        }
        Ok(())
    }

    /// Where a link leads, if links may be followed and it stays inside the model.
    fn target(&self, path: &Path) -> Result<PathBuf, Error> {
        if !self.selection.follow_links {
            let problem = "is a symbolic link, and what it leads to can change without the model changing";
            return Err(Error::refused(path, problem, "replace links by files, for instance with `cp -rL MODEL COPY`"));
        }
        let target = fs::canonicalize(path).map_err(Error::io(path, "the link leads nowhere; remove it"))?;
        if !target.starts_with(&self.home) {
            return Err(Error::refused(path, "is a link that leads out of the model", "replace it by a file"));
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(left_out: &[&str], follow_links: bool) -> Selection {
        Selection { left_out: left_out.iter().map(|path| (*path).to_owned()).collect(), follow_links }
    }

    fn names(path: &Path, selection: &Selection) -> Vec<String> {
        open(path, selection).unwrap().files.into_iter().map(|(name, _)| name).collect()
    }

    fn model() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", ".hidden", "b/c", "b/.git/x", ".git/config", "x.sig"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        folder
    }

    #[test]
    fn everything_counts_but_what_is_left_out() {
        let model = model();
        let found = open(model.path(), &selection(&[".git", "x.sig"], false)).unwrap();
        let names: Vec<&str> = found.files.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, [".hidden", "a", "b/.git/x", "b/c"]);
        assert_eq!(found.ignored, [".git", "x.sig"]);
        assert!(found.names.as_ref().unwrap().unchanged().is_ok());
        fs::write(model.path().join("new"), "").unwrap();
        assert!(found.names.as_ref().unwrap().unchanged().is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_when_asked_and_never_out_or_in_circles() {
        use std::os::unix::fs::symlink;
        let model = model();
        let at = |name: &str| model.path().join(name);
        symlink("a", at("link")).unwrap();
        assert!(open(model.path(), &selection(&[], false)).is_err());
        assert!(
            names(model.path(), &selection(&["link"], false)).contains(&"a".to_owned()),
            "what is left out may be a link"
        );
        assert!(names(model.path(), &selection(&[], true)).contains(&"link".to_owned()));
        symlink("b", at("d")).unwrap();
        assert!(names(model.path(), &selection(&[], true)).contains(&"d/c".to_owned()));
        for (target, name) in [("..", "b/loop"), ("/etc/hostname", "out"), ("nowhere", "broken")] {
            symlink(target, at(name)).unwrap();
            assert!(open(model.path(), &selection(&[], true)).is_err(), "{name}");
            fs::remove_file(at(name)).unwrap();
        }
    }
}
