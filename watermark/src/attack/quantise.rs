//! Round trips through fewer bits: what is left after quantising a matrix and reading it back.
//!
//! Groups are consecutive weights of one row, as in GPTQ and AWQ; the last group of a row may be shorter. Weights that
//! are not finite stay as they are and count for no scale.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::Blocks;
use super::values::Values;
use crate::Result;

/// The 16 levels of NF4: quantiles of a normal, scaled to 1 (Dettmers et al., QLoRA, 2023).
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];
/// The largest value of an 8-bit float with 4 exponent bits.
const F8_MAX: f32 = 448.0;
/// Weights that one call of the block quantisers takes at least.
const PANEL: usize = 1 << 16;

/// Symmetric integers −`top`..=`top`, one scale for each group: max |w| / top.
pub(crate) fn integer(values: &mut Values, group: usize, top: f32) {
    each_group(values, group, |weights, largest| {
        let scale = largest / top;
        finite(weights).for_each(|w| *w = (*w / scale).round_ties_even() * scale);
    });
}

/// Ternary weight networks (Li et al., 2016): zero below 0.7 · mean |w|, else ± the mean magnitude of the others.
pub(crate) fn ternary(values: &mut Values, group: usize) {
    each_group(values, group, |weights, _| {
        let mean = |sizes: &[f32]| sizes.iter().sum::<f32>() / sizes.len().max(1) as f32;
        let sizes: Vec<f32> = finite(weights).map(|w| w.abs()).collect();
        let threshold = 0.7 * mean(&sizes);
        let size = mean(&sizes.into_iter().filter(|s| *s > threshold).collect::<Vec<_>>());
        finite(weights).for_each(|w| *w = if w.abs() > threshold { size.copysign(*w) } else { 0.0 });
    });
}

/// The nearest of 16 levels times max |w| of the group.
pub(crate) fn nf4(values: &mut Values, group: usize) {
    each_group(values, group, |weights, largest| {
        for w in finite(weights) {
            let x = *w / largest;
            let above = NF4.partition_point(|level| *level < x).clamp(1, 15);
            let (low, high) = (NF4[above - 1], NF4[above]);
            *w = if x - low <= high - x { low } else { high } * largest;
        }
    });
}

/// 8-bit floats with 4 exponent and 3 fraction bits, one scale for each row that brings max |w| to 448.
pub(crate) fn float8(values: &mut Values) {
    each_group(values, usize::MAX, |weights, largest| {
        let scale = largest / F8_MAX;
        finite(weights).for_each(|w| *w = round_e4m3(*w / scale) * scale);
    });
}

/// To the nearest 8-bit float, ties to even. Below 2⁻⁶ the grid is even.
fn round_e4m3(x: f32) -> f32 {
    let exponent = ((x.to_bits() >> 23 & 0xff) as i32 - 127).max(-6);
    let step = f32::from_bits(((exponent - 3 + 127) as u32) << 23);
    ((x / step).round_ties_even() * step).clamp(-F8_MAX, F8_MAX)
}

/// Through the block formats of llama.cpp, by candle's quantisers. A row whose length is no multiple of 256 takes the
/// format that llama.cpp falls back to, or one close to it; one that is no multiple of 32 stays as it is.
pub(crate) fn blocks(values: &mut Values, format: Blocks) -> Result<()> {
    let columns = values.columns;
    let dtype = match format {
        _ if columns == 0 || !columns.is_multiple_of(32) => return Ok(()),
        _ if columns.is_multiple_of(256) => format.dtype(),
        _ => format.narrow().dtype(),
    };
    values.data.par_chunks_mut((PANEL / columns).max(1) * columns).try_for_each(|rows| {
        let clean = rows.iter().map(|w| if w.is_finite() { *w } else { 0.0 }).collect();
        let tensor = Tensor::from_vec(clean, (rows.len() / columns, columns), &Device::Cpu)?;
        let read = QTensor::quantize(&tensor, dtype)?.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        rows.iter_mut().zip(read).filter(|(w, _)| w.is_finite()).for_each(|(w, read)| *w = read);
        Ok(())
    })
}

impl Blocks {
    fn dtype(self) -> GgmlDType {
        match self {
            Blocks::Q8_0 => GgmlDType::Q8_0,
            Blocks::Q6K => GgmlDType::Q6K,
            Blocks::Q5K => GgmlDType::Q5K,
            Blocks::Q5_1 => GgmlDType::Q5_1,
            Blocks::Q5_0 => GgmlDType::Q5_0,
            Blocks::Q4K => GgmlDType::Q4K,
            Blocks::Q4_1 => GgmlDType::Q4_1,
            Blocks::Q4_0 => GgmlDType::Q4_0,
            Blocks::Q3K => GgmlDType::Q3K,
            Blocks::Q2K => GgmlDType::Q2K,
        }
    }

