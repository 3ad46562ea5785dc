//! The rank of a difference of two matrices, by a randomised range finder (Halko, Martinsson and Tropp, 2011).
//!
//! Singular values count when they exceed 1.1 times what rounding to the child's format makes. A merged adapter leaves a
//! few above it and nothing else.

use candle_core::{DType, Tensor};

use super::compare::Noise;
use super::report::LowRank;
use crate::Result;

/// Directions that are drawn: ranks up to 64 and ten to spare.
const DIRECTIONS: usize = 74;

/// The rank of `difference`, \[rows, columns\] in f32, with the child's rounding errors on it.
///
/// `None` unless the rank is at least 1, at most an eighth of the smaller extent and at most 64, and all but rounding
/// lies in those directions.
pub(crate) fn low_rank(difference: &Tensor, rounding: Noise) -> Result<Option<LowRank>> {
    let (rows, columns) = difference.dims2()?;
    let drawn = DIRECTIONS.min(rows).min(columns);
    let energy = difference.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
    if drawn < 2 || !energy.is_finite() || energy <= 0.0 {
        return Ok(None);
    }
    let values = singular_values(difference, drawn)?;
    let floor = (rounding.norm * 1.1).max(values[0] * 1e-5);
    let rank = values.iter().take_while(|&&value| value > floor).count();
    let held: f64 = values[..rank].iter().map(|value| value * value).sum();
    let low = (1..=64).contains(&rank) && rank * 8 <= rows.min(columns) && rank < drawn;
    let explained = energy - held <= 2.0 * rounding.energy + 1e-4 * energy;
    Ok((low && explained).then(|| LowRank { rank: rank as u32, share: (held / energy).min(1.0) }))
}

/// The largest singular values, in descending order, after one power iteration.
fn singular_values(matrix: &Tensor, drawn: usize) -> Result<Vec<f64>> {
    let columns = matrix.dim(1)?;
    let mut random = SplitMix(0x6c6f_7772_616e_6b21);
    let signs: Vec<f32> = (0..columns * drawn).map(|_| if random.next() >> 63 == 0 { 1.0 } else { -1.0 }).collect();
    let signs = Tensor::from_vec(signs, (columns, drawn), matrix.device())?;
    let range = orthonormal(&matrix.matmul(&signs)?)?;
    let range = orthonormal(&matrix.t()?.matmul(&range)?)?;
    let range = orthonormal(&matrix.matmul(&range)?)?;
    let small = range.t()?.matmul(matrix)?.to_dtype(DType::F64)?;
    let gram = small.matmul(&small.t()?)?.to_vec2::<f64>()?;
    let mut squares = eigenvalues(gram);
    squares.sort_by(|x, y| y.total_cmp(x));
    Ok(squares.into_iter().map(|square| square.max(0.0).sqrt()).collect())
}

/// The columns of a tall matrix, made orthonormal by Gram–Schmidt, twice against rounding. Columns that depend on
/// earlier ones become zero.
fn orthonormal(matrix: &Tensor) -> Result<Tensor> {
    let mut columns: Vec<Vec<f64>> = matrix.t()?.contiguous()?.to_dtype(DType::F64)?.to_vec2()?;
    for index in 0..columns.len() {
        let (before, rest) = columns.split_at_mut(index);
        let column = &mut rest[0];
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let first = dot(column, column).sqrt();
        for _ in 0..2 {
            for other in before.iter() {
                let along = dot(other, column);
                column.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
            }
        }
        let norm = dot(column, column).sqrt();
        let scale = if norm > first * 1e-10 && norm > 0.0 { 1.0 / norm } else { 0.0 };
        column.iter_mut().for_each(|x| *x *= scale);
    }
    let flat: Vec<f32> = columns.iter().flatten().map(|&x| x as f32).collect();
    let shape = (columns.len(), columns.first().map_or(0, Vec::len));
    Ok(Tensor::from_vec(flat, shape, matrix.device())?.t()?.contiguous()?)
}

