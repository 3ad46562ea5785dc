//! The matrices of a checkpoint by their canonical roles, as f32 tensors on a device.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{Device, Tensor};
use countermark_formats::{Checkpoint, Dtype};
use half::{bf16, f16};

use crate::Result;

struct Entry {
    tensor: usize,
    shape: (usize, usize),
    dtype: Dtype,
}

/// A checkpoint whose matrices are looked up by role.
pub(crate) struct Source<'a> {
    checkpoint: &'a Checkpoint,
    device: Device,
    matrices: BTreeMap<String, Entry>,
}

impl<'a> Source<'a> {
    pub fn new(checkpoint: &'a Checkpoint, device: &Device) -> Result<Source<'a>> {
        let mut matrices = BTreeMap::new();
        for (tensor, found) in checkpoint.tensors().iter().enumerate() {
            if let [rows, columns] = found.info.shape[..] {
                let entry = Entry { tensor, shape: (rows as usize, columns as usize), dtype: found.info.dtype };
                matrices.insert(role(&found.info.name), entry);
            }
        }
        Ok(Source { checkpoint, device: device.clone(), matrices })
    }

    /// The roles of all matrices, sorted.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.matrices.keys().map(String::as_str)
    }

    /// Rows and columns of a matrix.
    pub fn shape(&self, role: &str) -> Option<(usize, usize)> {
        self.matrices.get(role).map(|entry| entry.shape)
    }

    /// Rows of a matrix as \[rows, columns\] in f32.
    pub fn rows(&self, role: &str, rows: Range<usize>) -> Result<Tensor> {
        let columns = self.shape(role).map_or(0, |shape| shape.1);
        let count = rows.len();
        let mut values = Vec::new();
        self.read(role, rows, &mut values)?;
        Ok(Tensor::from_vec(values, (count, columns), &self.device)?)
    }

    /// A whole matrix as \[rows, columns\] in f32.
    pub fn load(&self, role: &str) -> Result<Tensor> {
        self.rows(role, 0..self.shape(role).map_or(0, |shape| shape.0))
    }
}

fn role(name: &str) -> String {
    name.trim_end_matches(".weight")
        .trim_start_matches("model.")
        .replace("_proj", "")
        .replace("embed_tokens", "embed")
        .replace("self_attn", "attn")
}

impl Source<'_> {
    /// Rows of a matrix on the host.
    pub fn read(&self, role: &str, rows: Range<usize>, values: &mut Vec<f32>) -> Result<()> {
        values.clear();
        let Some(entry) = self.matrices.get(role) else { return Ok(()) };
        let size = entry.dtype.bits() / 8 * entry.shape.1 as u64;
        let mut bytes = Vec::new();
        self.checkpoint.read_range(entry.tensor, rows.start as u64 * size..rows.end as u64 * size, &mut bytes)?;
        decode(entry.dtype, &bytes, values);
        Ok(())
    }

    /// The number format of a matrix whose elements are floats of their own, `None` for codes with scales.
    pub fn float(&self, role: &str) -> Option<Dtype> {
        let dtype = self.matrices.get(role)?.dtype;
        matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::Bf16).then_some(dtype)
    }

    /// The stored number format of a matrix.
    pub fn format(&self, role: &str) -> Option<Dtype> {
        self.matrices.get(role).map(|entry| entry.dtype)
    }

    /// Bits for each weight of a matrix that is stored as codes.
    pub fn bits(&self, _role: &str) -> Option<u32> {
        None
    }

    /// Gains of the normalisation before the MLP of this axis, which multiply the columns of `up` and `gate`.
    pub fn gains(&self, axis: &str, width: usize) -> Result<Option<Tensor>> {
        const NAMES: [&str; 6] = [
            "pre_feedforward_layernorm.weight",
            "ffn_norm.weight",
            "post_attention_layernorm.weight",
            "ln_2.weight",
            "mlp_norm.weight",
            "pre_mlp_layernorm.weight",
        ];
        let Some(layer) = axis.split('.').find(|part| part.parse::<u32>().is_ok()) else { return Ok(None) };
        let place = format!(".{layer}.");
        for end in NAMES {
            let fits = |name: &str| name.strip_suffix(end).is_some_and(|start| start.ends_with(&place));
            let found = self.checkpoint.tensors().iter().position(|tensor| fits(&tensor.info.name));
            let Some(index) = found else { continue };
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
