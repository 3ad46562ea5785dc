//! What a header says about one tensor, whatever the file format.

use std::ops::Range;

use crate::Dtype;

/// One tensor's entry in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the file; not empty, without control characters.
    pub name: String,
    /// Number format of the elements.
    pub dtype: Dtype,
    /// Extent of each dimension, outermost first; empty for a scalar. GGUF stores them the other way round.
    pub shape: Vec<u64>,
    /// Where the bytes are, from the start of the file.
    pub range: Range<u64>,
}

impl TensorInfo {
    /// Number of elements. The parsers have made sure that it does not overflow.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Length of the data in bytes.
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}
