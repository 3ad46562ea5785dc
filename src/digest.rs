//! Hashes an artifact.

use std::path::{Path, PathBuf};

use countermark_formats::ReadAt as _;
use countermark_io::files;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::{Artifact, Sha256, Wants};
use countermark_lineage::digest::checkpoint::{self, Tensor};
use countermark_lineage::digest::listing::File;
use countermark_lineage::digest::parts::{self, Document};
use countermark_lineage::digest::records::Records;
use countermark_lineage::digest::xet::{self, XetHash};
use serde::Serialize;

use crate::cache::Remembered;
use crate::progress::begin_hashing;
use crate::{Error, Progress, records};

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
    /// The Xet hash of every file, in the order of `files`, when asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub xet: Vec<XetHash>,
    /// The tensors root and every tensor, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Tensors>,
    /// The record tree, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<Records>,
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
    /// The Xet hash of every file.
    pub xet: bool,
    /// The record tree.
    pub records: Option<records::Tree>,
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
    let xet = if options.xet { xet_of(&artifact, progress)? } else { vec![] };
    let warnings = cache.close();
    let tensors = if options.tensors {
        let list = reading.tensors?.ok_or_else(|| {
            let help = "tensors are read from safetensors, GGUF, ONNX, PyTorch (zip, .distcp) and NumPy files; convert an \
                        older PyTorch pickle to safetensors where you trust it, and leave --tensors out for anything else";
            countermark_io::Error::refused(path, "holds no weights that can be read", help)
        })?;
        Some(Tensors { root: checkpoint::root(&list), list })
    } else {
        None
    };
    let measured = reading.measured;
    let records =
        options.records.map(|tree| records::measure(&artifact, &measured, tree, None, progress)).transpose()?;
    Ok(Digest {
        root: measured.root,
        files: measured.listing.into(),
        card: measured.card,
        sha256: options.sha256.then_some(measured.manifest_asset),
        xet,
        tensors,
        records,
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

fn xet_of(artifact: &Artifact, progress: &impl Progress) -> Result<Vec<XetHash>, Error> {
    progress.begin("xet hash", artifact.total_size());
    let mut files: Vec<_> = artifact.files.iter().collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    let hash = |(path, source): &&(String, countermark_formats::Source)| {
        let hash = xet::hash(&**source, &|bytes| progress.advance(bytes));
        hash.map_err(|error| countermark_lineage::Error::io(path)(error).into())
    };
    files.iter().map(hash).collect()
}
