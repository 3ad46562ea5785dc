//! A^(−1/2) of a symmetric positive definite matrix, by matrix products alone, so that it runs wherever candle does.
//!
//! Coupled Newton–Schulz iteration: Y₀ = A / ‖A‖_F, Z₀ = I, then with R = (3 I − Z Y) / 2
//!
//! ```text
//! Y ← Y R → (A / ‖A‖_F)^(1/2)          Z ← R Z → (A / ‖A‖_F)^(−1/2)
//! ```
//!
//! Eigenvalues of Z Y lie in (0, 1]; each step multiplies a small one by up to 9/4 and squares the distance of a large
//! one from 1, so a condition number κ takes about ln κ / ln 2.25 + 5 steps. Every iterate is a polynomial in A, hence
//! the result turns with A: (Qᵀ A Q)^(−1/2) = Qᵀ A^(−1/2) Q.

use candle_core::{DType, Tensor};

use crate::Result;

/// Enough for condition numbers up to 10¹⁴.
const MOST_STEPS: usize = 48;

/// A^(−1/2) for A \[n, n\] in f64, symmetric, positive definite and finite. `None` when the iteration does not settle,
/// which means that A was none of that.
pub(super) fn inverse_square_root(a: &Tensor) -> Result<Option<Tensor>> {
    let n = a.dim(0)?;
    let identity = Tensor::eye(n, DType::F64, a.device())?;
    let norm = a.sqr()?.sum_all()?.sqrt()?.to_scalar::<f64>()?;
    if !norm.is_finite() || norm <= 0.0 {
        return Ok(None);
    }
    let (mut y, mut z) = ((a / norm)?, identity.clone());
    for _ in 0..MOST_STEPS {
        let product = z.matmul(&y)?;
        let distance = (&product - &identity)?.sqr()?.sum_all()?.sqrt()?.to_scalar::<f64>()?;
        if distance <= 1e-9 * (n as f64).sqrt() {
            return Ok(Some((z / norm.sqrt())?));
        }
        let step = ((&identity * 1.5)? - (product * 0.5)?)?;
        y = y.matmul(&step)?;
        z = step.matmul(&z)?;
    }
    Ok(None)
}

/// The slow way: Jacobi rotations until nothing is left off the diagonal, then Σ v vᵀ / √λ.
#[cfg(test)]
pub(super) fn reference(a: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = a.len();
    let (mut a, mut v) = (a.to_vec(), vec![vec![0.0; n]; n]);
    (0..n).for_each(|i| v[i][i] = 1.0);
    for _ in 0..60 {
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] == 0.0 {
                    continue;
                }
                let angle = 0.5 * (2.0 * a[p][q]).atan2(a[q][q] - a[p][p]);
                let (sin, cos) = angle.sin_cos();
                for row in a.iter_mut().chain(v.iter_mut()) {
                    (row[p], row[q]) = (cos * row[p] - sin * row[q], sin * row[p] + cos * row[q]);
                }
                let (above, below) = a.split_at_mut(q);
                for (x, y) in above[p].iter_mut().zip(&mut below[0]) {
                    (*x, *y) = (cos * *x - sin * *y, sin * *x + cos * *y);
                }
            }
        }
    }
    let entry = |i: usize, j: usize| (0..n).map(|k| v[i][k] * v[j][k] / a[k][k].sqrt()).sum();
    (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Gram matrices with columns of very different size and a ridge, as [`super::super::residual`] makes them.
        #[test]
        fn agrees_with_jacobi(
            n in 1usize..9, entries in prop::collection::vec(-1f64..1.0, 12 * 8), spread in 0.0f64..4.0,
        ) {
            let column = |k: usize| (-spread * k as f64 / 8.0 * std::f64::consts::LN_10).exp();
            let x = |i: usize, k: usize| entries[i * 8 + k] * column(k);
            let mut a: Vec<Vec<f64>> =
                (0..n).map(|i| (0..n).map(|j| (0..12).map(|k| x(k, i) * x(k, j)).sum()).collect()).collect();
            let trace: f64 = (0..n).map(|i| a[i][i]).sum();
            prop_assume!(trace > 1e-6);
            (0..n).for_each(|i| a[i][i] += 0.1 * trace / n as f64);
            let tensor = Tensor::new(a.concat(), &Device::Cpu).unwrap().reshape((n, n)).unwrap();
            let root = inverse_square_root(&tensor).unwrap().unwrap().to_vec2::<f64>().unwrap();
            let scale = (0.1 * trace / n as f64).sqrt();
            for (row, expected) in root.iter().zip(reference(&a)) {
                for (value, expected) in row.iter().zip(expected) {
                    prop_assert!((value - expected).abs() * scale < 1e-6, "{value} is not {expected}");
                }
            }
        }
    }

    #[test]
    fn what_has_no_root_is_refused() {
        for a in [[[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, -1.0]], [[f64::NAN, 0.0], [0.0, 1.0]]] {
            assert!(inverse_square_root(&Tensor::new(&a, &Device::Cpu).unwrap()).unwrap().is_none());
        }
        let a = Tensor::new(&[[4.0, 0.0], [0.0, 1e-8]], &Device::Cpu).unwrap();
        let root = inverse_square_root(&a).unwrap().unwrap().to_vec2::<f64>().unwrap();
        assert!((root[0][0] - 0.5).abs() < 1e-8 && (root[1][1] - 1e4).abs() < 1e-3, "{root:?}");
    }
}
