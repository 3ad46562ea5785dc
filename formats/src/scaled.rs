//! Whole tensors of int8 or 8-bit floats with scales beside them.
//!
//! Value of an element: scale · (code − zero), where a scale covers the whole tensor, a row, a run of columns of one row,
//! or a square of 128 × 128, as the scales' shape tells. Zero points, of the scales' shape, are 0 when absent.

use crate::codes::CodeRange;

/// Side of the squares that share a scale when scales come in two dimensions.
const SQUARE: u64 = 128;

/// Codes of int8. Quantisers leave out −128, but readers take it.
pub(crate) const INT8: CodeRange = CodeRange::even(-128, 127);

/// Which scale covers which element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cover {
    /// Rows to a scale.
    pub rows: u64,
    /// Columns to a scale.
    pub columns: u64,
    /// Scales in a row.
    pub across: u64,
}

impl Cover {
    /// From the shape of the scales of a matrix, where extents of 1 at the end count for nothing; `None` when it covers no such matrix.
    pub fn of(shape: &[u64], rows: u64, columns: u64) -> Option<Cover> {
        let mut shape = shape;
        while let [most @ .., 1] = shape {
            shape = most;
        }
        match *shape {
            [] => Some(Cover { rows, columns, across: 1 }),
            [each] if each == rows => Some(Cover { rows: 1, columns, across: 1 }),
            [each, across] if each == rows && across > 0 && columns.is_multiple_of(across) => {
                Some(Cover { rows: 1, columns: columns / across, across })
            }
            [down, across] if down == rows.div_ceil(SQUARE) && across == columns.div_ceil(SQUARE) => {
                Some(Cover { rows: SQUARE, columns: SQUARE, across })
            }
            _ => None,
        }
    }
}

/// Scales and zero points, loaded.
pub(crate) struct Scales {
    pub cover: Cover,
    pub scales: Vec<f32>,
    /// As many as scales, or none.
    pub zeros: Vec<f32>,
}

impl Scales {
    /// Scale and zero point of an element.
    pub fn at(&self, row: u64, column: u64) -> (f32, f32) {
        let index = (row / self.cover.rows * self.cover.across + column / self.cover.columns) as usize;
        let zero = self.zeros.get(index).copied().unwrap_or(0.0);
        (self.scales.get(index).copied().unwrap_or(f32::NAN), zero)
    }
}
