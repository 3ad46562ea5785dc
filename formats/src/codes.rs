//! Quantised weights as codes: integers on a grid, with what one step up or down changes.

/// Codes of some rows, row-major. A move of k codes up changes the value by k·up, one of k codes down by −k·down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CodeBlock {
    /// The codes, each in `low..=high`.
    pub code: Vec<i16>,
    /// Their values, dequantised as the format's own reader does.
    pub value: Vec<f32>,
    /// Change of the value for one code up. Negative when a scale is; 0 where no code lies above, or for a value that is
    /// not finite, which stays as it is.
    pub up: Vec<f32>,
    /// Change of the value for one code down, with its sign turned round: on an even grid the same as `up`.
    pub down: Vec<f32>,
    /// The least code there is.
    pub low: i16,
    /// The greatest code there is.
    pub high: i16,
    /// The largest move in one go: 1 on an uneven grid, where `up` and `down` hold for one step only, else high − low.
    pub most: i16,
}

impl CodeBlock {
    pub(crate) fn clear(&mut self, range: CodeRange) {
        self.code.clear();
        self.value.clear();
        self.up.clear();
        self.down.clear();
        (self.low, self.high, self.most) = (range.low, range.high, range.most);
    }

    pub(crate) fn push(&mut self, cell: Cell) {
        self.code.push(cell.code);
        self.value.push(cell.value);
        self.up.push(cell.up);
        self.down.push(cell.down);
    }
}

/// The codes that a format has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodeRange {
    pub low: i16,
    pub high: i16,
    pub most: i16,
}

impl CodeRange {
    /// An even grid.
    pub const fn even(low: i16, high: i16) -> CodeRange {
        CodeRange { low, high, most: high - low }
    }
}

/// One code: see [`CodeBlock`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cell {
    pub code: i16,
    pub value: f32,
    pub up: f32,
    pub down: f32,
}

impl Cell {
    /// On an even grid.
    pub fn even(code: i16, value: f32, step: f32) -> Cell {
        Cell { code, value, up: step, down: step }
    }
}