/// Eigenvalues of a small symmetric matrix by Jacobi's rotations.
fn eigenvalues(mut matrix: Vec<Vec<f64>>) -> Vec<f64> {
    let size = matrix.len();
    for _sweep in 0..30 {
        let mut largest = 0f64;
        for p in 0..size {
            for q in p + 1..size {
                let (app, aqq, apq) = (matrix[p][p], matrix[q][q], matrix[p][q]);
                let relative = apq.abs() / (app * aqq).abs().sqrt().max(f64::MIN_POSITIVE);
                if relative < 1e-13 || apq == 0.0 {
                    continue;
                }
                largest = largest.max(relative);
                let theta = (aqq - app) / (2.0 * apq);
                let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
                rotate(&mut matrix, p, q, cosine, tangent * cosine);
            }
        }
        if largest < 1e-12 {
            break;
        }
    }
    (0..size).map(|i| matrix[i][i]).collect()
}

fn rotate(matrix: &mut [Vec<f64>], p: usize, q: usize, cosine: f64, sine: f64) {
    for row in matrix.iter_mut() {
        let (x, y) = (row[p], row[q]);
        (row[p], row[q]) = (cosine * x - sine * y, sine * x + cosine * y);
    }
    // p < q.
    let (upper, lower) = matrix.split_at_mut(q);
    for (x, y) in upper[p].iter_mut().zip(&mut lower[0]) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
}

/// SplitMix64, for directions that are the same on every machine.
pub(crate) struct SplitMix(pub u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in \[−0.5, 0.5).
    #[cfg(test)]
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn random(seed: u64, rows: usize, columns: usize) -> Tensor {
        let mut random = SplitMix(seed);
        let values: Vec<f32> =
            (0..rows * columns).map(|_| (0..4).map(|_| random.uniform()).sum::<f64>() as f32 * 1.732).collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    }

    fn product(rank: usize, rows: usize, columns: usize) -> Tensor {
        random(5, rows, rank).matmul(&random(6, rank, columns)).unwrap()
    }

    /// Errors of one size everywhere.
    fn even(size: f64, rows: usize, columns: usize) -> Noise {
        let norm = size * ((rows as f64).sqrt() + (columns as f64).sqrt());
        Noise { energy: (rows * columns) as f64 * size * size, norm }
    }

    #[test]
    fn ranks_are_counted_above_the_rounding() {
        for (rank, rows, columns) in [(1, 64, 40), (8, 192, 576), (16, 576, 192), (64, 520, 640)] {
            let noisy = (product(rank, rows, columns) + (random(7, rows, columns) * 0.01).unwrap()).unwrap();
            let found = low_rank(&noisy, even(0.01, rows, columns)).unwrap().unwrap();
            assert_eq!(found.rank as usize, rank);
            assert!(found.share > 0.99, "{}", found.share);
        }
    }

    #[test]
    fn full_rank_is_not_low() {
        let small = even(0.001, 192, 320);
        assert_eq!(low_rank(&random(8, 192, 320), small).unwrap(), None);
        assert_eq!(low_rank(&product(40, 192, 320), small).unwrap(), None, "rank 40 of 192 is more than an eighth");
        let buried = (product(4, 192, 320) + random(9, 192, 320)).unwrap();
        assert_eq!(low_rank(&buried, small).unwrap(), None, "the rest is no rounding");
        assert_eq!(low_rank(&(product(4, 192, 320) * 0.0).unwrap(), small).unwrap(), None);
        assert_eq!(low_rank(&(product(4, 192, 320) * f64::NAN).unwrap(), small).unwrap(), None);
        assert_eq!(low_rank(&random(1, 1, 1), even(0.0, 1, 1)).unwrap(), None);
    }

    #[test]
    fn eigenvalues_of_a_known_matrix() {
        let mut found = eigenvalues(vec![vec![2.0, 1.0, 0.0], vec![1.0, 2.0, 1.0], vec![0.0, 1.0, 2.0]]);
        found.sort_by(f64::total_cmp);
        for (found, expected) in found.iter().zip([2.0 - 2f64.sqrt(), 2.0, 2.0 + 2f64.sqrt()]) {
            assert!((found - expected).abs() < 1e-12);
        }
    }
}