    /// The format of blocks of 32 that stands in for one of blocks of 256. llama.cpp takes IQ4_NL instead of the last.
    fn narrow(self) -> Blocks {
        match self {
            Blocks::Q6K => Blocks::Q8_0,
            Blocks::Q5K => Blocks::Q5_1,
            Blocks::Q4K => Blocks::Q5_0,
            Blocks::Q3K | Blocks::Q2K => Blocks::Q4_0,
            other => other,
        }
    }
}

/// Hands every group to `change` with its largest finite magnitude, unless that is zero.
fn each_group(values: &mut Values, group: usize, change: impl Fn(&mut [f32], f32) + Sync) {
    values.by_row().for_each(|row| {
        for weights in row.chunks_mut(group.max(1)) {
            let largest = finite(weights).fold(0f32, |top, w| top.max(w.abs()));
            if largest > 0.0 {
                change(weights, largest);
            }
        }
    });
}

fn finite(weights: &mut [f32]) -> impl Iterator<Item = &mut f32> {
    weights.iter_mut().filter(|w| w.is_finite())
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    fn sample() -> Values {
        let mut data = vec![0.0; 64 * 512];
        Random::new(1, "sample").fill_normal(&mut data);
        Values { rows: 64, columns: 512, data }
    }

    fn error(change: impl FnOnce(&mut Values)) -> f64 {
        let (base, mut changed) = (sample(), sample());
        change(&mut changed);
        let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
        let apart = squares(&mut changed.data.iter().zip(&base.data).map(|(a, b)| a - b));
        (apart / squares(&mut base.data.iter().copied())).sqrt()
    }

    /// A uniform grid of step s has the error s / √12: for normal weights in groups of 128, max |w| is about 2.75.
    #[test]
    fn errors_are_those_of_the_grids() {
        for (top, tolerance) in [(127.0, 0.05), (7.0, 0.05), (3.0, 0.05)] {
            let expected = 2.75 / f64::from(top) / 12f64.sqrt();
            let found = error(|values| integer(values, 128, top));
            assert!((found / expected - 1.0).abs() < tolerance, "{top}: {found} against {expected}");
        }
        // The best ternary code of a normal keeps 0.81 of its energy (Li et al.).
        let found = error(|values| ternary(values, 128));
        assert!((found - 0.19f64.sqrt()).abs() < 0.01, "{found}");
        let nf4 = error(|values| nf4(values, 64));
        assert!((0.07..0.1).contains(&nf4), "{nf4}");
        // Steps of an eighth in each binade: at most 1/16 and on average less than half of that.
        let f8 = error(float8);
        assert!((0.02..0.03).contains(&f8), "{f8}");
    }

    #[test]
    fn block_formats_lose_less_with_more_bits() {
        let errors = [Blocks::Q8_0, Blocks::Q6K, Blocks::Q5K, Blocks::Q4K, Blocks::Q4_0, Blocks::Q3K, Blocks::Q2K]
            .map(|format| error(|values| blocks(values, format).unwrap()));
        assert!(errors.is_sorted() && errors[0] > 0.002 && errors[6] < 0.4, "{errors:?}");
        let mut narrow = Values { rows: 1, columns: 33, data: vec![0.3; 33] };
        blocks(&mut narrow, Blocks::Q4K).unwrap();
        assert_eq!(narrow.data, [0.3; 33]);
    }

    #[test]
    fn eight_bit_floats_are_those_of_the_format() {
        for (x, expected) in [
            (448.0, 448.0),
            (-500.0, -448.0),
            (17.0, 16.0),
            (19.0, 20.0),
            (1.0625, 1.0),
            (0.001, 0.001_953_125),
            (0.000_9, 0.0),
        ] {
            assert_eq!(round_e4m3(x), expected, "{x}");
        }
    }

    #[test]
    fn weights_that_are_not_finite_stay() {
        for change in
            [|v: &mut Values| integer(v, 4, 7.0), |v: &mut Values| ternary(v, 4), |v: &mut Values| nf4(v, 4), float8]
        {
            let mut values = Values { rows: 1, columns: 4, data: vec![f32::NAN, 1.0, f32::INFINITY, -1.0] };
            change(&mut values);
            assert!(values.data[0].is_nan() && values.data[2] == f32::INFINITY);
            assert_eq!([values.data[1], values.data[3]], [1.0, -1.0]);
        }
    }
}
