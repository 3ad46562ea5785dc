//! A manifest inside the file that it is about.
//!
//! [`embed()`] writes a copy of a file with a manifest that stands by itself. A release has a statement too, and is made by
//! [`crate::sign`] with [`embed`](crate::sign::Request::embed).

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countermark_formats::ReadAt;
use countermark_formats::manifest::{self, Found};
use countermark_io::c2pa::Signer;
use countermark_io::c2pa::embed::prepare_alone;
use countermark_io::{files, keys};
use countermark_lineage::credential::embedded::embedding;
use countermark_lineage::digest::artifact::Artifact;
use countermark_lineage::digest::{Hash, tensors};
use countermark_lineage::graph::Kind;
use serde::Serialize;

use crate::progress::begin_hashing;
use crate::sign::{certificates, kind_of, refuse};
use crate::{Error, Progress};

/// What to put a manifest into.
#[derive(Clone, Debug)]
pub struct Request {
    /// A safetensors, ONNX or Parquet file.
    pub path: PathBuf,
    /// `owner.key`; `owner.crt` is expected beside it.
    pub key: PathBuf,
    /// Where the copy with the manifest goes. Nothing may be there.
    pub out: PathBuf,
    /// What the file is; told from its name when left out.
    pub kind: Option<Kind>,
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Embedded {
    /// The copy.
    pub path: PathBuf,
    /// Root of the file before.
    pub root: Hash,
    /// SHA-256 of the manifest store.
    pub manifest: Hash,
    /// First byte of the manifest's text in the copy, and the one past it.
    pub span: (u64, u64),
}

/// Writes a copy of a file with a C2PA manifest inside. The manifest names no statement.
///
/// # Errors
/// When the file has no place for a manifest or holds one, when something is at `out`, when key or certificate cannot be
/// used; nothing is written then.
pub fn embed(request: &Request, progress: &impl Progress) -> Result<Embedded, Error> {
    let key = keys::load(&request.key)?;
    let signer = Signer::new(key, &certificates(&request.key)?)?;
    let artifact = files::open(&request.path)?;
    check(&artifact, &request.path, &request.out)?;
    begin_hashing(progress, "hash", &artifact);
    let root = artifact.measure_with(&|bytes| progress.advance(bytes), false)?.root;
    let source = &artifact.files[0].1;
    let kind = request.kind.unwrap_or_else(|| kind_of(&artifact));
    progress.begin("write", source.len());
    let advance = |bytes| progress.advance(bytes);
    let copy = prepare_alone(&artifact.name, kind, root, source, &request.out, &signer, &advance)?;
    let Range { start, end } = copy.span();
    let manifest = Hash::sha256(copy.store());
    copy.commit()?;
    Ok(Embedded { path: request.out.clone(), root, manifest, span: (start, end) })
}

/// Can a manifest be put into this artifact, and the copy go to `out`? Asked before anything is hashed.
pub(crate) fn check(artifact: &Artifact, path: &Path, out: &Path) -> Result<(), Error> {
    let ([(name, source)], false) = (&*artifact.files, artifact.is_folder) else {
        let help = "name one of its files, or sign the folder without embedding: its sidecar covers all files";
        return Err(refuse(path, "is a folder, and a manifest is embedded in a single file".to_owned(), help));
    };
    if std::fs::symlink_metadata(out).is_ok() {
        return Err(refuse(out, "is there already".to_owned(), "choose another name, or remove it first"));
    }
    let sidecar = PathBuf::from(format!("{}.c2pa", out.display()));
    if sidecar.exists() {
        let help = "remove it, or choose another name for the copy";
        return Err(refuse(&sidecar, "would stand beside the copy and speak for other bytes".to_owned(), help));
    }
    let format = |source| Error::Format { path: path.display().to_string(), source };
    if manifest::find(name, &**source, None).map_err(|problem| format(problem.error))?.is_some() {
        let help = "take the file as it was before that manifest came into it";
        return Err(refuse(path, "holds a C2PA manifest already".to_owned(), help));
    }
    manifest::insert(name, source, 1).map_err(format)?;
    // External data of an ONNX model would not be covered.
    tensors::open(artifact)?;
    Ok(())
}

/// The artifact as it was before `store` came into its file; `None` when this store is not in it, or is not made to be.
pub(crate) fn before(artifact: &Artifact, store: Option<&[u8]>) -> Result<Option<Artifact>, Error> {
    let ([(name, source)], Some(store), false) = (&*artifact.files, store, artifact.is_folder) else { return Ok(None) };
    let Some(said) = embedding(store).ok().flatten() else { return Ok(None) };
    let format = |source| Error::Format { path: name.clone(), source };
    let found = manifest::find(name, &**source, Some(said.format)).map_err(|problem| format(problem.error))?;
    let Some(Found::Embedded(found)) =
        found.filter(|found| matches!(found, Found::Embedded(found) if found.store == store))
    else {
        return Ok(None);
    };
    let original = found.take_out(source, &said.undo).map_err(format)?;
    Ok(Some(artifact.with_files(vec![(name.clone(), Arc::new(original.view) as Arc<dyn ReadAt>)])))
}
