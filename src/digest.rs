//! Hashes an artifact.

use std::path::Path;

use countermark_io::files;
use countermark_lineage::digest::Hash;
use countermark_lineage::digest::artifact::Artifact;
use countermark_lineage::digest::checkpoint::{self, Tensor};
use countermark_lineage::digest::listing::File;
use countermark_lineage::digest::xet::{self, XetHash};
use serde::Serialize;

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
    /// The Xet hash of every file, in the order of `files`, when asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub xet: Vec<XetHash>,
    /// The tensors root and every tensor, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Tensors>,
}

/// The tensors of a model.
#[derive(Clone, Debug, Serialize)]
pub struct Tensors {
    /// The tensors root.
    pub root: Hash,
    /// Sorted by name.
    pub list: Vec<Tensor>,
}

/// Which digests to compute beside the root.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The tensors root.
    pub tensors: bool,
    /// SHA-256 of the file or listing.
    pub sha256: bool,
    /// The Xet hash of every file.
    pub xet: bool,
}

/// Hashes `path`.
///
/// # Errors
/// When a file cannot be read, or tensors are asked for and there are none.
pub fn digest(path: &Path, options: Options, progress: &impl Progress) -> Result<Digest, Error> {
    let artifact = files::open(path)?;
    progress.begin("hash", artifact.total_size());
    let measured = artifact.measure_with(&|bytes| progress.advance(bytes), options.sha256)?;
    let xet = if options.xet { xet_of(&artifact, progress)? } else { vec![] };
    let tensors = if options.tensors { Some(tensors_of(path, &artifact, progress)?) } else { None };
    Ok(Digest {
        root: measured.root,
        files: measured.listing.files().to_vec(),
        card: measured.card,
        sha256: options.sha256.then_some(measured.manifest_asset),
        xet,
        tensors,
    })
}

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

fn tensors_of(path: &Path, artifact: &Artifact, progress: &impl Progress) -> Result<Tensors, Error> {
    progress.begin("hash tensors", artifact.total_size());
    let list = artifact.tensors(&|bytes| progress.advance(bytes))?.ok_or_else(|| {
        let help = "tensors are read from safetensors, GGUF, ONNX, PyTorch (zip, .distcp) and NumPy files; convert an \
                    older PyTorch pickle to safetensors where you trust it, and leave --tensors out for anything else";
        countermark_io::Error::refused(path, "holds no weights that can be read", help)
    })?;
    Ok(Tensors { root: checkpoint::root(&list), list })
}
