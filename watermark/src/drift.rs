//! How far one tensor has moved from another.

use candle_core::{DType, Device, Tensor};
use countermark_formats::{Checkpoint, Dtype};

use crate::Result;

/// Elements that are compared at a time.
const BLOCK: u64 = 1 << 20;

/// ‖b − a‖ / ‖a‖ of two float tensors of one shape, whatever their dtypes, each given as a model and an index into its
/// tensors.
///
/// `None` for other dtypes, other shapes, an all-zero `a`, and weights that are not finite.
///
/// # Errors
/// [`Error::Weights`](crate::Error::Weights) when a model cannot be read.
pub fn drift(a: (&Checkpoint, usize), b: (&Checkpoint, usize)) -> Result<Option<f64>> {
    let (info_a, info_b) = (&a.0.tensors()[a.1].info, &b.0.tensors()[b.1].info);
    let (Some(dtype_a), Some(dtype_b)) = (float(info_a.dtype), float(info_b.dtype)) else { return Ok(None) };
    if info_a.shape != info_b.shape {
        return Ok(None);
    }
    let (mut moved, mut whole) = (0.0, 0.0);
    let mut buffer = Vec::new();
    let mut read = |(model, index): (&Checkpoint, usize), dtype: DType, first: u64, count: u64| -> Result<Tensor> {
        let size = dtype.size_in_bytes() as u64;
        model.read_range(index, first * size..(first + count) * size, &mut buffer)?;
        Ok(Tensor::from_raw_buffer(&buffer, dtype, &[count as usize], &Device::Cpu)?.to_dtype(DType::F64)?)
    };
    for first in (0..info_a.elements()).step_by(BLOCK as usize) {
        let count = BLOCK.min(info_a.elements() - first);
        let (x, y) = (read(a, dtype_a, first, count)?, read(b, dtype_b, first, count)?);
        moved += (y - &x)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
        whole += x.sqr()?.sum_all()?.to_scalar::<f64>()?;
    }
    let drift = (moved / whole).sqrt();
    Ok(drift.is_finite().then_some(drift))
}

fn float(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F64 => Some(DType::F64),
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::Bf16 => Some(DType::BF16),
        _ => None,
    }
}
