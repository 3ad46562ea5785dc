//! Changes of one matrix that look at nothing else: noise, pruning, a merged adapter.

use rayon::prelude::*;

use super::random::Random;
use super::values::Values;

/// Adds `share` · (RMS of the row) · N(0, 1) to every weight.
pub(crate) fn noise(values: &mut Values, share: f64, random: &Random) {
    values.by_row().enumerate().for_each(|(number, row)| {
        let size = (share * rms(row)) as f32;
        let mut random = random.fork(number as u64);
        for pair in row.chunks_mut(2) {
            pair.iter_mut().zip(random.normals()).for_each(|(w, noise)| *w += size * noise);
        }
    });
}

/// Sets the `share` of weights that are smallest in magnitude to zero; of equal ones, the first.
pub(crate) fn prune(values: &mut Values, share: f64) {
    keep_largest(&mut values.data, 1.0 - share);
}

/// Sets all but the `share` of values that are largest in magnitude to zero.
pub(crate) fn keep_largest(values: &mut [f32], share: f64) {
    let drop = (values.len() as f64 * (1.0 - share.clamp(0.0, 1.0))).round() as usize;
    if drop == 0 {
        return;
    }
    let mut sizes: Vec<f32> = values.iter().map(|v| v.abs()).collect();
    let largest = *sizes.select_nth_unstable_by(drop - 1, f32::total_cmp).1;
    let mut equal = drop - values.iter().filter(|v| v.abs().total_cmp(&largest).is_lt()).count();
    for value in values {
        match value.abs().total_cmp(&largest) {
            std::cmp::Ordering::Less => *value = 0.0,
            std::cmp::Ordering::Equal if equal > 0 => {
                equal -= 1;
                *value = 0.0;
            }
            _ => {}
        }
    }
}

/// Adds a random product of rank `rank` whose Frobenius norm is `share` of the matrix's own: B A with
/// rows × rank and rank × columns, as a merged low-rank adapter is. ‖B A‖² = Σ (BᵀB) ∘ (A Aᵀ).
pub(crate) fn low_rank(values: &mut Values, rank: usize, share: f64, random: &Random) {
    let mut outputs = vec![0.0; values.rows * rank];
    let mut inputs = vec![0.0; rank * values.columns];
    random.fork(0).fill_normal(&mut outputs);
    random.fork(1).fill_normal(&mut inputs);
    let mut squared = 0.0;
    for i in 0..rank {
        for j in 0..rank {
            let across = |rows: &[f32]| rows.chunks_exact(rank).map(|r| f64::from(r[i]) * f64::from(r[j])).sum::<f64>();
            let line = |k: usize| &inputs[k * values.columns..(k + 1) * values.columns];
            squared += across(&outputs) * line(i).iter().zip(line(j)).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        }
    }
    let factor = (share * (energy(&values.data) / squared).sqrt()) as f32;
    if !factor.is_finite() {
        return;
    }
    let columns = values.columns;
    values.by_row().zip(outputs.par_chunks_exact(rank)).for_each(|(row, outputs)| {
        for (&output, inputs) in outputs.iter().zip(inputs.chunks_exact(columns)) {
            row.iter_mut().zip(inputs).for_each(|(w, input)| *w += factor * output * input);
        }
    });
}

/// Sum of the squares of the finite values.
pub(crate) fn energy(values: &[f32]) -> f64 {
    values.iter().filter(|v| v.is_finite()).map(|v| f64::from(*v).powi(2)).sum()
}

/// Root of the mean square; what is not finite counts as zero.
pub(crate) fn rms(values: &[f32]) -> f64 {
    (energy(values) / values.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn sample(rows: usize, columns: usize) -> Values {
        let mut data = vec![0.0; rows * columns];
        Random::new(1, "sample").fill_normal(&mut data);
        Values { rows, columns, data }
    }

    fn apart(a: &Values, b: &Values) -> f64 {
        let difference: Vec<f32> = a.data.iter().zip(&b.data).map(|(a, b)| a - b).collect();
        (energy(&difference) / energy(&b.data)).sqrt()
    }

    #[test]
    fn noise_and_adapters_have_the_size_asked_for() {
        let base = sample(64, 300);
        let (mut noisy, mut merged) = (base.clone(), base.clone());
        noise(&mut noisy, 0.1, &Random::new(2, "n"));
        low_rank(&mut merged, 8, 0.05, &Random::new(2, "n"));
        assert!((apart(&noisy, &base) - 0.1).abs() < 2e-3, "{}", apart(&noisy, &base));
        assert!((apart(&merged, &base) - 0.05).abs() < 1e-6, "{}", apart(&merged, &base));
    }

    /// Every minor of order three of a matrix of rank two is zero.
    #[test]
    fn adapters_have_their_rank() {
        let base = sample(5, 5);
        let mut merged = base.clone();
        low_rank(&mut merged, 2, 1.0, &Random::new(6, "n"));
        let d = |r: usize, c: usize| f64::from(merged.data[r * 5 + c] - base.data[r * 5 + c]);
        let minor = d(0, 0) * (d(1, 1) * d(2, 2) - d(1, 2) * d(2, 1))
            - d(0, 1) * (d(1, 0) * d(2, 2) - d(1, 2) * d(2, 0))
            + d(0, 2) * (d(1, 0) * d(2, 1) - d(1, 1) * d(2, 0));
        let pair = d(0, 0) * d(1, 1) - d(0, 1) * d(1, 0);
        assert!(minor.abs() < 1e-5 && pair.abs() > 1e-2, "{minor}, {pair}");
    }

    #[test]
    fn pruning_takes_the_smallest_and_exactly_as_many() {
        let mut values = Values { rows: 2, columns: 4, data: vec![3.0, -1.0, 1.0, -4.0, 1.0, 0.5, f32::NAN, -1.0] };
        prune(&mut values, 0.5);
        assert_eq!(values.data[..6], [3.0, 0.0, 0.0, -4.0, 0.0, 0.0]);
        assert!(values.data[6].is_nan() && values.data[7] == -1.0);
        let mut equal = Values { rows: 1, columns: 100, data: vec![2.0; 100] };
        prune(&mut equal, 0.3);
        assert_eq!(equal.data.iter().filter(|v| **v == 0.0).count(), 30);
        prune(&mut equal, 1.0);
        assert!(equal.data.iter().all(|v| *v == 0.0));
    }
}
