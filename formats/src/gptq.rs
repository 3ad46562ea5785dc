//! GPTQ's packing: codes of 2, 4 or 8 bits in 32-bit words along the inputs.
//!
//! For a matrix of R outputs and C inputs, with n = 32 / bits codes to a word, the lowest bits first:
//!
//! | tensor | type, shape | holds |
//! |---|---|---|
//! | `qweight` | I32, \[C / n, R\] | code of (r, c) in word (⌊c / n⌋, r), place c mod n |
//! | `qzeros` | I32, \[groups, R / n\] | zero point of (group, r) in word (group, ⌊r / n⌋), place r mod n |
//! | `scales` | F16, BF16 or F32, \[groups, R\] | scale of (group, r) |
//! | `g_idx` | I32, \[C\], may be absent | group of input c; without it, equal runs of inputs |
//!
//! value = scale · (code − zero). Two conventions exist for the zero points, and no tensor says which: version 1
//! (AutoGPTQ, and what GPTQModel writes for compatibility) stores zero − 1, version 2 stores zero. Here a tensor in
//! which every stored zero point is 2^(bits − 1), the symmetric case, is version 2; any other is version 1, where
//! zero = (stored + 1) mod 2^bits. An asymmetric file of version 2 is thus read with values too low by one scale
//! throughout: the steps and codes are right, the offset is not.

use crate::codes::{Cell, CodeRange};

/// Shape of the packing, from the tensors' shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    pub bits: u32,
    pub rows: u64,
    pub columns: u64,
    pub groups: u64,
}

impl Packing {
    /// From the shapes of `qweight`, `qzeros` and `scales`; `None` when they do not fit this packing.
    pub fn of(qweight: &[u64], qzeros: &[u64], scales: &[u64]) -> Option<Packing> {
        let ([words, rows], [zero_groups, zero_words], [groups, scale_rows]) = (qweight, qzeros, scales) else {
            return None;
        };
        let (words, rows, groups) = (*words, *rows, *groups);
        if rows != *scale_rows || groups != *zero_groups || rows == 0 || groups == 0 || words == 0 {
            return None;
        }
        let bits = [2, 4, 8].into_iter().find(|bits| zero_words.checked_mul(32 / bits) == Some(rows))?;
        let columns = words.checked_mul(32 / bits)?;
        (groups <= columns).then_some(Packing { bits: bits as u32, rows, columns, groups })
    }

    pub fn range(&self) -> CodeRange {
        CodeRange::even(0, (1 << self.bits) - 1)
    }

    /// Length of `qweight`.
    pub fn bytes(&self) -> u64 {
        self.rows * self.columns / self.per_word() * 4
    }

    /// Length of `qzeros`.
    pub fn zero_bytes(&self) -> u64 {
        self.rows * self.groups / self.per_word() * 4
    }

    fn per_word(&self) -> u64 {
        u64::from(32 / self.bits)
    }

    /// Byte where the word of an element begins, and the place of its lowest bit. A word is little-endian and no code
    /// crosses a byte, so the code is within one byte.
    fn place(&self, row: u64, column: u64) -> (usize, u32) {
        let word = column / self.per_word() * self.rows + row;
        let bit = self.bits * (column % self.per_word()) as u32;
        (word as usize * 4 + bit as usize / 8, bit % 8)
    }

    fn mask(&self) -> u8 {
        (0xff_u16 >> (8 - self.bits)) as u8
    }

    /// Puts a code, which must be in range, among the bytes of `qweight`.
    pub fn put(&self, bytes: &mut [u8], row: u64, column: u64, code: i16) {
        let (byte, shift) = self.place(row, column);
        bytes[byte] = bytes[byte] & !(self.mask() << shift) | (code as u8 & self.mask()) << shift;
    }

    /// Zero points of all groups and rows.
    pub fn zeros(&self, bytes: &[u8]) -> Vec<u8> {
        let stored = |index: u64| {
            let bit = index % self.per_word() * u64::from(self.bits);
            let byte = bytes[(index / self.per_word() * 4 + bit / 8) as usize];
            byte >> (bit % 8) & self.mask()
        };
        let mut zeros: Vec<u8> = (0..self.groups * self.rows).map(stored).collect();
        let middle = 1 << (self.bits - 1);
        if zeros.iter().any(|zero| *zero != middle) {
            zeros.iter_mut().for_each(|zero| *zero = zero.wrapping_add(1) & self.mask());
        }
        zeros
    }
}

/// A layer, loaded.
pub(crate) struct Gptq {
    pub packing: Packing,
    /// Bytes of `qweight`.
    pub codes: Vec<u8>,
    /// Zero point of each group and row.
    pub zeros: Vec<u8>,
    /// Scale of each group and row.
    pub scales: Vec<f32>,
    /// Group of each input.
    pub groups: Vec<u32>,
}

impl Gptq {
    pub fn row(&self, row: u64, visit: &mut impl FnMut(Cell)) {
        for (column, group) in (0u64..).zip(&self.groups) {
            let (byte, shift) = self.packing.place(row, column);
            let code = i16::from(self.codes[byte] >> shift & self.packing.mask());
            let index = (u64::from(*group) * self.packing.rows + row) as usize;
            let scale = self.scales[index];
            visit(Cell::even(code, scale * f32::from(code - i16::from(self.zeros[index])), scale));
        }
    }
}
