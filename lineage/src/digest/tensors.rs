//! Digests of the tensors of a model in any format that `countermark-formats` reads.
//!
//! The digest of a tensor is the plain BLAKE3 of its bytes, little-endian and row-major, so it is the same in every format
//! and sharding; the root over them is [`super::checkpoint::root`].

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::ops::Range;

use countermark_formats::{ReadAt, Source, Tensors};
use rayon::prelude::*;

use super::artifact::Artifact;
use super::checkpoint::Tensor;
use super::{Hash, blob};
use crate::Error;

/// Bytes per read of a tensor that must be unpacked.
const BLOCK: usize = 256 << 10;

/// The tensors of an artifact's files, or `None` when there are no weights that can be read.
///
/// # Errors
/// [`Error::Input`] when a file is malformed, or an index does not fit its shards.
pub fn open(artifact: &Artifact) -> Result<Option<Tensors>, Error> {
    Tensors::open(&artifact.files).map_err(|error| {
        Error::input(&artifact.name, error.to_string(), "download or export the model again; nothing was written")
    })
}

/// Digests of all tensors of `model`, sorted by name. Tensors that share their bytes are read once.
///
/// # Errors
/// [`Error::Io`] when a file cannot be read, or does not unpack to what it promises.
pub fn digests(model: &Tensors, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<Tensor>, Error> {
    let mut first = BTreeMap::new();
    for index in 0..model.list().len() {
        first.entry(key(model, index)).or_insert(index);
    }
    let hashes: BTreeMap<_, Hash> = first
        .into_par_iter()
        .map(|(key, index)| Ok((key, digest(model, index, progress)?.blake3)))
        .collect::<Result<_, Error>>()?;
    Ok((0..model.list().len()).map(|index| named(model, index, hashes[&key(model, index)])).collect())
}

/// Digest of one tensor.
///
/// # Errors
/// As [`digests`].
pub fn digest(model: &Tensors, index: usize, progress: &(dyn Fn(u64) + Sync)) -> Result<Tensor, Error> {
    let hash = hash(model, index, progress).map_err(Error::io(&model.list()[index].name))?;
    Ok(named(model, index, hash))
}

/// Equal for tensors that are the same bytes of the same file.
fn key(model: &Tensors, index: usize) -> (Option<usize>, u64, u64) {
    match model.range(index) {
        Some((file, range)) => (Some(file), range.start, range.end),
        None => (None, 0, index as u64),
    }
}

fn named(model: &Tensors, index: usize, blake3: Hash) -> Tensor {
    let tensor = &model.list()[index];
    Tensor { name: tensor.name.clone(), dtype: tensor.dtype.clone(), shape: tensor.shape.clone(), blake3 }
}

/// The ranges of each file that are tensors, for whoever reads the files anyway: sorted, none empty, none over another.
///
/// Tensors that must be unpacked, and those that lie partly over others, are not among them.
#[derive(Default)]
pub(super) struct Places(BTreeMap<usize, Vec<Range<u64>>>);

impl Places {
    pub fn of(model: &Tensors) -> Self {
        let mut files: BTreeMap<usize, Vec<Range<u64>>> = BTreeMap::new();
        for (file, range) in (0..model.list().len()).filter_map(|index| model.range(index)) {
            if !range.is_empty() {
                files.entry(file).or_default().push(range);
            }
        }
        for ranges in files.values_mut() {
            ranges.sort_by_key(|range| (range.start, range.end));
            let mut reached = 0;
            ranges.retain(|range| {
                let is_free = range.start >= reached;
                reached = if is_free { range.end } else { reached };
                is_free
            });
        }
        Places(files)
    }

    /// The ranges of the file of this number.
    pub fn of_file(&self, file: usize) -> &[Range<u64>] {
        self.0.get(&file).map_or(&[], Vec::as_slice)
    }

    /// Digests of all tensors, given those of the ranges of each file; what is not among them is read now. Also answers
    /// whether anything was.
    pub fn digests<'a>(
        &self,
        model: &Tensors,
        found: impl Fn(usize) -> &'a [(u64, u64, Hash)],
    ) -> Result<(Vec<Tensor>, bool), Error> {
        let mut known = BTreeMap::new();
        for &file in self.0.keys() {
            known.extend(found(file).iter().map(|(start, end, hash)| ((Some(file), *start, *end), *hash)));
        }
        let mut is_late = false;
        let tensors = (0..model.list().len()).map(|index| match known.get(&key(model, index)) {
            Some(hash) => Ok(named(model, index, *hash)),
            None => {
                is_late |= model.list()[index].bytes > 0;
                digest(model, index, &|_| ())
            }
        });
        let tensors = tensors.collect::<Result<_, Error>>()?;
        Ok((tensors, is_late))
    }
}

fn hash(model: &Tensors, index: usize, progress: &(dyn Fn(u64) + Sync)) -> io::Result<Hash> {
    if let Some((source, range)) = model.plain(index) {
        return blob::hash_with(&Window { source, start: range.start, end: range.end }, progress);
    }
    let mut reader = model.reader(index)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BLOCK];
    let mut left = model.list()[index].bytes;
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        left = left.checked_sub(count as u64).ok_or(io::ErrorKind::InvalidData)?;
        hasher.update(&buffer[..count]);
        progress(count as u64);
    }
    if left > 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Hash(hasher.finalize().into())) }
}

/// The bytes of one tensor inside its file.
struct Window<'a> {
    source: &'a Source,
    start: u64,
    end: u64,
}

impl ReadAt for Window<'_> {
    fn len(&self) -> u64 {
        self.end - self.start
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.source.read_exact_at(buffer, self.start + offset)
    }
}
