//! The matrices of a checkpoint by their canonical roles, as f32 tensors on a device or row by row on the host.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{Device, Tensor};
use countermark_formats::{Checkpoint, CodeBlock, Dtype, Grid, Matrix, Rows};
use half::{bf16, f16};

use crate::Result;

/// A checkpoint whose matrices are looked up by role.
pub(crate) struct Source<'a> {
    checkpoint: &'a Checkpoint,
    device: Device,
    matrices: BTreeMap<String, Matrix>,
    norms: BTreeMap<String, [Option<usize>; NORMS.len()]>,
}

impl<'a> Source<'a> {
    pub fn new(checkpoint: &'a Checkpoint, device: &Device) -> Source<'a> {
        let indexable = |matrix: &Matrix| matrix.rows <= u32::MAX.into() && matrix.columns <= u32::MAX.into();
        let matrices = checkpoint.matrices().into_iter().filter(indexable);
        let matrices = matrices.map(|matrix| (matrix.role.clone(), matrix)).collect();
        Source { checkpoint, device: device.clone(), matrices, norms: norms(checkpoint) }
    }

    /// The roles of all matrices, sorted.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.matrices.keys().map(String::as_str)
    }

    /// Rows and columns of a matrix.
    pub fn shape(&self, role: &str) -> Option<(usize, usize)> {
        self.matrices.get(role).map(|matrix| (matrix.rows as usize, matrix.columns as usize))
    }

    /// The stored number format of a matrix.
    pub fn format(&self, role: &str) -> Option<Dtype> {
        let tensor = self.matrices.get(role)?.tensor;
        self.checkpoint.tensors().get(tensor).map(|tensor| tensor.info.dtype)
    }

    /// The number format of a matrix whose elements are floats of their own, `None` for codes with scales.
    pub fn float(&self, role: &str) -> Option<Dtype> {
        match self.matrices.get(role)?.grid {
            Grid::Float(dtype) => Some(dtype),
            Grid::Codes => None,
        }
    }

    /// Opens a matrix for reading by rows; no rows for an unknown role.
    pub fn open(&self, role: &str) -> Result<Opened<'_>> {
        let matrix = self.matrices.get(role);
        Ok(Opened { rows: matrix.map(|matrix| self.checkpoint.rows(matrix)).transpose()? })
    }

    /// Rows of a matrix as \[rows, columns\] in f32.
    pub fn rows(&self, role: &str, rows: Range<usize>) -> Result<Tensor> {
        let columns = self.shape(role).map_or(0, |shape| shape.1);
        let count = rows.len();
        let mut values = Vec::new();
        self.open(role)?.values(rows, &mut values)?;
        Ok(Tensor::from_vec(values, (count, columns), &self.device)?)
    }

    /// A whole matrix as \[rows, columns\] in f32.
    pub fn load(&self, role: &str) -> Result<Tensor> {
        self.rows(role, 0..self.shape(role).map_or(0, |shape| shape.0))
    }

    /// Gains of the normalisation before the MLP of this axis, which multiply the columns of `up` and `gate`.
    pub fn gains(&self, axis: &str, width: usize) -> Result<Option<Tensor>> {
        let Some(layer) = axis.split('.').find(|part| part.parse::<u32>().is_ok()) else { return Ok(None) };
        for &index in self.norms.get(layer).into_iter().flatten().flatten() {
            let info = &self.checkpoint.tensors()[index].info;
            let mut values = Vec::new();
            if info.shape == [width as u64] {
                let mut bytes = Vec::new();
                self.checkpoint.read(index, &mut bytes)?;
                decode(info.dtype, &bytes, &mut values);
            }
            if values.len() == width && values.iter().all(|gain| gain.is_finite()) {
                return Ok(Some(Tensor::from_vec(values, (1, width), &self.device)?));
            }
        }
        Ok(None)
    }
}

/// Norms that an MLP may read from. Where a layer has several, the one right before the MLP comes first here.
const NORMS: [&str; 6] = [
    "pre_feedforward_layernorm.weight",
    "ffn_norm.weight",
    "post_attention_layernorm.weight",
    "ln_2.weight",
    "mlp_norm.weight",
    "pre_mlp_layernorm.weight",
];

/// For each layer's number, as written, the first tensor of each of the [`NORMS`].
fn norms(checkpoint: &Checkpoint) -> BTreeMap<String, [Option<usize>; NORMS.len()]> {
    let mut norms: BTreeMap<String, [Option<usize>; NORMS.len()]> = BTreeMap::new();
    for (index, tensor) in checkpoint.tensors().iter().enumerate() {
        for (kind, end) in NORMS.iter().enumerate() {
            let start = tensor.info.name.strip_suffix(end).and_then(|start| start.strip_suffix('.'));
            if let Some((_, layer)) = start.and_then(|start| start.rsplit_once('.')) {
                norms.entry(layer.to_owned()).or_default()[kind].get_or_insert(index);
            }
        }
    }
    norms
}

/// A matrix open for reading.
pub(crate) struct Opened<'a> {
    rows: Option<Rows<'a>>,
}

impl Opened<'_> {
    /// Values of some rows, row-major.
    pub fn values(&self, rows: Range<usize>, values: &mut Vec<f32>) -> Result<()> {
        values.clear();
        if let Some(open) = &self.rows {
            open.values(rows.start as u64..rows.end as u64, values)?;
        }
        Ok(())
    }

    /// Codes of some rows, of a matrix that has any.
    pub fn codes(&self, rows: Range<usize>, codes: &mut CodeBlock) -> Result<()> {
        if let Some(open) = &self.rows {
            open.codes(rows.start as u64..rows.end as u64, codes)?;
        }
        Ok(())
    }
}

/// Little-endian floats as f32; nothing for other dtypes.
fn decode(dtype: Dtype, bytes: &[u8], values: &mut Vec<f32>) {
    match dtype {
        Dtype::F64 => values.extend(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32)),
        Dtype::F32 => values.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
        Dtype::F16 => values.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32())),
        Dtype::Bf16 => values.extend(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32())),
        _ => {}
    }
}
