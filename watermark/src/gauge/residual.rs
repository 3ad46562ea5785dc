//! The keyed directions of the residual stream, in one pass over the embedding.
//!
//! Chips: for bit b and part ∈ {up, gate, down}, token v has the bit v mod 8 of byte v div 8, least significant first,
//! of the ChaCha8 stream under `HKDF-Expand(k_g, "gauge-" part, b)`, g = b mod 4, b as four big-endian bytes, nonce 0;
//! 1 means −1. Tokens added later change nothing.

use candle_core::{DType, Device, Tensor};

use super::inverse_root::inverse_square_root;
use super::{GaugeHost, GaugePlan};
use crate::carrier::fill;
use crate::key::{GROUPS, MarkKey};
use crate::{Error, Result};

/// Rows of the embedding that are read at a time; a multiple of 512, so that every pass begins a ChaCha block.
const ROWS: usize = 4096;
/// Shrinkage of C, as a share of its mean eigenvalue.
const SHRINKAGE: f64 = 0.1;
/// Added to the variance of T, as a share of C's trace: what rounding in f32 may add to Eᵀκ, and far more.
const ROUNDING: f64 = 1.0 / (1u64 << 30) as f64;
const PARTS: [&str; 3] = ["gauge-up", "gauge-gate", "gauge-down"];

/// The directions of one key, each \[bits, n\] in f32: K Eᵀκ of the three parts.
pub(super) struct Directions {
    pub up: Tensor,
    pub gate: Tensor,
    pub down: Tensor,
}

/// What the embedding gives.
pub(super) struct Residual {
    /// One entry a key.
    pub directions: Vec<Directions>,
    /// K (C + ε I) K, \[n, n\] in f32: the covariance of every direction over the chips.
    pub covariance: Tensor,
    /// Rows of the embedding that were used.
    pub tokens: usize,
}

impl Residual {
    /// `None` when the embedding is all zero: no direction exists then.
    pub fn new(host: &dyn GaugeHost, keys: &[MarkKey], plan: &GaugePlan) -> Result<Option<Residual>> {
        let (rows, width) = host.embedding_shape();
        let tokens = rows.min(plan.tokens);
        let mut gram: Option<Tensor> = None;
        let mut projections: Vec<Option<Tensor>> = vec![None; keys.len()];
        for first in (0..tokens).step_by(ROWS) {
            let last = tokens.min(first + ROWS);
            let block = finite(&host.embedding_rows(first..last)?)?;
            if block.dims() != [last - first, width] {
                return Err(Error::Mlp { layer: None, found: format!("an embedding block of {:?}", block.dims()) });
            }
            let (block, size) = moderate(&block)?;
            accumulate(&mut gram, &block.t()?.matmul(&block)?, size * size)?;
            for (projection, key) in projections.iter_mut().zip(keys) {
                let chips = chips(key, plan.bits, first..last)?.to_device(block.device())?;
                accumulate(projection, &chips.matmul(&block)?, size)?;
            }
        }
        let Some(gram) = gram else { return Ok(None) };
        let ones = Tensor::eye(width, DType::F64, gram.device())?;
        let trace = (&gram * &ones)?.sum_all()?.to_scalar::<f64>()?;
        let ridge = SHRINKAGE * trace / width as f64;
        let Some(root) = inverse_square_root(&(&gram + (&ones * ridge)?)?)? else { return Ok(None) };
        let allowed = (&gram + (&ones * (ROUNDING * trace))?)?;
        let covariance = root.matmul(&allowed)?.matmul(&root)?.to_dtype(DType::F32)?;
        let directions = projections.into_iter().flatten().map(|projection| {
            let whitened = projection.matmul(&root)?.to_dtype(DType::F32)?;
            let part = |part: usize| whitened.narrow(0, part * plan.bits, plan.bits);
            Ok(Directions { up: part(0)?, gate: part(1)?, down: part(2)? })
        });
        Ok(Some(Residual { directions: directions.collect::<Result<_>>()?, covariance, tokens }))
    }
}

