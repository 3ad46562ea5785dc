//! Exact odds of matching units by position, as log10 of a bound on their chance under independence.
//!
//! Let π be a uniform ordering of one model's h units and f any function of the units' contents. For k fixed indices
//! the chance that all of them are fixed points of π∘f is at most (h−k)!/h!. So the number M of fixed points has
//! E C(M, k) ≤ 1/k!, the sum s over L independent layers has E C(s, k) ≤ Lᵏ/k!, and Markov's inequality at k = t − L
//! gives
//!
//! > P(s ≥ t) ≤ L^(t−L) · L! / t!  for t > L.
//!
//! In the same way k given positions of f are in increasing order with a chance of at most 1/k!, so the length K of the
//! longest increasing subsequence of f has P(K ≥ k) ≤ C(h, k)/k!. Nothing here is asymptotic, and f may be anything
//! that does not look at the order of the units.

use std::f64::consts::LN_10;

/// Chance of at least `matches` matches by position in all of `layers` layers together.
pub fn by_position(matches: u64, layers: u64) -> f64 {
    if matches <= layers || layers == 0 {
        return 0.0;
    }
    let (s, l) = (matches as f64, layers as f64);
    (((s - l) * l.ln() + libm::lgamma(l + 1.0) - libm::lgamma(s + 1.0)) / LN_10).min(0.0)
}

