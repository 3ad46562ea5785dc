//! An artifact's bytes, and what hashing them gives.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use countermark_formats::{Checkpoint, ReadAt};
use rayon::prelude::*;

use super::checkpoint::{self, Tensor};
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
    /// Asked after the last read whether files were added or removed meanwhile.
    pub names: Option<Arc<dyn Names>>,
}

/// The names in a folder, as they were when it was opened.
pub trait Names: Send + Sync {
    /// Are they still the same?
    ///
    /// # Errors
    /// When a file was added, removed or replaced meanwhile.
    fn unchanged(&self) -> std::io::Result<()>;
}

/// What to compute beside the root.
#[derive(Clone, Copy, Default)]
pub struct Wants<'a> {
    /// Which SHA-256.
    pub sha256: Sha256,
    /// The digests of all tensors.
    pub tensors: bool,
    /// Where digests of files may be taken from instead of their bytes.
    pub cache: Option<&'a dyn Cache>,
}

/// Which SHA-256 to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sha256 {
    /// None.
    #[default]
    No,
    /// Of what a C2PA manifest binds: the single file, or a folder's listing.
    Manifest,
    /// Also of every file of a folder.
    Every,
}

/// Digests of files that were hashed before.
pub trait Cache: Sync {
    /// What is known of this very file, if it is certain that nothing wrote to it since.
    fn recall(&self, source: &dyn ReadAt) -> Option<Known>;
    /// Keeps what was read of it just now.
    fn remember(&self, source: &dyn ReadAt, known: &Known);
}

/// What is known of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Length in bytes.
    pub size: u64,
    /// Plain BLAKE3.
    pub blake3: Hash,
    /// SHA-256, when it was computed.
    pub sha256: Option<Hash>,
    /// Begin, end and plain BLAKE3 of ranges that were hashed, such as tensors.
    pub ranges: Vec<(u64, u64, Hash)>,
}