/// The chips of some tokens: those of `up` for every bit, then of `gate`, then of `down`; \[3 · bits, tokens\] in f32.
pub(super) fn chips(key: &MarkKey, bits: usize, tokens: std::ops::Range<usize>) -> Result<Tensor> {
    let mut signs = Vec::with_capacity(PARTS.len() * bits * tokens.len());
    let mut bytes = Vec::new();
    for part in PARTS {
        for bit in 0..bits {
            let stream = key.expand(bit % GROUPS, part, &(bit as u32).to_be_bytes());
            fill(&stream, (tokens.start / 8) as u64, tokens.len().div_ceil(8), &mut bytes);
            signs.extend((0..tokens.len()).map(|v| if bytes[v / 8] >> (v % 8) & 1 == 1 { -1f32 } else { 1.0 }));
        }
    }
    Ok(Tensor::from_vec(signs, (PARTS.len() * bits, tokens.len()), &Device::Cpu)?)
}

/// The block over a power of two that brings its largest weight near 1, and that power. Squares in f32 of weights near
/// 1e-23 vanish while their sums do not: then the variance would be too small for its T, and chance look like a mark.
fn moderate(block: &Tensor) -> Result<(Tensor, f64)> {
    let largest = if block.elem_count() == 0 { 0.0 } else { block.abs()?.max_all()?.to_scalar::<f32>()? };
    // Within these bounds the power and its inverse are normal floats, so nothing is rounded that matters.
    let exponent = if largest > 0.0 { f64::from(largest).log2().floor().clamp(-126.0, 126.0) } else { 0.0 };
    Ok(((block * (-exponent).exp2())?, exponent.exp2()))
}

/// Adds an f32 product, times a number, to a sum in f64.
fn accumulate(sum: &mut Option<Tensor>, product: &Tensor, times: f64) -> Result<()> {
    let product = (product.to_dtype(DType::F64)? * times)?;
    *sum = Some(match sum.take() {
        Some(sum) => (sum + product)?,
        None => product,
    });
    Ok(())
}

/// The weights with zeros in place of NaN and infinity.
pub(super) fn finite(weights: &Tensor) -> Result<Tensor> {
    let weights = weights.to_dtype(DType::F32)?.contiguous()?;
    // 0 · x is 0 for finite x and NaN for others, and NaN equals nothing.
    let good = (&weights * 0.0)?.eq(0.0)?;
    Ok(good.where_cond(&weights, &weights.zeros_like()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::MarkSecret;

    fn key() -> MarkKey {
        MarkKey::derive(&MarkSecret::from_bytes([1; 32]), [7; 32], [1; 16], None)
    }

    #[test]
    fn chips_belong_to_tokens_whatever_the_block() {
        let whole = chips(&key(), 3, 0..1200).unwrap();
        for (first, last) in [(0, 1), (512, 1200), (1024, 1199)] {
            let part = chips(&key(), 3, first..last).unwrap().to_vec2::<f32>().unwrap();
            let expected = whole.narrow(1, first, last - first).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(part, expected);
        }
        let rows = whole.to_vec2::<f32>().unwrap();
        for (i, a) in rows.iter().enumerate() {
            for b in &rows[..i] {
                let product: f32 = a.iter().zip(b).map(|(x, y)| x * y).sum();
                assert!(product.abs() < 6.0 * 1200f32.sqrt(), "rows are alike: {product}");
            }
        }
    }

    /// Recomputed with Python's hmac and hashlib and a ChaCha8 in plain Python, from the text at the top of this file.
    #[test]
    fn known_answer() {
        let rows = chips(&key(), 6, 0..64).unwrap().to_vec2::<f32>().unwrap();
        let word = |row: &[f32]| row.iter().rev().fold(0u64, |word, &chip| word << 1 | u64::from(chip < 0.0));
        assert_eq!([word(&rows[5]), word(&rows[6]), word(&rows[17])], KNOWN);
    }

    /// Bit 5 of up, bit 0 of gate, bit 5 of down.
    const KNOWN: [u64; 3] = [16_467_828_360_269_537_808, 3_361_082_692_797_479_945, 259_828_597_930_002_957];

    #[test]
    fn only_finite_weights_are_seen() {
        let weights = Tensor::new(&[1.5f32, f32::NAN, f32::NEG_INFINITY, -0.0, f32::MAX], &Device::Cpu).unwrap();
        assert_eq!(finite(&weights).unwrap().to_vec1::<f32>().unwrap(), [1.5, 0.0, 0.0, 0.0, f32::MAX]);
    }
}
