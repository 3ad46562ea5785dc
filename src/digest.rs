//! Hashes an artifact, and says in what two of them differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use countermark_formats::ReadAt as _;
use countermark_io::files;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::{Artifact, Sha256, Wants};
use countermark_lineage::digest::checkpoint::{self, Tensor};
use countermark_lineage::digest::listing::File;
use countermark_lineage::digest::parts::{self, Document};
use serde::Serialize;

use crate::cache::Remembered;
use crate::progress::begin_hashing;
use crate::{Error, Progress};

/// What hashing a path gives.
#[derive(Clone, Debug, Serialize)]
pub struct Digest {
    /// Root: plain BLAKE3 of a file, BLAKE3 of a folder's listing.
    pub root: Hash,
    /// Every file of the artifact.
    pub files: Vec<File>,
    /// BLAKE3 of a folder's model card, which is not part of the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<Hash>,
    /// SHA-256 of the file, or of a folder's listing, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Hash>,
    /// The tensors root and every tensor, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Tensors>,
    /// Bytes of files that were read for this; less than their sizes when digests came from the cache.
    #[serde(skip)]
    pub bytes_read: u64,
    /// Files whose digests came from the cache.
    #[serde(skip)]
    pub recalled: usize,
    /// What is wrong with the cache, for people.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// The tensors of a model.
#[derive(Clone, Debug, Serialize)]
pub struct Tensors {
    /// The tensors root.
    pub root: Hash,
    /// Sorted by name.
    pub list: Vec<Tensor>,
}

/// Which digests to compute beside the root, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The tensors root.
    pub tensors: bool,
    /// SHA-256 of the file or listing.
    pub sha256: bool,
    /// Take digests of untouched files from the user's cache, and keep new ones there.
    pub cache: bool,
}

/// Hashes `path`.
///
/// # Errors
/// When a file cannot be read or changes meanwhile, or tensors are asked for and there are none.
pub fn digest(path: &Path, options: Options, progress: &impl Progress) -> Result<Digest, Error> {
    let artifact = files::open(path)?;
    begin_hashing(progress, "hash", &artifact);
    let sha256 = if options.sha256 { Sha256::Manifest } else { Sha256::No };
    let cache = Remembered::open(options.cache, None);
    let wants = Wants { sha256, tensors: options.tensors, cache: cache.as_cache() };
    let reading = artifact.read_once(&wants, &|bytes| progress.advance(bytes))?;
    let warnings = cache.close();
    let tensors = if options.tensors {
        let list = reading.tensors?.ok_or_else(|| {
            let help = "tensors are read from .safetensors and .gguf files; leave --tensors out for anything else";
            countermark_io::Error::refused(path, "holds no weights that can be read", help)
        })?;
        Some(Tensors { root: checkpoint::root(&list), list })
    } else {
        None
    };
    let measured = reading.measured;
    Ok(Digest {
        root: measured.root,
        files: measured.listing.into(),
        card: measured.card,
        sha256: options.sha256.then_some(measured.manifest_asset),
        tensors,
        bytes_read: reading.bytes_read,
        recalled: reading.recalled,
        warnings,
    })
}

/// Hashes `length` bytes at `offset` of one file, for [`merge`]; cut at the end of the file.
///
/// # Errors
/// When the path is a folder, these bytes are no subtree of BLAKE3, or they cannot be read.
pub fn part(path: &Path, offset: u64, length: u64, progress: &impl Progress) -> Result<Document, Error> {
    let artifact = files::open(path)?;
    let [(name, source)] = &*artifact.files else {
        let help = "name one file; a folder's files are hashed one by one";
        return Err(countermark_io::Error::refused(path, "is a folder", help).into());
    };
    let size = source.len();
    let length = length.min(size.saturating_sub(offset));
    progress.begin("hash part", length);
    let part = parts::hash_part_with(&**source, offset, length, &|bytes| progress.advance(bytes))?;
    Ok(Document::new(name, size, vec![part]))
}

