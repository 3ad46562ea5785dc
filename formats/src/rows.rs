//! Reading a matrix by rows.

use std::ops::Range;

use half::{bf16, f16};

use crate::awq::{self, Awq};
use crate::codes::{Cell, CodeBlock, CodeRange};
use crate::gptq::Gptq;
use crate::matrix::{Companion, Grid, Layout, Matrix};
use crate::roles::Order;
use crate::scaled::{self, Cover, Scales};
use crate::{Checkpoint, Dtype, Error, Result, TensorInfo, blocks, float8};

/// A matrix, open for reading by rows.
pub struct Rows<'a> {
    checkpoint: &'a Checkpoint,
    matrix: &'a Matrix,
    dtype: Dtype,
    held: Held,
}

/// What is kept in memory.
enum Held {
    /// Nothing: rows are read when asked for.
    Nothing,
    /// The whole tensor, whose columns lie one after the other.
    Columns(Vec<u8>),
    Scales(Scales),
    Gptq(Gptq),
    Awq(Awq),
}

impl Checkpoint {
    /// Opens a matrix for reading by rows. Holds scales; and when the layout is not row-wise (GPTQ, AWQ, transposed), the
    /// stored bytes of the tensor.
    ///
    /// # Errors
    /// A matrix of another checkpoint, a source that fails, scales that do not fit.
    pub fn rows<'a>(&'a self, matrix: &'a Matrix) -> Result<Rows<'a>> {
        let info = self.tensor_of(matrix)?;
        let held = match matrix.layout {
            Layout::Rows { .. } => Held::Nothing,
            Layout::Transposed => Held::Columns(self.whole(matrix.tensor)?),
            Layout::Scaled { scale, zero } => Held::Scales(self.scales(matrix, scale, zero)?),
            Layout::Gptq { packing, zeros, scales, groups } => Held::Gptq(Gptq {
                packing,
                codes: self.whole(matrix.tensor)?,
                zeros: packing.zeros(&self.exactly(zeros, packing.zero_bytes())?),
                scales: self.floats(scales, packing.groups * packing.rows)?,
                groups: self.groups(groups, packing.columns, packing.groups)?,
            }),
            Layout::Awq { packing, zeros, scales } => Held::Awq(Awq {
                packing,
                codes: self.whole(matrix.tensor)?,
                zeros: self.exactly(zeros, packing.zero_bytes())?,
                scales: self.floats(scales, packing.groups * packing.rows)?,
            }),
        };
        Ok(Rows { checkpoint: self, matrix, dtype: info.dtype, held })
    }

    /// The tensor of a matrix, which must be a matrix of this checkpoint.
    fn tensor_of(&self, matrix: &Matrix) -> Result<&TensorInfo> {
        let tensor = self.tensors().get(matrix.tensor).map(|tensor| &tensor.info);
        let fits = |info: &&TensorInfo| matrix.layout.fits(matrix, info.dtype, info.bytes());
        tensor.filter(fits).ok_or_else(|| Error::ForeignMatrix {
            role: matrix.role.clone(),
            tensor: tensor.map_or_else(|| "no tensor".into(), |info| info.name.clone()),
        })
    }

    fn whole(&self, index: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read(index, &mut bytes)?;
        Ok(bytes)
    }

    /// A whole tensor, which must have that many bytes.
    fn exactly(&self, index: usize, bytes: u64) -> Result<Vec<u8>> {
        let whole = self.whole(index)?;
        if whole.len() as u64 == bytes {
            return Ok(whole);
        }
        let reason = format!("it has {} bytes, but its matrix needs {bytes}", whole.len());
        Err(Error::Quantised { name: self.tensors()[index].info.name.clone(), reason })
    }

    /// A tensor of so many floats as f32.
    fn floats(&self, index: usize, count: u64) -> Result<Vec<f32>> {
        let dtype = self.tensors().get(index).map_or(Dtype::F32, |tensor| tensor.info.dtype);
        let mut floats = Vec::new();
        to_f32(dtype, &self.exactly(index, count * dtype.bits() / 8)?, &mut floats);
        Ok(floats)
    }

