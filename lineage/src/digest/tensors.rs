//! Digests of the tensors of a model in any format that `countermark-formats` reads.
//!
//! The digest of a tensor is the plain BLAKE3 of its bytes, little-endian and row-major, so it is the same in every format
//! and sharding; the root over them is [`super::checkpoint::root`].

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::sync::Arc;

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
    let list = model.list();
    let place = |index| model.plain(index).map(|(source, range)| (Arc::as_ptr(source).addr(), range.start, range.end));
    let mut first = BTreeMap::new();
    for index in 0..list.len() {
        first.entry(place(index).unwrap_or((0, 0, index as u64))).or_insert(index);
    }
    let hashes: BTreeMap<usize, Hash> = first
        .par_iter()
        .map(|(_, &index)| Ok((index, digest(model, index, progress).map_err(Error::io(&list[index].name))?)))
        .collect::<Result<_, Error>>()?;
    let tensor = |index: usize| {
        let tensor = &list[index];
        let key = place(index).unwrap_or((0, 0, index as u64));
        let (name, dtype, shape) = (tensor.name.clone(), tensor.dtype.clone(), tensor.shape.clone());
        Tensor { name, dtype, shape, blake3: hashes[&first[&key]] }
    };
    Ok((0..list.len()).map(tensor).collect())
}

fn digest(model: &Tensors, index: usize, progress: &(dyn Fn(u64) + Sync)) -> io::Result<Hash> {
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
