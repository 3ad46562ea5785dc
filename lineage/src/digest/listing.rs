//! The listing of an artifact: its files, sorted, in the one text form that is hashed.
//!
//! ```text
//! countermark-listing/v1
//! HEX SIZE PATH
//! ```
//!
//! One line per file, sorted by the bytes of the path; `HEX` is the plain BLAKE3 of the file, `SIZE` its decimal length.
//! The **root** of a folder is the BLAKE3 of this text; the root of a single file is the plain BLAKE3 of the file, so
//! that `b3sum` agrees.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::Hash;
use crate::Error;

const HEADER: &str = "countermark-listing/v1\n";

/// One file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Relative path with `/`, as stored.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// Plain BLAKE3 of the bytes.
    pub blake3: Hash,
}

/// The files of an artifact, sorted by path, each path once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<File>", into = "Vec<File>")]
pub struct Listing(Vec<File>);

impl Listing {
    /// Sorts `files` and refuses paths that would mean different things on different machines.
    pub fn new(mut files: Vec<File>) -> Result<Self, Error> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        for file in &files {
            check_path(&file.path)?;
        }
        for pair in files.windows(2) {
            if pair[0].path == pair[1].path {
                return Err(Error::input(&pair[0].path, "listed twice", "list each file once"));
            }
        }
        refuse_case_twins(&files)?;
        if files.is_empty() {
            return Err(Error::input("listing", "no files", "an artifact holds at least one file"));
        }
        Ok(Listing(files))
    }

    /// The files, sorted by path.
    pub fn files(&self) -> &[File] {
        &self.0
    }

    /// Bytes of all files together.
    pub fn total_size(&self) -> u64 {
        self.0.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// The text that is hashed, and that a folder's C2PA manifest binds.
    pub fn to_text(&self) -> String {
        let mut text =
            String::with_capacity(HEADER.len() + self.0.iter().map(|file| file.path.len() + 88).sum::<usize>());
        text.push_str(HEADER);
        for file in &self.0 {
            let _ = writeln!(text, "{} {} {}", file.blake3, file.size, file.path);
        }
        text
    }

    /// BLAKE3 of [`Listing::to_text`]: the root of a folder.
    pub fn root(&self) -> Hash {
        Hash::blake3(self.to_text().as_bytes())
    }
}

impl TryFrom<Vec<File>> for Listing {
    type Error = String;

    fn try_from(files: Vec<File>) -> Result<Self, String> {
        Listing::new(files).map_err(|error| error.problem())
    }
}

impl From<Listing> for Vec<File> {
    fn from(listing: Listing) -> Self {
        listing.0
    }
}

/// Refuses a path that is absolute, climbs, is not in its shortest form, or holds a control character.
pub fn check_path(path: &str) -> Result<(), Error> {
    let problem = if path.is_empty() {
        "empty path"
    } else if path.starts_with('/') {
        "absolute path"
    } else if path.chars().any(char::is_control) {
        "control character in the path"
    } else if path.contains('\\') {
        "backslash in the path"
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "path with an empty part, '.' or '..'"
    } else {
        return Ok(());
    };
    Err(Error::input(format!("{path:?}"), problem, "use relative paths below the artifact's folder, with '/'"))
}

/// Two names that differ in case only are one file on some machines.
fn refuse_case_twins(files: &[File]) -> Result<(), Error> {
    let has_cases = |file: &File| file.path.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii());
    if !files.iter().any(has_cases) {
        return Ok(()); // The paths are different, and folding leaves each as it is.
    }
    let mut folded: Vec<(String, &str)> = files.iter().map(|file| (file.path.to_lowercase(), &*file.path)).collect();
    folded.sort();
    match folded.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(Error::input(
            pair[1].1,
            format!("differs from {:?} in case only", pair[0].1),
            "rename one of the two: they are one file on some machines",
        )),
        None => Ok(()),
    }
}

/// Regular files at the top of a folder that do not belong to its listing: what speaks for the artifact lies beside it.
///
/// Only these names, only there, and never folders or links: a loader may read anything else. `verify` compares bundles
/// and manifests among them with the ones that it checked.
pub fn is_provenance(path: &str) -> bool {
    let named =
        path.ends_with(".provenance.json") || path.ends_with(".c2pa") || path == "model.sig" || path == "badge.svg";
    named && !path.contains('/')
}

/// Names at the top of a folder that belong to version control.
pub fn is_version_control(name: &str) -> bool {
    matches!(name, ".git" | ".hg" | ".svn" | ".gitattributes" | ".gitignore")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> File {
        File { path: path.into(), size: 1, blake3: Hash::blake3(b"1") }
    }

    #[test]
    fn the_root_hashes_the_documented_text() {
        let listing = Listing::new(vec![file("b"), file("a/c")]).unwrap();
        let hex = Hash::blake3(b"1");
        assert_eq!(listing.to_text(), format!("countermark-listing/v1\n{hex} 1 a/c\n{hex} 1 b\n"));
        assert_eq!(listing.root(), Hash::blake3(listing.to_text().as_bytes()));
    }

    #[test]
    fn paths_that_mean_different_things_elsewhere_are_refused() {
        for path in ["", "/a", "a/../b", "./a", "a//b", "a/", "a\nb", "a\\b"] {
            assert!(Listing::new(vec![file(path)]).is_err(), "{path:?}");
        }
        assert!(Listing::new(vec![file("a"), file("a")]).is_err());
        assert!(Listing::new(vec![file("README"), file("readme")]).is_err());
        assert!(Listing::new(vec![]).is_err());
    }

    #[test]
    fn provenance_is_not_part_of_the_artifact() {
        for name in ["model.provenance.json", "model.safetensors.c2pa", "model.sig", "badge.svg"] {
            assert!(is_provenance(name), "{name}");
        }
        assert!(!is_provenance("model.safetensors") && !is_provenance("sub/model.c2pa"));
        assert!(is_version_control(".git") && !is_version_control("git"));
    }
}
