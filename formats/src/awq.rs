//! AWQ's packing (its GEMM version): codes of 4 bits in 32-bit words along the outputs.
//!
//! For a matrix of R outputs and C inputs:
//!
//! | tensor | type, shape | holds |
//! |---|---|---|
//! | `qweight` | I32, \[C, R / 8\] | code of (r, c) in word (c, ⌊r / 8⌋), nibble [`NIBBLE`]\[r mod 8\] |
//! | `qzeros` | I32, \[C / group, R / 8\] | zero point, packed alike |
//! | `scales` | F16, BF16 or F32, \[C / group, R\] | scale |
//!
//! value = scale · (code − zero), with the zero point as stored.

use crate::codes::{Cell, CodeRange};

/// Nibble of each of a word's eight outputs: the even ones come first.
const NIBBLE: [u64; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// The codes.
pub(crate) const RANGE: CodeRange = CodeRange::even(0, 15);

/// Shape of the packing, from the tensors' shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    pub rows: u64,
    pub columns: u64,
    pub groups: u64,
}

impl Packing {
    /// From the shapes of `qweight`, `qzeros` and `scales`; `None` when they do not fit this packing.
    pub fn of(qweight: &[u64], qzeros: &[u64], scales: &[u64]) -> Option<Packing> {
        let ([columns, words], [zero_groups, zero_words], [groups, rows]) = (qweight, qzeros, scales) else {
            return None;
        };
        let fits = words.checked_mul(8) == Some(*rows) && words == zero_words && groups == zero_groups;
        let whole = *rows > 0 && *groups > 0 && *columns > 0 && columns.is_multiple_of(*groups);
        (fits && whole).then(|| Packing { rows: *rows, columns: *columns, groups: *groups })
    }

    /// Length of `qweight`.
    pub fn bytes(&self) -> u64 {
        self.columns * self.rows / 2
    }

    /// Length of `qzeros`.
    pub fn zero_bytes(&self) -> u64 {
        self.groups * self.rows / 2
    }

    /// Byte and shift of a nibble in a tensor whose rows are inputs or groups.
    fn place(&self, line: u64, row: u64) -> (usize, u64) {
        let bit = NIBBLE[(row % 8) as usize] * 4;
        let word = line * (self.rows / 8) + row / 8;
        ((word * 4 + bit / 8) as usize, bit % 8)
    }

    fn get(&self, bytes: &[u8], line: u64, row: u64) -> i16 {
        let (byte, shift) = self.place(line, row);
        i16::from(bytes[byte] >> shift & 15)
    }

    /// Puts a code, which must be in range, among the bytes of `qweight`.
    pub fn put(&self, bytes: &mut [u8], row: u64, column: u64, code: i16) {
        let (byte, shift) = self.place(column, row);
        bytes[byte] = bytes[byte] & !(15 << shift) | (code as u8 & 15) << shift;
    }
}

/// A layer, loaded.
pub(crate) struct Awq {
    pub packing: Packing,
    /// Bytes of `qweight`.
    pub codes: Vec<u8>,
    /// Bytes of `qzeros`.
    pub zeros: Vec<u8>,
    /// Scale of each group and row.
    pub scales: Vec<f32>,
}

impl Awq {
    pub fn row(&self, row: u64, visit: &mut impl FnMut(Cell)) {
        let packing = self.packing;
        let run = packing.columns / packing.groups;
        for column in 0..packing.columns {
            let group = column / run;
            let code = packing.get(&self.codes, column, row);
            let zero = packing.get(&self.zeros, group, row);
            let scale = self.scales[(group * packing.rows + row) as usize];
            visit(Cell::even(code, scale * f32::from(code - zero), scale));
        }
    }
}
