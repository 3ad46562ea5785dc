//! Exact odds, as log10 of a bound on the chance that any weights fixed without the key score as high.
//!
//! Given the weights, the slots' correlations T_j are independent and symmetric about zero, because the chips are.
//! Nothing is assumed about the weights themselves. Everything is computed with logarithms: the odds of an intact mark
//! are far below the smallest floating-point number.

use std::f64::consts::{LN_2, LN_10, LOG10_2, PI, SQRT_2};

/// A mark counts as found at 2⁻¹²⁸ or below, after the hypotheses tried are paid for.
pub const THRESHOLD_LOG10_P: f64 = -128.0 * LOG10_2;

/// Chance of at least `agreeing` heads in `slots` fair coins.
pub fn sign_test(agreeing: u64, slots: u64) -> f64 {
    if agreeing == 0 {
        return 0.0;
    }
    let ln_choose = |k: u64| ln_gamma(slots + 1) - ln_gamma(k + 1) - ln_gamma(slots - k + 1);
    let terms: Vec<f64> = (agreeing..=slots).map(ln_choose).collect();
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = terms.iter().rev().map(|term| (term - largest).exp()).sum();
    ((largest + sum.ln()) / LN_10 - slots as f64 * LOG10_2).min(0.0)
}

/// Hoeffding's bound for a sum of ±g_i that came to `sum`, with `energy` = Σ g_i².
pub fn hoeffding(sum: f64, energy: f64) -> f64 {
    if sum <= 0.0 || energy <= 0.0 { 0.0 } else { -sum * sum / (2.0 * energy) / LN_10 }
}

/// The bound of Bentkus and Dzindzalieta (2015) for the same sum: a constant times the normal tail.
pub fn bentkus(sum: f64, energy: f64) -> f64 {
    if sum <= 0.0 || energy <= 0.0 {
        return 0.0;
    }
    // 1 / (4 (1 − Φ(√2))), the least constant for which the bound holds.
    let constant = -(4f64.log10() + normal_tail(SQRT_2));
    (constant + normal_tail(sum / energy.sqrt())).min(0.0)
}

/// log10 of 1 − Φ(z).
pub fn normal_tail(z: f64) -> f64 {
    if z < 5.0 {
        return (libm::erfc(z / SQRT_2) / 2.0).log10();
    }
    // Laplace's continued fraction: 1 − Φ(z) = φ(z) / (z + 1/(z + 2/(z + 3/(z + …)))).
    let denominator = (1..=80).rev().fold(z, |rest, k| z + f64::from(k) / rest);
    (-z * z / 2.0 - (2.0 * PI).ln() / 2.0 - denominator.ln()) / LN_10
}

/// Exact chance that Σ ±q_j, with fair signs, is at least `score`. The weights must not depend on the signs.
///
/// Time and memory grow with Σ q_j. `None` for more than 1000 weights, whose counts leave the range of `f64`: use
/// [`sign_flip_chernoff`] there.
pub fn sign_flip_exact(weights: &[u32], score: i64) -> Option<f64> {
    if weights.len() > 1000 {
        return None;
    }
    let total: i64 = weights.iter().map(|&q| i64::from(q)).sum();
    if score <= -total {
        return Some(0.0);
    }
    if score > total {
        return Some(f64::NEG_INFINITY);
    }
    // Σ ±q = 2·(sum of the q with sign +) − total.
    let needed = usize::try_from((score + total + 1).div_euclid(2)).ok()?;
    let mut count = vec![0.0f64; total as usize + 1];
    count[0] = 1.0;
    let mut reached = 0;
    for &q in weights {
        let q = q as usize;
        for sum in (0..=reached).rev() {
            // With q = 0 both signs lead to the same sum.
            count[sum + q] += count[sum];
        }
        reached += q;
    }
    let tail: f64 = count[needed..].iter().rev().sum();
    Some((tail.log10() - weights.len() as f64 * LOG10_2).min(0.0))
}

/// Chernoff's bound for the same sum, for weights of any size: the least of exp(Σ ln cosh λq_j − λ·score) over λ ≥ 0.
pub fn sign_flip_chernoff(weights: &[f64], score: f64) -> f64 {
    let total: f64 = weights.iter().sum();
    if score <= 0.0 || total <= 0.0 {
        return 0.0;
    }
    let largest = weights.iter().copied().fold(0.0, f64::max);
    let slope = |lambda: f64| weights.iter().map(|q| q * (lambda * q).tanh()).sum::<f64>() - score;
    // The exponent is convex in λ: bisect its slope. Beyond the upper end the bound has converged.
    let (mut low, mut high) = (0.0, 1.0 / largest);
    while slope(high) < 0.0 && high < 1e6 / largest {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if slope(middle) < 0.0 { low = middle } else { high = middle }
    }
    let exponent: f64 = weights.iter().map(|q| ln_cosh(low * q)).sum::<f64>() - low * score;
    (exponent / LN_10).min(0.0)
}

/// Pays for the hypotheses tried: adds log10 of their number, and caps at certainty.
pub fn pay(log10_p: f64, log10_hypotheses: f64) -> f64 {
    (log10_p + log10_hypotheses).min(0.0)
}

