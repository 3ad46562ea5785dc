//! Changing a tensor's stored bytes through its matrices.

use std::ops::Range;

use crate::matrix::{Grid, Layout, Matrix};
use crate::{Checkpoint, Dtype, Error, Result, blocks, float8};

/// The stored bytes of a tensor, to be changed by matrix and rows and then written where they were read.
pub struct Edit {
    tensor: usize,
    name: String,
    dtype: Dtype,
    bytes: Vec<u8>,
}

impl Checkpoint {
    /// Reads a tensor's stored bytes to change them.
    ///
    /// # Errors
    /// An index out of range, or a source that fails.
    pub fn edit(&self, tensor: usize) -> Result<Edit> {
        let mut bytes = Vec::new();
        self.read(tensor, &mut bytes)?;
        let info = &self.tensors()[tensor].info;
        Ok(Edit { tensor, name: info.name.clone(), dtype: info.dtype, bytes })
    }
}

impl Edit {
    /// Puts the elements of some rows of a matrix of floats: little-endian bytes in the stored dtype, in logical order.
    ///
    /// # Errors
    /// A matrix of codes or of another tensor, rows out of range, or bytes that do not fill them. Nothing has changed
    /// then.
    pub fn put_raw(&mut self, matrix: &Matrix, rows: Range<u64>, bytes: &[u8]) -> Result<()> {
        if matrix.grid == Grid::Codes {
            return Err(Error::WrongGrid { role: matrix.role.clone(), wanted: "raw floats" });
        }
        self.check(matrix, &rows)?;
        let width = matrix.row_bytes(self.dtype) as usize;
        check_length(matrix, &rows, width, bytes.len(), "bytes")?;
        let size = (self.dtype.bits() / 8) as usize;
        for (row, bytes) in rows.zip(bytes.chunks_exact(width)) {
            if matrix.layout == Layout::Transposed {
                for (column, element) in (0..).zip(bytes.chunks_exact(size)) {
                    let at = (column * matrix.rows + row) as usize * size;
                    self.bytes[at..at + size].copy_from_slice(element);
                }
            } else {
                self.row(matrix, row).copy_from_slice(bytes);
            }
        }
        Ok(())
    }

    /// Puts the codes of some rows, row-major. Scales and zero points never change, and of the bytes only those whose
    /// codes do.
    ///
    /// # Errors
    /// A matrix of floats or of another tensor, rows out of range, or codes that do not fill them or are out of range.
    /// Nothing has changed then.
    pub fn put_codes(&mut self, matrix: &Matrix, rows: Range<u64>, codes: &[i16]) -> Result<()> {
        self.check(matrix, &rows)?;
        let range = matrix.layout.range(self.dtype).filter(|_| matrix.grid == Grid::Codes);
        let Some(range) = range else {
            return Err(Error::WrongGrid { role: matrix.role.clone(), wanted: "codes" });
        };
        check_length(matrix, &rows, matrix.columns as usize, codes.len(), "codes")?;
        if let Some(wrong) = codes.iter().find(|code| !(range.low..=range.high).contains(code)) {
            let reason = format!("code {wrong} is outside {} to {}", range.low, range.high);
            return Err(Error::BadValues { role: matrix.role.clone(), reason });
        }
        for (row, codes) in rows.zip(codes.chunks_exact(matrix.columns as usize)) {
            self.put_row(matrix, row, codes);
        }
        Ok(())
    }

    /// The bytes as they stand.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn put_row(&mut self, matrix: &Matrix, row: u64, codes: &[i16]) {
        let dtype = self.dtype;
        let by_column = (0u64..).zip(codes);
        match matrix.layout {
            Layout::Gptq { packing, .. } => {
                by_column.for_each(|(column, code)| packing.put(&mut self.bytes, row, column, *code));
            }
            Layout::Awq { packing, .. } => {
                by_column.for_each(|(column, code)| packing.put(&mut self.bytes, row, column, *code));
            }
            Layout::Scaled { .. } => {
                for (byte, code) in self.row(matrix, row).iter_mut().zip(codes) {
                    if dtype == Dtype::I8 {
                        *byte = *code as i8 as u8;
                    } else {
                        float8::put(dtype, byte, *code);
                    }
                }
            }
            Layout::Rows { .. } | Layout::Transposed => blocks::encode(dtype, self.row(matrix, row), codes),
        }
    }

    /// The stored bytes of a row, which is in range, of a matrix that fits.
    fn row(&mut self, matrix: &Matrix, row: u64) -> &mut [u8] {
        let width = matrix.row_bytes(self.dtype) as usize;
        let at = matrix.layout.stored_row(row, matrix.rows) as usize * width;
        &mut self.bytes[at..at + width]
    }

    fn check(&self, matrix: &Matrix, rows: &Range<u64>) -> Result<()> {
        if matrix.tensor != self.tensor || !matrix.layout.fits(matrix, self.dtype, self.bytes.len() as u64) {
            return Err(Error::ForeignMatrix { role: matrix.role.clone(), tensor: self.name.clone() });
        }
        matrix.check_rows(rows)
    }
}

fn check_length(matrix: &Matrix, rows: &Range<u64>, width: usize, given: usize, what: &str) -> Result<()> {
    let wanted = (rows.end - rows.start).checked_mul(width as u64);
    if wanted == Some(given as u64) {
        return Ok(());
    }
    let rows = rows.end - rows.start;
    let reason = format!("{given} {what} are given for {rows} rows of {width}");
    Err(Error::BadValues { role: matrix.role.clone(), reason })
}
