//! Which tensors carry a mark, and how their bytes become candle tensors, a block of rows at a time.
//!
//! A tensor is **matrix-shaped** when it is of F32, F16, BF16 or F64 and has at least two dimensions. With two, rows
//! and columns are as stored. With more, when the innermost extent is at least 64, the tensor is a stack of matrices
//! (fused experts): a row is one innermost line. Otherwise it is a convolution kernel: a row is all that belongs to
//! the outermost index, one output channel.
//!
//! A matrix-shaped tensor is **marked** when it is of F32, F16 or BF16 and has at least 4,096 weights, 16 rows and 16
//! columns (rows, because they are dealt to four groups; columns, because each row is scaled by its own RMS). This
//! includes embeddings and leaves out norms, biases and integer tensors. Distortion counts every matrix-shaped tensor.

use candle_core::{DType, Device, Tensor};
use countermark_formats::{Checkpoint, Dtype};
use rayon::prelude::*;

use crate::key::GROUPS;
use crate::{Compute, Result};

/// Bytes of one block of rows: read, copied into a tensor and worked on while it is in the cache.
const BLOCK_BYTES: u64 = 2 << 20;
/// Blocks at a time for each thread, so that none waits long for the others.
const BLOCKS_PER_THREAD: usize = 4;
/// Bytes of the blocks at a time, unless a single one has more.
const BYTES_AT_A_TIME: u64 = 64 << 20;
/// Bytes of one block on a GPU: worth its launches, and one is copied there while another is worked on.
const DEVICE_BLOCK_BYTES: u64 = 32 << 20;

/// A matrix-shaped tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Index into the checkpoint's tensors.
    pub index: usize,
    /// Rows; one row is scaled as a whole.
    pub rows: u64,
    /// Columns.
    pub columns: u64,
    /// Whether it carries the mark.
    pub marked: bool,
    /// Number format.
    pub dtype: Dtype,
}

impl Matrix {
    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.rows * self.columns
    }

    /// Length in bytes.
    pub fn bytes(&self) -> u64 {
        self.weights() * self.dtype.bits() / 8
    }
}

/// The matrix-shaped tensors of a checkpoint, in its order.
pub fn matrices(model: &Checkpoint) -> Vec<Matrix> {
    model
        .tensors()
        .iter()
        .enumerate()
        .filter_map(|(index, tensor)| {
            let dtype = tensor.info.dtype;
            let (rows, columns) = rows_and_columns(&tensor.info.shape)?;
            let float = matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::Bf16 | Dtype::F64);
            float.then(|| {
                let weights = rows * columns;
                // The upper bound keeps every keystream within its 2³² blocks.
                let sized = rows >= 16 && (16..=MAX_COLUMNS).contains(&columns) && (4096..1 << 36).contains(&weights);
                Matrix { index, rows, columns, marked: sized && dtype != Dtype::F64, dtype }
            })
        })
        .collect()
}

/// Weights that can carry a mark.
pub fn markable_weights(model: &Checkpoint) -> u64 {
    matrices(model).iter().filter(|matrix| matrix.marked).map(Matrix::weights).sum()
}

fn rows_and_columns(shape: &[u64]) -> Option<(u64, u64)> {
    match shape {
        // An empty tensor; its other extents may be anything.
        shape if shape.contains(&0) => None,
        [rows, columns] => Some((*rows, *columns)),
        [leading @ .., columns] if leading.len() >= 2 && *columns >= 64 => Some((leading.iter().product(), *columns)),
        [rows, rest @ ..] if rest.len() >= 2 => Some((*rows, rest.iter().product())),
        _ => None,
    }
}

/// A row is held in memory at once, so a file that claims wider ones is not looked at there.
const MAX_COLUMNS: u64 = 1 << 24;

/// One block of a matrix's rows.
pub(crate) struct Block {
    /// Row of the matrix where the block begins: a multiple of the number of groups.
    pub first_row: u64,
    /// Rows × columns, in the stored dtype.
    pub tensor: Tensor,
}

/// Reads a matrix block by block, several at a time, and hands each to `visit`, in order.
pub(crate) fn for_each_block(
    model: &Checkpoint,
    matrix: &Matrix,
    compute: &Compute,
    visit: impl FnMut(Block) -> Result<()>,
) -> Result<()> {
    map_blocks(model, matrix, compute, Ok, visit)
}

/// Reads a matrix and works on it block by block, as many at a time as there are threads, and hands the outcomes to
/// `take`, in order.
pub(crate) fn map_blocks<T: Send>(
    model: &Checkpoint,
    matrix: &Matrix,
    compute: &Compute,
    work: impl Fn(Block) -> Result<T> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    // Of F64 only distances are measured, and on the processor.
    let device = if matrix.dtype == Dtype::F64 { &Device::Cpu } else { &compute.0 };
    let block_bytes = if device.is_cpu() { BLOCK_BYTES } else { DEVICE_BLOCK_BYTES };
    let row_bytes = matrix.columns * matrix.dtype.bits() / 8;
    let groups = GROUPS as u64;
    let step = (block_bytes / row_bytes).max(groups) / groups * groups;
    let load = |bytes: &mut Vec<u8>, number: u64| -> Result<T> {
        let first_row = number * step;
        let rows = step.min(matrix.rows - first_row);
        model.read_range(matrix.index, first_row * row_bytes..(first_row + rows) * row_bytes, bytes)?;
        let shape = [rows as usize, matrix.columns as usize];
        let tensor = Tensor::from_raw_buffer(bytes, candle_dtype(matrix.dtype), &shape, device)?;
        work(Block { first_row, tensor })
    };
    let blocks = matrix.rows.div_ceil(step);
    let most = (BLOCKS_PER_THREAD * rayon::current_num_threads()) as u64;
    let at_a_time = (BYTES_AT_A_TIME / (step * row_bytes)).clamp(1, most);
    for first in (0..blocks).step_by(at_a_time as usize) {
        let numbers = first..blocks.min(first + at_a_time);
        let outcomes: Vec<Result<T>> = numbers.into_par_iter().map_init(Vec::new, load).collect();
        outcomes.into_iter().try_for_each(|outcome| take(outcome?))?;
    }
    Ok(())
}

fn candle_dtype(dtype: Dtype) -> DType {
    match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::Bf16 => DType::BF16,
        _ => DType::F64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_become_rows_and_columns() {
        for (shape, expected) in [
            (&[][..], None),
            (&[9], None),
            (&[0, 1 << 40, 1 << 40], None),
            (&[3, 5], Some((3, 5))),
            (&[64, 3, 7, 7], Some((64, 147))),
            (&[128, 32, 3], Some((128, 96))),
            (&[8, 64, 128], Some((512, 128))),
        ] {
            assert_eq!(rows_and_columns(shape), expected, "{shape:?}");
        }
    }
}
