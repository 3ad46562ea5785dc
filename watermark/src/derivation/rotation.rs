//! The rotation of the residual stream between two models, from the embedding rows of the tokens that they share.
//!
//! A network with RMS normalisation, gains folded into the matrices after it, computes the same when every matrix that
//! reads or writes the residual stream is rotated. With E_A and E_B the embeddings of the same tokens, the rotation is
//! the orthogonal factor of E_Bᵀ E_A (Procrustes), found by Newton–Schulz iteration, which needs products only. It
//! does not look at the order of any hidden unit, so the odds after it stay exact.

use candle_core::{DType, Tensor};

use super::source::Source;
use super::units::Part;
use crate::Result;

/// Widest residual stream, that of the largest models in use: the product of two widths is held in memory.
const MAX_WIDTH: usize = 16_384;
/// Token rows that are used at most.
const TOKENS: usize = 32_768;
/// Token rows that are read at a time.
const BLOCK: usize = 4096;
/// Steps that raise small singular values: each by 3.4445, so 3.4445¹⁶ ≈ 4·10⁸ in all.
const COARSE: usize = 16;
/// Steps that converge, quadratically, from singular values between 0.7 and 1.2.
const FINE: usize = 6;

/// The map from B's residual stream to A's, \[width of b, width of a\] with orthonormal rows or columns. `None` when
/// one of them has no embedding, or a wider one than any model in use.
pub(crate) fn rotation(a: &Source<'_>, b: &Source<'_>) -> Result<Option<Tensor>> {
    let shape = |model: &Source<'_>| model.shape("embed").filter(|(_, width)| *width <= MAX_WIDTH);
    let (Some((tokens_a, _)), Some((tokens_b, _))) = (shape(a), shape(b)) else { return Ok(None) };
    let tokens = tokens_a.min(tokens_b).min(TOKENS);
    let mut product: Option<Tensor> = None;
    for first in (0..tokens).step_by(BLOCK) {
        let rows = first..tokens.min(first + BLOCK);
        let x = Part::new(&a.rows("embed", rows.clone())?, false)?.rows;
        let y = Part::new(&b.rows("embed", rows)?, false)?.rows;
        let block = y.t()?.matmul(&x)?.to_dtype(DType::F64)?;
        product = Some(match product {
            Some(product) => (product + block)?,
            None => block,
        });
    }
    let Some(product) = product else { return Ok(None) };
    let rotation = if product.dim(0)? <= product.dim(1)? {
        orthogonal_factor(&product)?
    } else {
        orthogonal_factor(&product.t()?.contiguous()?)?.t()?.contiguous()?
    };
    Ok(Some(rotation.to_dtype(DType::F32)?))
}

/// U Vᵀ of a matrix U S Vᵀ with no more rows than columns, in f64. Directions with S = 0 stay 0.
fn orthogonal_factor(matrix: &Tensor) -> Result<Tensor> {
    let norm = matrix.sqr()?.sum_all()?.sqrt()?.to_scalar::<f64>()?;
    if !(norm.is_finite() && norm > 0.0) {
        return Ok(matrix.zeros_like()?);
    }
    let mut x = (matrix / norm)?;
    for _ in 0..COARSE {
        let square = x.matmul(&x.t()?)?;
        let polynomial = ((square.matmul(&square)? * 2.0315)? - (square * 4.7750)?)?;
        x = ((&x * 3.4445)? + polynomial.matmul(&x)?)?;
    }
    for _ in 0..FINE {
        let square = x.matmul(&x.t()?)?;
        x = ((&x * 1.5)? - (square.matmul(&x)? * 0.5)?)?;
    }
    Ok(x)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn orthogonal_factor_of_a_scaled_rotation_is_the_rotation() {
        // Two plane rotations of four dimensions, times a symmetric matrix with singular values over six decades.
        let (c, s) = (0.6f64, 0.8);
        let q = [[c, -s, 0.0, 0.0], [s, c, 0.0, 0.0], [0.0, 0.0, s, -c], [0.0, 0.0, c, s]];
        let scale = [1.0, 1e-2, 1e-4, 1e-6];
        let product: Vec<f64> = (0..16).map(|i| scale[i / 4] * q[i / 4][i % 4]).collect();
        let matrix = Tensor::from_vec(product, (4, 4), &Device::Cpu).unwrap();
        let found = orthogonal_factor(&matrix).unwrap().to_vec2::<f64>().unwrap();
        for (found, expected) in found.iter().flatten().zip(q.iter().flatten()) {
            assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
        }
        let zero = Tensor::zeros((2, 3), DType::F64, &Device::Cpu).unwrap();
        assert_eq!(orthogonal_factor(&zero).unwrap().to_vec2::<f64>().unwrap(), [[0.0; 3]; 2]);
    }
}
