//! A stored tensor as a matrix of `f32`, and back onto the grid of its dtype, rounded to the nearest value.

use countermark_formats::{Checkpoint, Dtype};
use half::{bf16, f16};

use crate::Result;

/// A tensor's values, row-major. A vector is a matrix of one column; more than two dimensions are a stack of rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Values {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
    /// `rows · columns` values.
    pub data: Vec<f32>,
}

impl Values {
    /// Reads a tensor of a float dtype. F64 is rounded.
    pub fn read(model: &Checkpoint, index: usize) -> Result<Values> {
        let info = &model.tensors()[index].info;
        let mut bytes = Vec::new();
        model.read(index, &mut bytes)?;
        let (rows, columns) = rows_and_columns(&info.shape);
        Ok(Values { rows: rows as usize, columns: columns as usize, data: decode(&bytes, info.dtype) })
    }

    /// Rows as slices; none when there are no columns.
    pub fn by_row(&mut self) -> rayon::slice::ChunksExactMut<'_, f32> {
        use rayon::slice::ParallelSliceMut;
        self.data.par_chunks_exact_mut(self.columns.max(1))
    }

    /// Rows and columns exchanged.
    pub fn transposed(&self) -> Values {
        let mut data = Vec::with_capacity(self.data.len());
        for column in 0..self.columns {
            data.extend(self.data.iter().skip(column).step_by(self.columns));
        }
        Values { rows: self.columns, columns: self.rows, data }
    }
}

/// How a shape is read as a matrix: the innermost extent is the columns; a vector has one column.
pub(crate) fn rows_and_columns(shape: &[u64]) -> (u64, u64) {
    match shape {
        [] => (1, 1),
        [rows] => (*rows, 1),
        [leading @ .., columns] => (leading.iter().product(), *columns),
    }
}

/// Whether attacks can work on the dtype at all.
pub(crate) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::Bf16)
}

/// Little-endian elements of a float dtype as `f32`.
fn decode(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    match dtype {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::Bf16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
    }
}

/// The elements in a float dtype, little-endian.
pub(crate) fn encode(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F64 => values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        Dtype::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        let values = [0.0, -0.0, 1.5, -3.25, 1.0 / 1024.0, f32::INFINITY];
        for dtype in [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::Bf16] {
            assert_eq!(decode(&encode(&values, dtype), dtype), values, "{dtype}");
        }
    }

    #[test]
    fn transposing_twice_changes_nothing() {
        let values = Values { rows: 2, columns: 3, data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        assert_eq!(values.transposed().data, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(values.transposed().transposed(), values);
    }
}
