//! Which matrices carry a mark, and how they become candle tensors, a block of rows at a time.
//!
//! Matrices come from [`Checkpoint::matrices`]: by role, rows are outputs, whatever the file format. A matrix is
//! **marked** when it has at least 4,096 weights, 16 rows and 16 columns (rows, because they are dealt to four groups;
//! columns, because each row is scaled by its own RMS) and its numbers can be changed: F32, F16, BF16, or codes with
//! scales. Norms, biases and routers are left out, and so is what makes a language model's logits, `head` and
//! `embed`, because a change there costs five times the quality for each weight (measured on SmolLM2-135M). An
//! encoder's embedding is marked: it makes no logits, and holds half of a small encoder's weights. Distortion counts
//! every matrix, marked or not.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use countermark_formats::{Checkpoint, CodeBlock, Dtype, Grid, Rows};

use crate::Result;
use crate::key::GROUPS;

/// Weights of one block of rows: enough to keep all cores busy, small beside a tensor.
const BLOCK_WEIGHTS: u64 = 4 << 20;
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

    /// Number of weights: also the unit in which progress is told.
    pub fn weights(&self) -> u64 {
        self.stored.weights()
    }
}

/// The matrices of a checkpoint, sorted by role.
pub fn matrices(model: &Checkpoint) -> Vec<Matrix> {
    let stored = model.matrices();
    let is_encoder = stored.iter().any(|matrix| matrix.role.contains("token_type"));
    let makes_logits = |role: &str| !is_encoder && matches!(role, "head" | "embed");
    let matrix = |stored: countermark_formats::Matrix| {
        // The upper bound keeps every keystream within its 2³² blocks.
        let sized = stored.rows >= 16
            && (16..=MAX_COLUMNS).contains(&stored.columns)
            && (4096..1 << 36).contains(&stored.weights());
        let marked = sized && stored.grid != Grid::Float(Dtype::F64) && !makes_logits(&stored.role);
        Matrix { stored, marked }
    };
    stored.into_iter().map(matrix).collect()
}

/// Weights that can carry a mark.
pub fn markable_weights(model: &Checkpoint) -> u64 {
    matrices(model).iter().filter(|matrix| matrix.marked).map(Matrix::weights).sum()
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

/// Reads a matrix block by block and hands each to `visit`; while one is worked on, the next is read.
pub(crate) fn for_each_block<F>(model: &Checkpoint, matrix: &Matrix, want_codes: bool, mut visit: F) -> Result<()>
where
    F: FnMut(Block) -> Result<()> + Send,
{
    let (rows, columns) = matrix.shape();
    let groups = GROUPS as u64;
    let step = ((BLOCK_WEIGHTS / columns).max(groups) / groups * groups).min(rows);
    let mut reader = Reader::new(model, matrix)?;
    let mut load = |first_row: u64| -> Result<Option<Block>> {
        if first_row >= rows {
            return Ok(None);
        }
        reader.block(first_row, step.min(rows - first_row), want_codes).map(Some)
    };
    let mut current = load(0)?;
    while let Some(block) = current {
        let next_row = block.first_row + step;
        let (next, visited) = rayon::join(|| load(next_row), || visit(block));
        visited?;
        current = next?;
    }
    Ok(())
}

/// Reads rows of one matrix.
pub(crate) struct Reader<'a> {
    rows: Rows<'a>,
    grid: Grid,
    columns: u64,
    bytes: Vec<u8>,
    values: Vec<f32>,
}

impl<'a> Reader<'a> {
    pub fn new(model: &'a Checkpoint, matrix: &'a Matrix) -> Result<Reader<'a>> {
        let (grid, columns) = (matrix.stored.grid, matrix.stored.columns);
        Ok(Reader { rows: model.rows(&matrix.stored)?, grid, columns, bytes: Vec::new(), values: Vec::new() })
    }

    fn block(&mut self, first_row: u64, rows: u64, want_codes: bool) -> Result<Block> {
        let range = first_row..first_row + rows;
        let shape = (rows as usize, self.columns as usize);
        match self.grid {
            Grid::Float(dtype) => {
                self.rows.raw(range, &mut self.bytes)?;
                let tensor = Tensor::from_raw_buffer(&self.bytes, candle(dtype), &[shape.0, shape.1], &Device::Cpu)?;
                Ok(Block { first_row, tensor, codes: None })
            }
            Grid::Codes if want_codes => {
                let mut codes = CodeBlock::default();
                self.rows.codes(range, &mut codes)?;
                let tensor = Tensor::from_slice(&codes.value, shape, &Device::Cpu)?;
                Ok(Block { first_row, tensor, codes: Some(codes) })
            }
            Grid::Codes => {
                self.rows.values(range, &mut self.values)?;
                let tensor = Tensor::from_slice(&self.values, shape, &Device::Cpu)?;
                Ok(Block { first_row, tensor, codes: None })
            }
        }
    }

    /// Rows as F32.
    pub fn values(&mut self, first_row: u64, rows: u64) -> Result<Tensor> {
        self.rows.values(first_row..first_row + rows, &mut self.values)?;
        Ok(Tensor::from_slice(&self.values, (rows as usize, self.columns as usize), &Device::Cpu)?)
    }
}

fn candle(dtype: Dtype) -> DType {
    match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::Bf16 => DType::BF16,
        _ => DType::F64,
    }
}
