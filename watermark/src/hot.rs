//! The hot loops one by one, for `examples/cuda_check.rs`: not part of the promised interface.

use candle_core::Tensor;

use crate::carrier::TensorCarrier;
use crate::{MarkKey, Result, ops};

/// The carrier of one tensor.
pub struct Carrier(TensorCarrier);

impl Carrier {
    /// The carrier of a tensor of this name, with so many slots in each of four groups.
    pub fn new(key: &MarkKey, tensor: &str, slots_per_group: usize) -> Carrier {
        Carrier(TensorCarrier::new(key, tensor, slots_per_group))
    }

    /// Slot sums of a block of rows.
    pub fn project(&self, block: &Tensor, first_row: u64) -> Result<Vec<i64>> {
        Ok(ops::project(block, &self.0, first_row)?.into_vec())
    }

    /// Slot sums of an unmarked block, with profile and count.
    pub fn survey(&self, block: &Tensor, first_row: u64) -> Result<Vec<i64>> {
        Ok(ops::survey(block, &self.0, first_row)?.into_vec())
    }

    /// Slot sums that a block would have after being marked.
    pub fn trial(&self, block: &Tensor, first_row: u64, amplitudes: &[f32]) -> Result<Vec<i64>> {
        Ok(ops::trial(block, &self.0, first_row, amplitudes)?.into_vec())
    }

    /// The marked block.
    pub fn mark(&self, block: &Tensor, first_row: u64, amplitudes: &[f32]) -> Result<Tensor> {
        ops::mark(block, &self.0, first_row, amplitudes)
    }
}

/// Σ (a − b)² and Σ b² of each row in turn.
pub fn row_squares(a: &Tensor, b: &Tensor) -> Result<Vec<f64>> {
    ops::row_squares(a, b)
}

/// The bytes of a block.
pub fn bytes(block: &Tensor) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ops::append_bytes(block, &mut bytes)?;
    Ok(bytes)
}

/// The kernels as the run-time compiler makes them, without any device.
pub fn compiled_kernels() -> std::result::Result<&'static str, String> {
    ops::cuda::compiled()
}