/// The best of several odds of one hypothesis, dependent or not, paid for by their number.
pub fn bonferroni(log10_p: &[f64]) -> f64 {
    pay(log10_p.iter().copied().fold(0.0, f64::min), (log10_p.len().max(1) as f64).log10())
}

/// Standard normal density.
pub(crate) fn normal_density(z: f64) -> f64 {
    (-z * z / 2.0).exp() / (2.0 * PI).sqrt()
}

/// ln Γ of a positive integer.
fn ln_gamma(n: u64) -> f64 {
    libm::lgamma(n as f64)
}

fn ln_cosh(x: f64) -> f64 {
    x.abs() - LN_2 + (-2.0 * x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(value: f64, expected: f64, digits: i32) {
        assert!((value - expected).abs() <= 0.5000001 * 10f64.powi(-digits), "{value} is not {expected}");
    }

    #[test]
    fn sign_test_known_answers() {
        close(THRESHOLD_LOG10_P, -38.5318, 4);
        for (agreeing, slots, expected) in
            [(40, 64, -1.5233), (64, 64, -19.2659), (128, 128, -38.5318), (500, 664, -39.9575)]
        {
            close(sign_test(agreeing, slots), expected, 4);
        }
        for (agreeing, slots, expected) in
            [(660, 664, -189.977), (664, 664, -199.884), (1068, 1152, -217.457), (1152, 1152, -346.787)]
        {
            close(sign_test(agreeing, slots), expected, 3);
        }
        close(sign_test(0, 64), 0.0, 4);
    }

    #[test]
    fn least_agreement_for_the_threshold() {
        for (slots, least) in [(128, 128), (160, 155), (256, 227), (512, 400), (664, 498), (1152, 796)] {
            assert!(sign_test(least, slots) <= THRESHOLD_LOG10_P, "{least}/{slots}");
            assert!(sign_test(least - 1, slots) > THRESHOLD_LOG10_P, "{least}/{slots}");
        }
        for (slots, least) in [(512, 455), (664, 562), (1152, 885)] {
            assert!(sign_test(least, slots) - THRESHOLD_LOG10_P <= THRESHOLD_LOG10_P, "{least}/{slots}");
            assert!(sign_test(least - 1, slots) - THRESHOLD_LOG10_P > THRESHOLD_LOG10_P, "{least}/{slots}");
        }
    }

    #[test]
    fn tail_known_answers() {
        close(hoeffding(5.0, 1.0), -5.4287, 4);
        close(hoeffding(120.0, 1000.0), -3.1269, 4);
        close(hoeffding(46.4, 1.0), -467.509, 3);
        close(bentkus(120.0, 1000.0), -3.6291, 4);
        close(normal_tail(5.0), -6.5426, 4);
        close(normal_tail(40.0), -349.437, 3);
        close(normal_tail(4.9999999), normal_tail(5.0), 4);
        close(hoeffding(13.3209, 1.0), THRESHOLD_LOG10_P, 3);
        close(normal_tail(13.0559), THRESHOLD_LOG10_P, 3);
        assert_eq!((hoeffding(-1.0, 1.0), bentkus(0.0, 0.0)), (0.0, 0.0));
    }

    #[test]
    fn sign_flip_known_answers() {
        close(sign_flip_exact(&[1, 2, 3, 4], 8).unwrap(), 0.125f64.log10(), 4);
        close(sign_flip_chernoff(&[1.0, 2.0, 3.0, 4.0], 8.0), -0.5609, 4);

        let weights: Vec<u32> = (0..64).map(|j| 1 + 7 * j % 20).collect();
        let score = weights.iter().enumerate().map(|(j, &q)| if j % 8 == 3 { -i64::from(q) } else { i64::from(q) });
        let score: i64 = score.sum();
        assert_eq!(score, 488);
        close(sign_flip_exact(&weights, score).unwrap(), -7.8348, 4);
        let real: Vec<f64> = weights.iter().map(|&q| f64::from(q)).collect();
        close(sign_flip_chernoff(&real, 488.0), -6.8300, 4);
    }

    #[test]
    fn sign_flip_edges() {
        assert_eq!(sign_flip_exact(&[], 0), Some(0.0));
        assert_eq!(sign_flip_exact(&[0, 0], 0), Some(0.0));
        close(sign_flip_exact(&[0, 3], 3).unwrap(), 0.5f64.log10(), 10);
        close(sign_flip_exact(&[1; 664], 664).unwrap(), sign_test(664, 664), 6);
        close(sign_flip_exact(&[1; 664], 664 - 8).unwrap(), sign_test(660, 664), 6);
        close(sign_flip_chernoff(&[2.0; 64], 128.0), sign_test(64, 64), 4);
        assert_eq!(sign_flip_exact(&[1; 1001], 5), None);
        assert_eq!(sign_flip_chernoff(&[0.0; 4], 0.0), 0.0);
    }

    #[test]
    fn the_best_pays_for_all() {
        close(bonferroni(&[-40.0, 0.0]), -39.6990, 4);
        close(bonferroni(&[-0.1, -0.2]), 0.0, 9);
        assert_eq!(bonferroni(&[]), 0.0);
    }

    #[test]
    fn paying_never_exceeds_certainty() {
        assert_eq!(pay(-0.1, 1.0), 0.0);
        close(pay(-199.8839, -THRESHOLD_LOG10_P), -161.352, 3);
    }
}
