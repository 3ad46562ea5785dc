//! Which matrices carry a mark, and how they become candle tensors, a block of rows at a time.
//!
//! Matrices come from [`Checkpoint::matrices`]: by role, rows are outputs, whatever the file format. A matrix is
//! **marked** when it has at least 4,096 weights, 16 rows and 16 columns (rows, because they are dealt to four groups;
//! columns, because each row is scaled by its own RMS), of floats or of codes with scales. A mark is struck into all of
//! these but F64, which nobody releases, and looked for in all. Norms, biases and routers are left out, and so is what makes a language model's logits, `head` and
//! `embed`, because a change there costs five times the quality for each weight (measured on SmolLM2-135M). An
//! encoder's embedding is marked: it makes no logits, and holds half of a small encoder's weights. Distortion counts
//! every matrix, marked or not.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use countermark_formats::{Checkpoint, CodeBlock, Dtype, Grid, Rows};
use rayon::prelude::*;

use crate::key::GROUPS;
use crate::{Compute, Result};

/// Weights of one block of rows: read, copied into a tensor and worked on while it is in the cache.
const BLOCK_WEIGHTS: u64 = 1 << 20;
/// Blocks at a time for each thread, so that none waits long for the others.
const BLOCKS_PER_THREAD: usize = 4;
/// Weights of the blocks at a time, unless a single one has more.
const WEIGHTS_AT_A_TIME: u64 = 16 << 20;
/// Weights of one block on a GPU: worth its launches, and half of [`WEIGHTS_AT_A_TIME`], so that one is copied there
/// while another is worked on.
const DEVICE_BLOCK_WEIGHTS: u64 = 8 << 20;
/// A row is held in memory at once, so a file that claims wider ones is not looked at there.
const MAX_COLUMNS: u64 = 1 << 24;

/// A matrix of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// The matrix as it is stored.
    pub stored: countermark_formats::Matrix,
    /// Whether it carries the mark.
    pub marked: bool,
}

impl Matrix {
    /// Its role, as `layers.3.mlp.up`.
    pub fn role(&self) -> &str {
        &self.stored.role
    }

    /// Rows × columns.
    pub fn shape(&self) -> (u64, u64) {
        (self.stored.rows, self.stored.columns)
    }

    /// Whether a mark can be struck into it. A mark is looked for in F64, too, but never struck into it.
    pub fn can_be_struck(&self) -> bool {
        self.marked && self.stored.grid != Grid::Float(Dtype::F64)
    }

    /// Number of weights: also the unit in which progress is told.
    pub fn weights(&self) -> u64 {
        self.stored.weights()
    }
}

/// The matrices of a checkpoint, sorted by role.
pub fn matrices(model: &Checkpoint) -> Vec<Matrix> {
    let stored = model.matrices();
    let is_encoder = stored.iter().any(|matrix| matrix.role == "embed_types");
    let makes_logits = |role: &str| !is_encoder && matches!(role, "head" | "embed");
    let matrix = |stored: countermark_formats::Matrix| {
        // The upper bound keeps every keystream within its 2³² blocks.
        let sized = stored.rows >= 16
            && (16..=MAX_COLUMNS).contains(&stored.columns)
            && (4096..1 << 36).contains(&stored.weights());
        let left_out = makes_logits(&stored.role) || stored.role.ends_with(".router");
        let marked = sized && !left_out;
        Matrix { stored, marked }
    };
    stored.into_iter().map(matrix).collect()
}

/// Weights that a mark can be struck into.
pub fn markable_weights(model: &Checkpoint) -> u64 {
    matrices(model).iter().filter(|matrix| matrix.can_be_struck()).map(Matrix::weights).sum()
}

/// Matrices by role.
pub(crate) fn by_role(model: &Checkpoint) -> BTreeMap<String, Matrix> {
    matrices(model).into_iter().map(|matrix| (matrix.stored.role.clone(), matrix)).collect()
}

/// One block of a matrix's rows.
pub(crate) struct Block {
    /// Row of the matrix where the block begins: a multiple of the number of groups.
    pub first_row: u64,
    /// Rows × columns: in the stored dtype, or dequantised to F32.
    pub tensor: Tensor,
    /// The codes, when the matrix has them and they were asked for.
    pub codes: Option<CodeBlock>,
}