/// Joins parts of one file, read from the documents that [`part`] made: the file's name and its plain BLAKE3.
///
/// # Errors
/// When a document cannot be read, or the parts do not make up the file.
pub fn merge(paths: &[PathBuf]) -> Result<(String, Hash), Error> {
    let read = |path: &PathBuf| {
        let document = Document::parse(&files::read(path, MAX_DOCUMENT)?);
        document.map_err(|error| countermark_io::Error::refused(path, error.problem(), "hash the part again").into())
    };
    let documents = paths.iter().map(read).collect::<Result<Vec<_>, Error>>()?;
    Ok(Document::merge(&documents)?)
}

/// A document of parts may be so long: two million parts.
const MAX_DOCUMENT: u64 = 256 << 20;

/// In what two artifacts differ.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// True when both roots are equal.
    pub identical: bool,
    /// Files that only the first has.
    pub only_in_first: Vec<String>,
    /// Files that only the second has.
    pub only_in_second: Vec<String>,
    /// Files with other bytes.
    pub changed: Vec<String>,
    /// One row per tensor, when both are models.
    pub tensors: Vec<TensorDiff>,
}

/// In what one tensor differs.
#[derive(Clone, Debug, Serialize)]
pub struct TensorDiff {
    /// Its name.
    pub name: String,
    /// `identical`, `changed`, `added` or `removed`.
    pub change: &'static str,
    /// ‖second − first‖ / ‖first‖, when both are float tensors of one shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<f64>,
}

/// Compares two artifacts by file, and two models by tensor.
///
/// # Errors
/// When a file cannot be read or a model file is malformed.
pub fn diff(first: &Path, second: &Path, progress: &impl Progress) -> Result<Diff, Error> {
    let (a, b) = (files::open(first)?, files::open(second)?);
    progress.begin("hash", a.total_size() + b.total_size());
    let advance = |bytes| progress.advance(bytes);
    let (measured_a, measured_b) = (a.measure_with(&advance, false)?, b.measure_with(&advance, false)?);
    let by_path = |files: &[File]| -> BTreeMap<String, Hash> {
        files.iter().map(|file| (file.path.clone(), file.blake3)).collect()
    };
    let (mut files_a, mut files_b) = (by_path(measured_a.listing.files()), by_path(measured_b.listing.files()));
    if !a.is_folder && !b.is_folder {
        // Two single files are compared whatever they are called.
        files_a = files_a.into_values().map(|hash| (a.name.clone(), hash)).collect();
        files_b = files_b.into_values().map(|hash| (a.name.clone(), hash)).collect();
    }
    let missing = |from: &BTreeMap<String, Hash>, of: &BTreeMap<String, Hash>| -> Vec<String> {
        of.keys().filter(|path| !from.contains_key(*path)).cloned().collect()
    };
    let changed = files_a.iter().filter(|(path, hash)| files_b.get(*path).is_some_and(|other| other != *hash));
    Ok(Diff {
        identical: measured_a.root == measured_b.root,
        only_in_first: missing(&files_b, &files_a),
        only_in_second: missing(&files_a, &files_b),
        changed: changed.map(|(path, _)| path.clone()).collect(),
        tensors: diff_tensors(&a, &b, progress)?,
    })
}

fn diff_tensors(a: &Artifact, b: &Artifact, progress: &impl Progress) -> Result<Vec<TensorDiff>, Error> {
    progress.begin("compare tensors", a.total_size() + b.total_size());
    let advance = |bytes| progress.advance(bytes);
    let (Some(list_a), Some(list_b)) = (a.tensors(&advance)?, b.tensors(&advance)?) else { return Ok(vec![]) };
    let (Some(model_a), Some(model_b)) = (a.checkpoint()?, b.checkpoint()?) else { return Ok(vec![]) };
    let names: BTreeSet<&String> = list_a.iter().chain(&list_b).map(|tensor| &tensor.name).collect();
    let find = |list: &[Tensor], name: &str| list.binary_search_by(|tensor| (*tensor.name).cmp(name)).ok();
    names
        .into_iter()
        .map(|name| {
            let (change, drift) = match (find(&list_a, name), find(&list_b, name)) {
                (Some(i), Some(j)) if list_a[i] == list_b[j] => ("identical", None),
                (Some(i), Some(j)) => ("changed", countermark_watermark::drift((&model_a, i), (&model_b, j))?),
                (Some(_), None) => ("removed", None),
                _ => ("added", None),
            };
            Ok(TensorDiff { name: name.clone(), change, drift })
        })
        .collect()
}
