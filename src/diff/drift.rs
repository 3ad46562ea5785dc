//! How far one tensor has moved from another, read side by side in blocks.

use std::io::Read;

use countermark_formats::{Numbers, Tensors};
use countermark_lineage::Error as Io;
use serde::Serialize;

use crate::Error;

/// Elements that are compared at a time.
const BLOCK: u64 = 1 << 16;

/// How far the values of a tensor moved. All values are finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// ‖second − first‖ / ‖first‖; absent when the first is all zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<f64>,
    /// ‖first‖, the square root of the sum of squares.
    pub norm_first: f64,
    /// ‖second‖.
    pub norm_second: f64,
    /// ‖second − first‖.
    pub norm_difference: f64,
    /// The largest |second − first| of one element.
    pub max_difference: f64,
}

/// Compares two tensors, each given by its model and its place in the model's list. `None` when their extents differ, one
/// is not of plain numbers, or a value is not finite.
pub(super) fn measure(
    a: (&Tensors, usize),
    b: (&Tensors, usize),
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Option<Drift>, Error> {
    let (tensor_a, tensor_b) = (&a.0.list()[a.1], &b.0.list()[b.1]);
    let (Some(numbers_a), Some(numbers_b)) = (Numbers::of(&tensor_a.dtype), Numbers::of(&tensor_b.dtype)) else {
        return Ok(None);
    };
    if tensor_a.shape != tensor_b.shape {
        return Ok(None);
    }
    let mut readers =
        (a.0.reader(a.1).map_err(Io::io(&tensor_a.name))?, b.0.reader(b.1).map_err(Io::io(&tensor_b.name))?);
    let (mut bytes, mut x, mut y) = (Vec::new(), Vec::new(), Vec::new());
    let (mut first, mut second, mut difference, mut most) = (0.0, 0.0, 0.0, 0.0_f64);
    let mut left = tensor_a.bytes / numbers_a.size() as u64;
    while left > 0 {
        let count = left.min(BLOCK);
        progress(0);
        fill(&mut readers.0, numbers_a, count, &mut bytes, &mut x).map_err(Io::io(&tensor_a.name))?;
        fill(&mut readers.1, numbers_b, count, &mut bytes, &mut y).map_err(Io::io(&tensor_b.name))?;
        for (x, y) in x.iter().zip(&y) {
            let step = y - x;
            first += x * x;
            second += y * y;
            difference += step * step;
            most = most.max(step.abs());
        }
        left -= count;
    }
    let (norm_first, norm_second, norm_difference) = (first.sqrt(), second.sqrt(), difference.sqrt());
    if ![norm_first, norm_second, norm_difference].iter().all(|norm| norm.is_finite()) {
        return Ok(None);
    }
    let drift = (norm_first > 0.0).then(|| norm_difference / norm_first);
    Ok(Some(Drift { drift, norm_first, norm_second, norm_difference, max_difference: most }))
}

/// Reads the next `count` elements into `out`.
fn fill(
    reader: &mut dyn Read,
    numbers: Numbers,
    count: u64,
    bytes: &mut Vec<u8>,
    out: &mut Vec<f64>,
) -> std::io::Result<()> {
    bytes.resize(count as usize * numbers.size(), 0);
    reader.read_exact(bytes)?;
    out.clear();
    numbers.read(bytes, out);
    Ok(())
}