    fn scales(&self, matrix: &Matrix, scale: Option<Companion>, zero: Option<usize>) -> Result<Scales> {
        let Some(Companion { tensor, cover, factor }) = scale else {
            let cover = Cover { rows: matrix.rows, columns: matrix.columns, across: 1 };
            return Ok(Scales { cover, scales: vec![1.0], zeros: Vec::new() });
        };
        let count = matrix.rows.div_ceil(cover.rows) * cover.across;
        let scales = self.floats(tensor, count)?.into_iter().map(|scale| scale * factor).collect();
        let zeros = zero.map_or(Ok(Vec::new()), |zero| self.exactly(zero, count))?;
        Ok(Scales { cover, scales, zeros: zeros.into_iter().map(|zero| f32::from(zero as i8)).collect() })
    }

    /// Group of each input of a GPTQ layer.
    fn groups(&self, index: Option<usize>, columns: u64, groups: u64) -> Result<Vec<u32>> {
        let Some(index) = index else {
            let run = columns.div_ceil(groups);
            return Ok((0..columns).map(|column| (column / run) as u32).collect());
        };
        let of_inputs: Vec<u32> =
            self.exactly(index, columns * 4)?.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        if let Some(wrong) = of_inputs.iter().find(|group| u64::from(**group) >= groups) {
            let reason = format!("an input is of group {wrong}, but there are only {groups}");
            return Err(Error::Quantised { name: self.tensors()[index].info.name.clone(), reason });
        }
        Ok(of_inputs)
    }
}

impl Rows<'_> {
    /// The elements of some rows of a matrix of floats: little-endian bytes in the stored dtype, in logical order.
    ///
    /// # Errors
    /// A matrix of codes, rows out of range, or a source that fails.
    pub fn raw(&self, rows: Range<u64>, bytes: &mut Vec<u8>) -> Result<()> {
        let Grid::Float(dtype) = self.matrix.grid else {
            return Err(Error::WrongGrid { role: self.matrix.role.clone(), wanted: "raw floats" });
        };
        self.matrix.check_rows(&rows)?;
        let Held::Columns(columns) = &self.held else { return self.stored(rows, bytes) };
        let size = (dtype.bits() / 8) as usize;
        bytes.clear();
        for row in rows {
            let column = |column: u64| (column * self.matrix.rows + row) as usize * size;
            (0..self.matrix.columns).map(column).for_each(|at| bytes.extend_from_slice(&columns[at..at + size]));
        }
        Ok(())
    }

    /// The values of some rows, row-major. F64 is rounded, codes are dequantised.
    ///
    /// # Errors
    /// Rows out of range, or a source that fails.
    pub fn values(&self, rows: Range<u64>, values: &mut Vec<f32>) -> Result<()> {
        values.clear();
        if let Grid::Float(dtype) = self.matrix.grid {
            let mut bytes = Vec::new();
            self.raw(rows, &mut bytes)?;
            to_f32(dtype, &bytes, values);
            return Ok(());
        }
        self.visit(rows, &mut |cell| values.push(cell.value))
    }

    /// The codes of some rows with what they can become.
    ///
    /// # Errors
    /// A matrix of floats, rows out of range, or a source that fails.
    pub fn codes(&self, rows: Range<u64>, block: &mut CodeBlock) -> Result<()> {
        let range = self.matrix.layout.range(self.dtype).filter(|_| self.matrix.grid == Grid::Codes);
        let Some(range) = range else {
            return Err(Error::WrongGrid { role: self.matrix.role.clone(), wanted: "codes" });
        };
        block.clear(range);
        self.visit(rows, &mut |cell| block.push(cell))
    }

    fn visit(&self, rows: Range<u64>, visit: &mut impl FnMut(Cell)) -> Result<()> {
        self.matrix.check_rows(&rows)?;
        match &self.held {
            Held::Gptq(layer) => rows.for_each(|row| layer.row(row, visit)),
            Held::Awq(layer) => rows.for_each(|row| layer.row(row, visit)),
            Held::Scales(scales) => {
                let mut bytes = Vec::new();
                self.stored(rows.clone(), &mut bytes)?;
                for (row, bytes) in rows.zip(bytes.chunks_exact(self.matrix.columns as usize)) {
                    scaled_row(self.dtype, scales, row, bytes, visit);
                }
            }
            Held::Nothing | Held::Columns(_) => {
                let mut bytes = Vec::new();
                self.stored(rows, &mut bytes)?;
                blocks::decode(self.dtype, &bytes, visit);
            }
        }
        Ok(())
    }

    /// The stored bytes of some rows, in logical order. The rows are in range.
    fn stored(&self, rows: Range<u64>, bytes: &mut Vec<u8>) -> Result<()> {
        let width = self.matrix.row_bytes(self.dtype);
        let at = |row: u64| self.matrix.layout.stored_row(row, self.matrix.rows) * width;
        let tensor = self.matrix.tensor;
        if self.matrix.layout.in_order() {
            let begin = at(rows.start);
            return self.checkpoint.read_range(tensor, begin..begin + (rows.end - rows.start) * width, bytes);
        }
        bytes.clear();
        let mut row_bytes = Vec::new();
        for row in rows {
            self.checkpoint.read_range(tensor, at(row)..at(row) + width, &mut row_bytes)?;
            bytes.extend_from_slice(&row_bytes);
        }
        Ok(())
    }
}

