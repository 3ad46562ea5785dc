//! An artifact's bytes, and what hashing them gives.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use countermark_formats::manifest::Splice;
use countermark_formats::{Checkpoint, ReadAt};
use rayon::prelude::*;

use super::checkpoint::Tensor;
use super::listing::{File, Listing};
use super::once::Once;
use super::tensors::{self, Places};
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
    /// SHA-256 of a single file with the change that was given.
    pub spliced: Option<Hash>,
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
    /// Headers of weights are read before, when tensors are wanted; [`Artifact::once`] has them not read again. A model that cannot be parsed is hashed all the same,
    /// and the answer on its tensors says why.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read or changed while it was, [`Error::Input`] when a path is unusable.
    pub fn read_once(&self, wants: &Wants<'_>, progress: &(dyn Fn(u64) + Sync)) -> Result<Reading, Error> {
        self.read_spliced(wants, None, progress)
    }

    /// As [`Artifact::read_once`], and SHA-256 of a single file with a change, which is what a manifest in it covers.
    ///
    /// # Errors
    /// As [`Artifact::read_once`].
    pub fn read_spliced(
        &self,
        wants: &Wants<'_>,
        splice: Option<&Splice>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Reading, Error> {
        let model = if wants.tensors { tensors::open(self) } else { Ok(None) };
        let places = match &model {
            Ok(Some(model)) => Places::of(model),
            _ => Places::default(),
        };
        let sha256 = wants.sha256 == Sha256::Every || (wants.sha256 == Sha256::Manifest && !self.is_folder);
        let read = |(index, (path, source)): (usize, &(String, Arc<dyn ReadAt>))| -> Result<Read, Error> {
            let ranges = places.of_file(index);
            let recalled = wants.cache.filter(|_| splice.is_none()).and_then(|cache| cache.recall(&**source));
            if let Some(known) = recalled.and_then(|known| known.answer(sha256, ranges)) {
                progress(known.size);
                return Ok(Read { path: path.clone(), known, spliced: None, bytes: 0 });
            }
            let wanted = blob::Wants { sha256, spliced: splice.filter(|_| !self.is_folder), ranges };
            let digests = blob::digests(&**source, wanted, progress).map_err(Error::io(path))?;
            let known = Known {
                size: digests.size,
                blake3: digests.blake3,
                sha256: digests.sha256,
                ranges: ranges.iter().zip(digests.ranges).map(|(range, hash)| (range.start, range.end, hash)).collect(),
            };
            if let Some(cache) = wants.cache {
                cache.remember(&**source, &known);
            }
            Ok(Read { path: path.clone(), bytes: known.size, known, spliced: digests.spliced })
        };
        let mut files = self.files.par_iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        let card = self.card.as_ref().map(|card| blob::hash(&**card).map_err(Error::io(CARD))).transpose()?;
        let found = |file: usize| &*files[file].known.ranges;
        let digests = model.and_then(|model| model.map(|model| places.digests(&model, found)).transpose());
        if matches!(digests, Ok(Some((_, true)))) {
            // Some tensors were read after the pass: the file must be the same one still.
            for (path, source) in &self.files {
                source.unchanged().map_err(Error::io(path))?;
            }
        }
        if let Some(names) = &self.names {
            names.unchanged().map_err(Error::io(&self.name))?;
        }
        let tensors = digests.map(|found| found.map(|(tensors, _)| tensors));
        let bytes_read = files.iter().map(|read| read.bytes).sum();
        let recalled = files.iter().filter(|read| read.bytes == 0 && read.known.size > 0).count();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let spliced = files.iter().find_map(|read| read.spliced);
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
        Ok(Reading { measured, sha256, spliced, tensors, bytes_read, recalled })
    }

    /// The same artifact, which remembers what was read of each file before the pass that hashes it, so that headers are
    /// read once too. Take a fresh one for each pass.
    pub fn once(&self) -> Artifact {
        let once = |(path, source): &(String, Arc<dyn ReadAt>)| {
            (path.clone(), Arc::new(Once::new(source.clone())) as Arc<dyn ReadAt>)
        };
        Artifact { files: self.files.iter().map(once).collect(), ..self.with_files(vec![]) }
    }

    /// The same artifact with other files.
    pub fn with_files(&self, files: Vec<(String, Arc<dyn ReadAt>)>) -> Artifact {
        Artifact {
            name: self.name.clone(),
            is_folder: self.is_folder,
            files,
            card: self.card.clone(),
            provenance: self.provenance.clone(),
            ignored: self.ignored.clone(),
            names: self.names.clone(),
        }
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
        tensors::open(self)?.map(|model| tensors::digests(&model, progress)).transpose()
    }

    /// Digest of one tensor, reading the headers and its bytes only; `None` when there is none of this name.
    ///
    /// # Errors
    /// As [`Artifact::checkpoint`], and [`Error::Io`].
    pub fn tensor(&self, name: &str, progress: &(dyn Fn(u64) + Sync)) -> Result<Option<Tensor>, Error> {
        let Some(model) = tensors::open(self)? else { return Ok(None) };
        let Some((index, _)) = model.find(name) else { return Ok(None) };
        let tensor = tensors::digest(&model, index, progress)?;
        for (path, source) in &self.files {
            source.unchanged().map_err(Error::io(path))?;
        }
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

/// One file, read or recalled.
struct Read {
    path: String,
    known: Known,
    spliced: Option<Hash>,
    /// How many bytes were read for it.
    bytes: u64,
}

impl Known {
    /// Itself, when it tells everything that is wanted, in the order of the ranges.
    fn answer(mut self, sha256: bool, ranges: &[Range<u64>]) -> Option<Self> {
        if sha256 && self.sha256.is_none() {
            return None;
        }
        let known: BTreeMap<(u64, u64), Hash> =
            self.ranges.iter().map(|(from, to, hash)| ((*from, *to), *hash)).collect();
        let find = |range: &Range<u64>| Some((range.start, range.end, *known.get(&(range.start, range.end))?));
        self.ranges = ranges.iter().map(find).collect::<Option<_>>()?;
        Some(self)
    }
}