/// Reads a matrix block by block, several at a time, and hands each to `visit`, in order.
pub(crate) fn for_each_block(
    model: &Checkpoint,
    matrix: &Matrix,
    compute: &Compute,
    content: Content,
    visit: impl FnMut(Block) -> Result<()>,
) -> Result<()> {
    map_blocks(model, matrix, compute, content, Ok, visit)
}

/// Reads a matrix and works on it block by block, as many at a time as there are threads, and hands the outcomes to
/// `take`, in order.
pub(crate) fn map_blocks<T: Send>(
    model: &Checkpoint,
    matrix: &Matrix,
    compute: &Compute,
    content: Content,
    work: impl Fn(Block) -> Result<T> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let (rows, columns) = matrix.shape();
    let groups = GROUPS as u64;
    let device = &compute.0;
    let block_weights = if device.is_cpu() { BLOCK_WEIGHTS } else { DEVICE_BLOCK_WEIGHTS };
    let step = (block_weights / columns).max(groups) / groups * groups;
    let reader = Reader::new(model, matrix)?.on(device);
    let load = |buffers: &mut Buffers, number: u64| -> Result<T> {
        let first_row = number * step;
        work(reader.block(first_row, step.min(rows - first_row), content, buffers)?)
    };
    let blocks = rows.div_ceil(step);
    let most = (BLOCKS_PER_THREAD * rayon::current_num_threads()) as u64;
    let at_a_time = (WEIGHTS_AT_A_TIME / (step * columns)).clamp(1, most);
    for first in (0..blocks).step_by(at_a_time as usize) {
        let numbers = first..blocks.min(first + at_a_time);
        let outcomes: Vec<Result<T>> = numbers.into_par_iter().map_init(Buffers::default, load).collect();
        outcomes.into_iter().try_for_each(|outcome| take(outcome?))?;
    }
    Ok(())
}

/// What of a block is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The weights.
    Weights,
    /// The weights, and the codes where there are codes.
    WeightsAndCodes,
}

/// Buffers that are used again.
#[derive(Default)]
pub(crate) struct Buffers {
    bytes: Vec<u8>,
    values: Vec<f32>,
}

/// Reads rows of one matrix.
pub(crate) struct Reader<'a> {
    rows: Rows<'a>,
    grid: Grid,
    columns: u64,
    device: Device,
}

impl<'a> Reader<'a> {
    pub fn new(model: &'a Checkpoint, matrix: &'a Matrix) -> Result<Reader<'a>> {
        let (grid, columns) = (matrix.stored.grid, matrix.stored.columns);
        Ok(Reader { rows: model.rows(&matrix.stored)?, grid, columns, device: Device::Cpu })
    }

    /// The same, with its tensors on a device.
    pub fn on(self, device: &Device) -> Reader<'a> {
        Reader { device: device.clone(), ..self }
    }

    fn block(&self, first_row: u64, rows: u64, content: Content, buffers: &mut Buffers) -> Result<Block> {
        let range = first_row..first_row + rows;
        let shape = [rows as usize, self.columns as usize];
        match self.grid {
            Grid::Float(dtype) if dtype != Dtype::F64 => {
                self.rows.raw(range, &mut buffers.bytes)?;
                let tensor = Tensor::from_raw_buffer(&buffers.bytes, candle(dtype), &shape, &self.device)?;
                Ok(Block { first_row, tensor, codes: None })
            }
            Grid::Codes if content == Content::WeightsAndCodes => {
                let mut codes = CodeBlock::default();
                self.rows.codes(range, &mut codes)?;
                let tensor = Tensor::from_slice(&codes.value, &shape[..], &self.device)?;
                Ok(Block { first_row, tensor, codes: Some(codes) })
            }
            // F64 is looked at in F32.
            _ => Ok(Block { first_row, tensor: self.values(first_row, rows, buffers)?, codes: None }),
        }
    }

    /// Rows as F32.
    pub fn values(&self, first_row: u64, rows: u64, buffers: &mut Buffers) -> Result<Tensor> {
        self.rows.values(first_row..first_row + rows, &mut buffers.values)?;
        Ok(Tensor::from_slice(&buffers.values, (rows as usize, self.columns as usize), &self.device)?)
    }
}

fn candle(dtype: Dtype) -> DType {
    match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        _ => DType::BF16,
    }
}