fn scaled_row(dtype: Dtype, scales: &Scales, row: u64, bytes: &[u8], visit: &mut impl FnMut(Cell)) {
    let float = float8::range(dtype);
    for (column, byte) in (0..).zip(bytes) {
        let (scale, zero) = scales.at(row, column);
        visit(match float {
            Some(range) => float8::cell(dtype, range, *byte, scale),
            None => {
                let code = i16::from(*byte as i8);
                Cell::even(code, scale * (f32::from(code) - zero), scale)
            }
        });
    }
}

impl Matrix {
    pub(crate) fn check_rows(&self, rows: &Range<u64>) -> Result<()> {
        if rows.start <= rows.end && rows.end <= self.rows {
            return Ok(());
        }
        Err(Error::NoSuchRows { role: self.role.clone(), begin: rows.start, end: rows.end, rows: self.rows })
    }

    /// Bytes of a stored row. [`Layout::fits`] has made sure that there is such a number.
    pub(crate) fn row_bytes(&self, dtype: Dtype) -> u64 {
        dtype.bytes(self.columns).unwrap_or(0)
    }
}

impl Layout {
    /// Whether the matrix, as it stands, is within a tensor of that dtype and length. Its fields are public, so this is
    /// asked before every use.
    pub(crate) fn fits(&self, matrix: &Matrix, dtype: Dtype, bytes: u64) -> bool {
        let length = |rows: u64| dtype.bytes(matrix.columns)?.checked_mul(rows);
        let floats = matrix.grid == Grid::Float(dtype);
        match self {
            Layout::Rows { first, order } => {
                let whole = first.checked_add(matrix.rows).and_then(length).is_some_and(|length| length <= bytes);
                let codes = matrix.grid == Grid::Codes && blocks::range(dtype).is_some();
                whole && order.divides(matrix.rows) && (floats || codes)
            }
            Layout::Transposed => length(matrix.rows) == Some(bytes) && floats,
            Layout::Scaled { .. } => length(matrix.rows) == Some(bytes) && self.range(dtype).is_some(),
            Layout::Gptq { packing, .. } => {
                (packing.rows, packing.columns, packing.bytes()) == (matrix.rows, matrix.columns, bytes)
            }
            Layout::Awq { packing, .. } => {
                (packing.rows, packing.columns, packing.bytes()) == (matrix.rows, matrix.columns, bytes)
            }
        }
    }

    pub(crate) fn in_order(&self) -> bool {
        !matches!(self, Layout::Rows { order: Order::Neighbours { .. } | Order::ByKind { .. }, .. })
    }

    /// The tensor's row that holds a row of the matrix.
    pub(crate) fn stored_row(&self, row: u64, rows: u64) -> u64 {
        match self {
            Layout::Rows { first, order } => first + order.stored(row, rows),
            _ => row,
        }
    }

    /// The codes; `None` for floats.
    pub(crate) fn range(&self, dtype: Dtype) -> Option<CodeRange> {
        match self {
            Layout::Rows { .. } => blocks::range(dtype),
            Layout::Transposed => None,
            Layout::Scaled { .. } if dtype == Dtype::I8 => Some(scaled::INT8),
            Layout::Scaled { .. } => float8::range(dtype),
            Layout::Gptq { packing, .. } => Some(packing.range()),
            Layout::Awq { .. } => Some(awq::RANGE),
        }
    }
}

/// Appends elementwise floats as f32.
fn to_f32(dtype: Dtype, bytes: &[u8], values: &mut Vec<f32>) {
    match dtype {
        Dtype::F64 => values.extend(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32)),
        Dtype::F32 => values.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
        Dtype::F16 => values.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32())),
        _ => values.extend(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32())),
    }
}
