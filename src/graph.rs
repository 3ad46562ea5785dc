//! Takes bundles into a store of statements, and opens the store for questions.
//!
//! The questions themselves are in [`countermark_lineage::graph::query`] and [`countermark_lineage::graph::check`]; they work
//! on any store.

use std::fs;
use std::path::{Path, PathBuf};

use countermark_io::{files, store};
use countermark_lineage::bundle::{Bundle, MAX_BUNDLE};
use countermark_lineage::graph::store::{Batch, Imported, Store};

use crate::{Error, Progress};

/// The environment variable that names the store.
pub const STORE_VARIABLE: &str = "COUNTERMARK_STORE";

/// The store when nobody names one: a file in the current folder.
pub const DEFAULT_STORE: &str = "lineage.db";

/// The store that was named, or else that of the environment, or else [`DEFAULT_STORE`].
pub fn place(named: Option<&str>) -> String {
    let environment = || std::env::var(STORE_VARIABLE).ok().filter(|place| !place.is_empty());
    named.map(str::to_owned).or_else(environment).unwrap_or_else(|| DEFAULT_STORE.to_owned())
}

/// Opens the store at `place` ([`place`]): a file, or `postgres://…`.
///
/// # Errors
/// When there is none, or it cannot be used.
pub fn open(place: &str) -> Result<Box<dyn Store>, Error> {
    Ok(store::open(place, false)?)
}

/// Checks every statement of these bundles, and of those in these folders, and takes them into the store at `place`,
/// which is made when it is not there: all or none.
///
/// # Errors
/// When a bundle cannot be read, a statement does not verify, an edge disagrees with what it points at, or the store
/// cannot be written. Nothing was stored then.
pub fn import(paths: &[PathBuf], place: &str, progress: &impl Progress) -> Result<Imported, Error> {
    let bundles = bundles(paths)?;
    let mut store = store::open(place, true)?;
    progress.begin("import bundles", bundles.len() as u64);
    let mut batches = bundles.iter().map(|path| {
        let batch = read(path).map_err(|error| match error {
            Error::Lineage(error) => error,
            Error::Io(countermark_io::Error::Io { path, source, help }) => {
                countermark_lineage::Error::input(path, source.to_string(), help + "; nothing was stored")
            }
            Error::Io(countermark_io::Error::Refused { path, problem, help }) => {
                countermark_lineage::Error::input(path, problem, help + "; nothing was stored")
            }
            other => {
                countermark_lineage::Error::input(path.display().to_string(), other.to_string(), "nothing was stored")
            }
        });
        progress.advance(1);
        batch
    });
    Ok(store.import(&mut batches)?)
}

/// Reads a bundle and checks its statements.
fn read(path: &Path) -> Result<Batch, Error> {
    let bundle = Bundle::parse(&files::read(path, MAX_BUNDLE)?).map_err(|error| {
        let help = "name bundles, NAME.provenance.json, or folders that hold some";
        countermark_io::Error::refused(path, error.problem(), help)
    })?;
    Ok(Batch::of(&path.display().to_string(), &bundle)?)
}

/// The files that were named, and every `*.provenance.json` below the folders, in the order of their paths.
fn bundles(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        let mut folders = vec![path.clone()];
        while let Some(folder) = folders.pop() {
            let help = "check that the folder can be read";
            for entry in fs::read_dir(&folder).map_err(countermark_io::Error::io(&folder, help))? {
                let entry = entry.map_err(countermark_io::Error::io(&folder, help))?;
                let kind = entry.file_type().map_err(countermark_io::Error::io(&entry.path(), help))?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() && entry.file_name().to_string_lossy().ends_with(".provenance.json") {
                    found.push(entry.path());
                }
            }
        }
        if found.len() == before {
            let help = "name bundles, NAME.provenance.json, or folders that hold some";
            return Err(countermark_io::Error::refused(path, "holds no bundle", help).into());
        }
        found[before..].sort();
    }
    Ok(found)
}