/// Chance of an increasing subsequence of at least `length` among `units` units of one layer.
pub fn by_order(length: u64, units: u64) -> f64 {
    if length == 0 || length > units {
        return 0.0;
    }
    let (k, h) = (length as f64, units as f64);
    let ln_choose = libm::lgamma(h + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(h - k + 1.0);
    ((ln_choose - libm::lgamma(k + 1.0)) / LN_10).min(0.0)
}

/// Chance that independent exact odds, each given as log10, multiply to as little as these do: with x = −Σ ln p, at
/// most e^−x Σ_{k<L} xᵏ/k!.
pub fn combined(log10_odds: &[f64]) -> f64 {
    let x = -log10_odds.iter().sum::<f64>() * LN_10;
    if x <= 0.0 {
        return 0.0;
    }
    let terms: Vec<f64> = (0..log10_odds.len()).map(|k| k as f64 * x.ln() - libm::lgamma(k as f64 + 1.0)).collect();
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = terms.iter().map(|term| (term - largest).exp()).sum();
    ((largest + sum.ln() - x) / LN_10).min(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::{THRESHOLD_LOG10_P, pay};

    #[track_caller]
    fn close(value: f64, expected: f64, digits: i32) {
        assert!((value - expected).abs() <= 0.5000001 * 10f64.powi(-digits), "{value} is not {expected}");
    }

    #[test]
    fn known_answers_by_position() {
        for (layers, matches) in [(1, 0), (1, 1), (12, 12), (12, 3), (0, 0)] {
            assert_eq!(by_position(matches, layers), 0.0);
        }
        for (layers, matches, expected) in [
            (1, 3, -0.7782),
            (1, 10, -6.5598),
            (1, 34, -38.4702),
            (1, 35, -40.0142),
            (1, 100, -157.9700),
            (2, 12, -5.3690),
            (12, 24, -2.1622),
            (12, 40, -9.0142),
            (30, 64, -6.46),
            (30, 100, -22.1479),
            (32, 100, -20.1996),
        ] {
            close(by_position(matches, layers), expected, if expected == -6.46 { 2 } else { 4 });
        }
        for (layers, matches, expected) in [(1, 1439, -3921.478), (1, 2048, -5894.223), (32, 1000, -1075.199)] {
            close(by_position(matches, layers), expected, 3);
        }
        close(by_position(11_008, 1), -39_712.83, 2);
        close(by_position(46_080, 30), -126_831.24, 2);
        close(by_position(352_256, 32), -1_270_749.1, 1);
        close(pay(by_position(10, 1), 8f64.log10()), -5.6567, 4);
        close(pay(by_position(100, 30), 8f64.log10()), -21.2448, 4);
        close(pay(by_position(35, 1), 30f64.log10()), -38.54, 2);
    }

    #[test]
    fn fewest_matches_for_the_threshold() {
        for (layers, fewest) in
            [(1, 35), (2, 42), (4, 53), (12, 83), (24, 115), (30, 129), (32, 133), (48, 167), (80, 226)]
        {
            assert!(by_position(fewest, layers) <= THRESHOLD_LOG10_P, "{layers}");
            assert!(by_position(fewest - 1, layers) > THRESHOLD_LOG10_P, "{layers}");
        }
        for (units, fewest) in
            [(256, 72), (512, 92), (1024, 120), (1536, 140), (2048, 157), (8192, 282), (11_008, 322), (14_336, 362)]
        {
            assert!(by_order(fewest, units) <= THRESHOLD_LOG10_P, "{units}");
            assert!(by_order(fewest - 1, units) > THRESHOLD_LOG10_P, "{units}");
        }
    }

    #[test]
    fn known_answers_by_order() {
        for (length, units, expected) in
            [(7, 7, -3.7024), (12, 16, -5.4203), (100, 1024, -17.0809), (128, 1024, -49.4538)]
        {
            close(by_order(length, units), expected, 4);
        }
        close(by_order(1024, 1024), -2639.734, 3);
        assert_eq!((by_order(0, 5), by_order(1, 1), by_order(2, 9)), (0.0, 0.0, 0.0));
        close(combined(&[-2.0, 0.02f64.log10(), 0.5f64.log10()]), -2.2788, 4);
        close(combined(&[-50.0]), -50.0, 9);
        assert_eq!(combined(&[0.0, 0.0]), 0.0);
        assert_eq!(combined(&[]), 0.0);
    }

    /// Every ordering of `0..h`.
    fn orderings(h: usize) -> Vec<Vec<usize>> {
        if h == 0 {
            return vec![vec![]];
        }
        let longer = |shorter: Vec<usize>| {
            (0..h).map(move |place| {
                let mut ordering = shorter.clone();
                ordering.insert(place, h - 1);
                ordering
            })
        };
        orderings(h - 1).into_iter().flat_map(longer).collect()
    }

    /// How many orderings π of h give each number of fixed points of π∘f.
    fn histogram(f: &[usize]) -> Vec<u64> {
        let mut counts = vec![0; f.len() + 1];
        for pi in orderings(f.len()) {
            counts[f.iter().enumerate().filter(|&(i, &image)| pi[image] == i).count()] += 1;
        }
        counts
    }

    fn at_least(histogram: &[u64], matches: usize) -> f64 {
        histogram[matches.min(histogram.len())..].iter().sum::<u64>() as f64 / histogram.iter().sum::<u64>() as f64
    }

    #[test]
    fn no_ordering_beats_the_bound() {
        let identity = histogram(&[0, 1, 2, 3, 4, 5]);
        for (matches, expected) in [(1, 0.63194), (2, 0.26528), (3, 0.07778), (4, 0.02222), (5, 0.00139), (6, 0.00139)]
        {
            close(at_least(&identity, matches), expected, 5);
        }
        let pairs = histogram(&[0, 0, 1, 1, 2, 2]);
        for (matches, expected) in [(1, 0.66667), (2, 0.26667), (3, 0.06667), (4, 0.0)] {
            close(at_least(&pairs, matches), expected, 5);
        }
        for f in [[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2], [0; 6], [5, 4, 3, 2, 1, 0]] {
            for matches in 0..=6 {
                let bound = 10f64.powf(by_position(matches, 1));
                assert!(at_least(&histogram(&f), matches as usize) <= bound + 1e-12, "{f:?} {matches}");
            }
        }
    }

    #[test]
    fn no_ordering_of_three_layers_beats_the_bound() {
        let one = histogram(&[0, 1, 2, 3, 4]);
        let mut sum = vec![1];
        for _ in 0..3 {
            let mut next = vec![0; sum.len() + one.len() - 1];
            sum.iter().enumerate().for_each(|(i, x)| one.iter().enumerate().for_each(|(j, y)| next[i + j] += x * y));
            sum = next;
        }
        close(at_least(&sum, 8), 0.01204, 5);
        close(10f64.powf(by_position(8, 3)), 0.03616, 5);
        for matches in 0..=15 {
            assert!(at_least(&sum, matches) <= 10f64.powf(by_position(matches as u64, 3)) + 1e-12, "{matches}");
        }
    }

    #[test]
    fn no_increasing_subsequence_beats_the_bound() {
        let all = orderings(7);
        for f in [[0, 1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 2, 2, 3], [3; 7]] {
            for length in 1..=7 {
                let reached = |pi: &&Vec<usize>| {
                    let images: Vec<Option<u32>> = f.iter().map(|&image| Some(pi[image] as u32)).collect();
                    crate::derivation::matching::longest_increasing(&images).len() >= length
                };
                let chance = all.iter().filter(reached).count() as f64 / all.len() as f64;
                assert!(chance <= 10f64.powf(by_order(length as u64, 7)) + 1e-12, "{f:?} {length}: {chance}");
            }
        }
    }
}
