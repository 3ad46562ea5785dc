//! An artifact's bytes, and what hashing them gives.

use std::sync::Arc;

use countermark_formats::{Checkpoint, ReadAt};
use rayon::prelude::*;

use super::checkpoint::Tensor;
use super::listing::{File, Listing};
use super::{Hash, blob};
use crate::Error;

/// Name of the model card, which is recorded beside the root so that adding a badge does not change the root.
pub const CARD: &str = "README.md";

/// The opened files of an artifact: one file, or a folder with everything in it that is not provenance.
pub struct Artifact {
    /// Base name of the file or folder.
    pub name: String,
    /// A folder has a listing as its root; a file is its own root.
    pub is_folder: bool,
    /// Relative path and bytes, the model card of a folder not among them.
    pub files: Vec<(String, Arc<dyn ReadAt>)>,
    /// The model card of a folder.
    pub card: Option<Arc<dyn ReadAt>>,
    /// Provenance files at the top of a folder, which are not part of it.
    pub provenance: Vec<(String, Arc<dyn ReadAt>)>,
    /// Names of version control at the top of a folder, which nothing looks at.
    pub ignored: Vec<String>,
}

/// What hashing an artifact gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Root of the artifact.
    pub root: Hash,
    /// Its files.
    pub listing: Listing,
    /// BLAKE3 of the model card, when there is one.
    pub card: Option<Hash>,
    /// SHA-256 of what a C2PA manifest binds: the file, or a folder's listing.
    pub manifest_asset: Hash,
}

impl Artifact {
    /// Bytes of all files together.
    pub fn total_size(&self) -> u64 {
        self.files.iter().map(|(_, source)| source.len()).sum()
    }

    /// Reads every byte once and hashes it.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read, [`Error::Input`] when a path is unusable.
    pub fn measure(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<Measured, Error> {
        self.measure_with(progress, true)
    }

    /// As [`Artifact::measure`]; without `manifest_asset` the SHA-256 of a single file is not computed and left zero.
    pub fn measure_with(&self, progress: &(dyn Fn(u64) + Sync), manifest_asset: bool) -> Result<Measured, Error> {
        let hash_files = || {
            self.files
                .par_iter()
                .map(|(path, source)| {
                    let blake3 = blob::hash_with(&**source, progress).map_err(Error::io(path))?;
                    Ok(File { path: path.clone(), size: source.len(), blake3 })
                })
                .collect::<Result<Vec<_>, Error>>()
        };
        let sha256_single = || match &*self.files {
            [(path, source)] if manifest_asset && !self.is_folder => {
                sha256(&**source, progress).map_err(Error::io(path))
            }
            _ => Ok(Hash::default()),
        };
        let (files, single) = rayon::join(hash_files, sha256_single);
        let listing = Listing::new(files?)?;
        let card = self.card.as_ref().map(|card| blob::hash(&**card).map_err(Error::io(CARD))).transpose()?;
        let (root, manifest_asset) = if self.is_folder {
            (listing.root(), Hash::sha256(listing.to_text().as_bytes()))
        } else {
            (listing.files()[0].blake3, single?)
        };
        Ok(Measured { root, listing, card, manifest_asset })
    }

    /// The weights as one model, or `None` when there are none: the safetensors files, or else the GGUF files.
    ///
    /// # Errors
    /// [`Error::Input`] when one of them is malformed.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, Error> {
        let shards: Vec<_> =
            self.shards().map(|(path, source)| (path.clone(), Box::new(source.clone()) as Box<_>)).collect();
        if shards.is_empty() {
            return Ok(None);
        }
        let model = Checkpoint::open(shards).map_err(|error| {
            Error::input(&self.name, error.to_string(), "download or export the model again; nothing was written")
        })?;
        Ok(Some(model))
    }

    /// Digests of all tensors of whatever format, or `None` when there are no weights that can be read.
    ///
    /// # Errors
    /// [`Error::Input`] when a file is malformed, or an index does not fit its shards; [`Error::Io`].
    pub fn tensors(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<Option<Vec<Tensor>>, Error> {
        super::tensors::open(self)?.map(|model| super::tensors::digests(&model, progress)).transpose()
    }

    /// A folder with both formats holds one model twice: the safetensors files speak for it.
    fn shards(&self) -> impl Iterator<Item = &(String, Arc<dyn ReadAt>)> {
        let of = |ending| move |(path, _): &&(String, Arc<dyn ReadAt>)| path.ends_with(ending);
        let ending = if self.files.iter().any(|file| of(".safetensors")(&file)) { ".safetensors" } else { ".gguf" };
        self.files.iter().filter(of(ending))
    }
}

/// SHA-256 of all bytes, one thread: it cannot be split. The bytes count as progress of the BLAKE3 beside it.
fn sha256(source: &dyn ReadAt, progress: &(dyn Fn(u64) + Sync)) -> std::io::Result<Hash> {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < source.len() {
        let size = (source.len() - offset).min(buffer.len() as u64) as usize;
        source.read_exact_at(&mut buffer[..size], offset)?;
        hasher.update(&buffer[..size]);
        offset += size as u64;
        progress(0);
    }
    Ok(Hash(hasher.finalize().into()))
}