/// What one read of an artifact gives.
#[derive(Debug)]
pub struct Reading {
    /// Root, listing, and what a manifest binds. Its `manifest_asset` is zero when no SHA-256 was wanted.
    pub measured: Measured,
    /// SHA-256 of each file of the listing, in its order, when wanted of every file.
    pub sha256: Vec<Hash>,
    /// Every tensor, sorted by name, when wanted; `None` when there are no weights.
    pub tensors: Result<Option<Vec<Tensor>>, Error>,
    /// Bytes of files that were read and hashed; the model card and headers of weights do not count.
    pub bytes_read: u64,
    /// Files, empty ones not among them, whose digests were recalled instead.
    pub recalled: usize,
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
        let sha256 = if manifest_asset { Sha256::Manifest } else { Sha256::No };
        Ok(self.read_once(&Wants { sha256, ..Wants::default() }, progress)?.measured)
    }

    /// Reads every byte once and computes everything that is wanted from it.
    ///
    /// Headers of weights are read before, when tensors are wanted. A model that cannot be parsed is hashed all the same,
    /// and the answer on its tensors says why.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read or changed while it was, [`Error::Input`] when a path is unusable.
    pub fn read_once(&self, wants: &Wants<'_>, progress: &(dyn Fn(u64) + Sync)) -> Result<Reading, Error> {
        let model = if wants.tensors { self.checkpoint() } else { Ok(None) };
        let shards = match &model {
            Ok(Some(model)) => self.shard_tensors(model),
            _ => BTreeMap::new(),
        };
        let sha256 = wants.sha256 == Sha256::Every || (wants.sha256 == Sha256::Manifest && !self.is_folder);
        let read = |(index, (path, source)): (usize, &(String, Arc<dyn ReadAt>))| -> Result<Read, Error> {
            let tensors = shards.get(&index).map_or(&[][..], Vec::as_slice);
            let recalled = wants.cache.and_then(|cache| cache.recall(&**source));
            if let Some(known) = recalled.and_then(|known| known.answer(sha256, tensors)) {
                progress(known.size);
                return Ok(Read { path: path.clone(), known, bytes: 0 });
            }
            let ranges: Vec<_> = tensors.iter().map(|tensor| tensor.range.clone()).collect();
            let wanted = blob::Wants { sha256, ranges: &ranges };
            let digests = blob::digests(&**source, wanted, progress).map_err(Error::io(path))?;
            let known = Known {
                size: digests.size,
                blake3: digests.blake3,
                sha256: digests.sha256,
                ranges: ranges
                    .into_iter()
                    .zip(digests.ranges)
                    .map(|(range, hash)| (range.start, range.end, hash))
                    .collect(),
            };
            if let Some(cache) = wants.cache {
                cache.remember(&**source, &known);
            }
            Ok(Read { path: path.clone(), bytes: known.size, known })
        };
        let mut files = self.files.par_iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        let card = self.card.as_ref().map(|card| blob::hash(&**card).map_err(Error::io(CARD))).transpose()?;
        if let Some(names) = &self.names {
            names.unchanged().map_err(Error::io(&self.name))?;
        }
        let tensors = model.map(|model| model.map(|model| named(&model, &shards, &files)));
        let bytes_read = files.iter().map(|read| read.bytes).sum();
        let recalled = files.iter().filter(|read| read.bytes == 0 && read.known.size > 0).count();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let sha256 = files.iter().filter_map(|read| read.known.sha256).collect::<Vec<_>>();
        let file = |read: Read| File { path: read.path, size: read.known.size, blake3: read.known.blake3 };
        let listing = Listing::new(files.into_iter().map(file).collect())?;
        let (root, manifest_asset) = if self.is_folder {
            let text = listing.to_text();
            let asset = if wants.sha256 == Sha256::No { Hash::default() } else { Hash::sha256(text.as_bytes()) };
            (Hash::blake3(text.as_bytes()), asset)
        } else {
            (listing.files()[0].blake3, sha256.first().copied().unwrap_or_default())
        };
        let sha256 = if wants.sha256 == Sha256::Every { sha256 } else { vec![] };
        let measured = Measured { root, listing, card, manifest_asset };
        Ok(Reading { measured, sha256, tensors, bytes_read, recalled })
    }

    /// The tensors of each file of weights, by the file's index, sorted by place. Empty ones need no reading.
    fn shard_tensors(&self, model: &Checkpoint) -> BTreeMap<usize, Vec<Place>> {
        let indices: Vec<usize> = self.shard_indices().collect();
        let mut shards: BTreeMap<usize, Vec<Place>> = BTreeMap::new();
        for (index, tensor) in model.tensors().iter().enumerate() {
            let range = tensor.info.range.clone();
            if !range.is_empty() {
                shards.entry(indices[tensor.shard]).or_default().push(Place { tensor: index, range });
            }
        }
        shards.values_mut().for_each(|places| places.sort_by_key(|place| place.range.start));
        shards
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

    /// Digests of all tensors, or `None` when there are no weights.
    ///
    /// # Errors
    /// As [`Artifact::checkpoint`], and [`Error::Io`].
    pub fn tensors(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<Option<Vec<Tensor>>, Error> {
        let Some(model) = self.checkpoint()? else { return Ok(None) };
        let shards: Vec<&dyn ReadAt> = self.shards().map(|(_, source)| &**source).collect();
        checkpoint::tensors(&model, &shards, progress).map(Some)
    }

    /// Digest of one tensor, reading the headers and its bytes only; `None` when there is none of this name.
    ///
    /// # Errors
    /// As [`Artifact::checkpoint`], and [`Error::Io`].
    pub fn tensor(&self, name: &str, progress: &(dyn Fn(u64) + Sync)) -> Result<Option<Tensor>, Error> {
        let Some(model) = self.checkpoint()? else { return Ok(None) };
        let Some((_, tensor)) = model.find(name) else { return Ok(None) };
        let Some((path, source)) = self.shards().nth(tensor.shard) else { return Ok(None) };
        let tensor = checkpoint::tensor(&tensor.info, &**source, progress)?;
        source.unchanged().map_err(Error::io(path))?;
        Ok(Some(tensor))
    }

    /// A folder with both formats holds one model twice: the safetensors files speak for it.
    fn shard_indices(&self) -> impl Iterator<Item = usize> {
        let any = self.files.iter().any(|(path, _)| path.ends_with(".safetensors"));
        let ending = if any { ".safetensors" } else { ".gguf" };
        self.files.iter().enumerate().filter(move |(_, (path, _))| path.ends_with(ending)).map(|(index, _)| index)
    }

    fn shards(&self) -> impl Iterator<Item = &(String, Arc<dyn ReadAt>)> {
        self.shard_indices().map(|index| &self.files[index])
    }
}

/// A tensor of a checkpoint and its place in its file.
struct Place {
    tensor: usize,
    range: Range<u64>,
}

/// One file, read or recalled.
struct Read {
    path: String,
    known: Known,
    /// How many bytes were read for it.
    bytes: u64,
}

impl Known {
    /// Itself, when it tells everything that is wanted, in the order of the tensors.
    fn answer(mut self, sha256: bool, tensors: &[Place]) -> Option<Self> {
        if sha256 && self.sha256.is_none() {
            return None;
        }
        let known: BTreeMap<(u64, u64), Hash> =
            self.ranges.iter().map(|(from, to, hash)| ((*from, *to), *hash)).collect();
        let find = |place: &Place| {
            let (from, to) = (place.range.start, place.range.end);
            Some((from, to, *known.get(&(from, to))?))
        };
        self.ranges = tensors.iter().map(find).collect::<Option<_>>()?;
        Some(self)
    }
}

/// Gives the ranges the names of their tensors; sorted by name, as the model is.
fn named(model: &Checkpoint, shards: &BTreeMap<usize, Vec<Place>>, files: &[Read]) -> Vec<Tensor> {
    let mut hashes = vec![Hash::blake3(b""); model.tensors().len()];
    for (file, places) in shards {
        for (place, (.., hash)) in places.iter().zip(&files[*file].known.ranges) {
            hashes[place.tensor] = *hash;
        }
    }
    let tensor = |(tensor, blake3): (&countermark_formats::Tensor, Hash)| {
        let info = &tensor.info;
        Tensor { name: info.name.clone(), dtype: info.dtype.as_str().to_owned(), shape: info.shape.clone(), blake3 }
    };
    model.tensors().iter().zip(hashes).map(tensor).collect()
}
