//! The tensors root: what the tensors are, whatever the sharding and the header around them.
//!
//! Preimage, hashed with BLAKE3 in key-derivation mode under [`CONTEXT`]: for each tensor, sorted by the bytes of its
//! name, `LP(name) LP(dtype) LE64(rank) LE64(dimension)… BLAKE3(bytes)`, where `LP(x)` is `LE64(length of x)` then `x`.

use serde::{Deserialize, Serialize};

use super::Hash;

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
