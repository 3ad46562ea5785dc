//! Merges with another model, tensor by tensor: b is the other's, w this model's, δ = w − b.

use super::local::{energy, keep_largest};
use super::random::Random;

/// Above this cosine two tensors are taken for parallel, as model-merging tools do.
const PARALLEL: f64 = 0.9995;

/// The mean: weight · b + (1 − weight) · w.
pub(crate) fn soup(values: &mut [f32], other: &[f32], weight: f64) {
    values.iter_mut().zip(other).for_each(|(w, b)| *w += weight as f32 * (b - *w));
}

/// The same along the great circle between the two directions: with their angle ω,
/// (sin((1 − t) ω) w + sin(t ω) b) / sin ω, t = weight.
pub(crate) fn slerp(values: &mut [f32], other: &[f32], weight: f64) {
    let product: f64 = values.iter().zip(other).map(|(w, b)| f64::from(*w) * f64::from(*b)).sum();
    let cosine = product / (energy(values) * energy(other)).sqrt();
    if cosine.is_nan() || cosine.abs() > PARALLEL {
        return soup(values, other, weight);
    }
    let angle = libm::acos(cosine);
    let part = |share: f64| (libm::sin(share * angle) / libm::sin(angle)) as f32;
    let (own, others) = (part(1.0 - weight), part(weight));
    values.iter_mut().zip(other).for_each(|(w, b)| *w = own * *w + others * b);
}

/// TIES (Yadav et al., 2023) of one task vector onto the base b: the `density` of δ that is largest in magnitude is
/// kept, and b + weight · δ. With one task vector there is no sign to elect.
pub(crate) fn ties(values: &mut [f32], other: &[f32], density: f64, weight: f64) {
    values.iter_mut().zip(other).for_each(|(w, b)| *w -= b);
    keep_largest(values, density);
    values.iter_mut().zip(other).for_each(|(w, b)| *w = b + weight as f32 * *w);
}

/// DARE (Yu et al., 2024): each weight of δ is kept with probability `density`, and what is kept grows by its inverse:
/// b + weight · δ / density.
pub(crate) fn dare(values: &mut [f32], other: &[f32], density: f64, weight: f64, random: &mut Random) {
    let factor = (weight / density) as f32;
    for (w, b) in values.iter_mut().zip(other) {
        *w = if random.uniform() < density { b + factor * (*w - b) } else { *b };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_are_those_of_their_formulas() {
        let (own, other) = ([3.0, -4.0, 1.0, 0.5], [1.0, -4.5, 2.0, 0.0]);
        let of = |change: &dyn Fn(&mut [f32])| {
            let mut values = own;
            change(&mut values);
            values
        };
        assert_eq!(of(&|v| soup(v, &other, 0.25)), [2.5, -4.125, 1.25, 0.375]);
        assert_eq!(of(&|v| ties(v, &other, 0.5, 1.0)), [3.0, -4.5, 1.0, 0.0]);
        assert_eq!(of(&|v| ties(v, &other, 1.0, 0.5)), [2.0, -4.25, 1.5, 0.25]);
        assert_eq!(of(&|v| dare(v, &other, 1.0, 1.0, &mut Random::new(0, ""))), own);
    }

    /// Halfway between two directions at a right angle, and of one length, lies (w + b) / √2.
    #[test]
    fn slerp_keeps_the_length() {
        let mut values = [1.0, 0.0];
        slerp(&mut values, &[0.0, 1.0], 0.5);
        assert!(values.iter().all(|v| (v - 0.5f32.sqrt()).abs() < 1e-6));
        let mut values = [1.0, 2.0];
        slerp(&mut values, &[1.0, 2.0], 0.3);
        assert_eq!(values, [1.0, 2.0]);
        let mut zeros = [0.0, 0.0];
        slerp(&mut zeros, &[1.0, 2.0], 0.5);
        assert_eq!(zeros, [0.5, 1.0]);
    }

    #[test]
    fn dare_keeps_the_mean() {
        let (mut values, other) = (vec![1.0; 100_000], vec![0.0; 100_000]);
        dare(&mut values, &other, 0.1, 1.0, &mut Random::new(1, ""));
        let kept = values.iter().filter(|v| **v != 0.0).count();
        assert!((9_700..10_300).contains(&kept) && values.iter().all(|v| *v == 0.0 || (*v - 10.0).abs() < 1e-5));
    }
}
