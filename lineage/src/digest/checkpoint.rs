//! The tensors root: what the tensors are, whatever the sharding and the header around them.
//!
//! Preimage, hashed with BLAKE3 in key-derivation mode under [`CONTEXT`]: for each tensor, sorted by the bytes of its
//! name, `LP(name) LP(dtype) LE64(rank) LE64(dimension)… BLAKE3(bytes)`, where `LP(x)` is `LE64(length of x)` then `x`.

use countermark_formats::{Checkpoint, ReadAt, TensorInfo};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Hash;
use crate::Error;

/// Separates this hash from every other use of BLAKE3.
pub const CONTEXT: &str = "countermark.dev 2026 tensors root v1";

/// One tensor: what it is, and the plain BLAKE3 of its bytes as stored (little-endian, row-major).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// Name in the file.
    pub name: String,
    /// Safetensors spelling: `BF16`, `F32`.
    pub dtype: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Plain BLAKE3 of the bytes.
    pub blake3: Hash,
}

/// Digests of all tensors of `model`, sorted by name. `shards` are the sources that the model was opened from.
///
/// # Errors
/// [`Error::Io`] when a shard cannot be read.
pub fn tensors(
    model: &Checkpoint,
    shards: &[&dyn ReadAt],
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Tensor>, Error> {
    model.tensors().par_iter().map(|entry| tensor(&entry.info, shards[entry.shard], progress)).collect()
}

/// Digest of one tensor of `shard`.
pub(super) fn tensor(info: &TensorInfo, shard: &dyn ReadAt, progress: &(dyn Fn(u64) + Sync)) -> Result<Tensor, Error> {
    let bytes = Window { shard, start: info.range.start, end: info.range.end };
    let blake3 = super::blob::hash_with(&bytes, progress).map_err(Error::io(&info.name))?;
    let dtype = info.dtype.as_str().to_owned();
    Ok(Tensor { name: info.name.clone(), dtype, shape: info.shape.clone(), blake3 })
}

/// The tensors root over `tensors`, which must be sorted by name.
pub fn root(tensors: &[Tensor]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    for tensor in tensors {
        for text in [&tensor.name, &tensor.dtype] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&(tensor.shape.len() as u64).to_le_bytes());
        tensor.shape.iter().for_each(|dimension| {
            hasher.update(&dimension.to_le_bytes());
        });
        hasher.update(&tensor.blake3.0);
    }
    Hash(hasher.finalize().into())
}

/// The bytes of one tensor inside its shard.
struct Window<'a> {
    shard: &'a dyn ReadAt,
    start: u64,
    end: u64,
}

impl ReadAt for Window<'_> {
    fn len(&self) -> u64 {
        self.end - self.start
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.shard.read_exact_at(buffer, self.start + offset)
    }
}
