//! Successive-cancellation list decoding (Tal and Vardy 2015).
//!
//! The tree is walked depth first. A node of 2h bits of x gets one log-likelihood ratio a_i for each, for every path on
//! the list. Its left child decides the sums of the two halves from a_i ⊞ a_{i+h}; then its right child decides the
//! lower half from a_{i+h} ± a_i, the sign given by those sums. At a leaf an input that is not frozen splits every path
//! in two, and the paths with the least metric stay:
//!
//! ```text
//!     metric = Σ ln(1 + exp(∓a))  over the inputs so far, = −ln P(inputs so far | soft values)
//!     a ⊞ b  = ±min(|a|, |b|) + ln(1 + e^−|a+b|) − ln(1 + e^−|a−b|)
//! ```
//!
//! Only sums, products and comparisons occur, with a parabola for ln(1 + e^−x), so that every platform finds the same
//! list. A child tells which path each of its own came from, and nothing is ever copied up the tree.

/// Soft values are taken as binary antipodal signals in white noise with this mean log-likelihood ratio, times their
/// quotient by the root mean square. It fits slots so noisy that decoding just succeeds; cleaner ones decode anyway.
const GAIN: f64 = 2.4;

/// Log-likelihood ratios for soft values of any scale. Values that are not finite become 0: unknown.
pub(super) fn log_likelihood_ratios(soft: &[f64]) -> Vec<f32> {
    let finite = |y: &f64| if y.is_finite() { *y } else { 0.0 };
    let largest = soft.iter().map(finite).fold(0.0, |largest: f64, y| largest.max(y.abs()));
    if largest == 0.0 {
        return vec![0.0; soft.len()];
    }
    // First by the largest, so that no square leaves the range.
    let scaled: Vec<f64> = soft.iter().map(|y| finite(y) / largest).collect();
    let power = scaled.iter().map(|y| y * y).sum::<f64>() / scaled.len() as f64;
    scaled.iter().map(|y| (y * GAIN / power.sqrt()) as f32).collect()
}

/// At most `width` words x, in no order, whose inputs are zero where frozen.
pub(super) fn decode(frozen: &[bool], ratios: &[f32], width: usize) -> impl Iterator<Item = Vec<bool>> {
    let found = List { frozen, width, metrics: vec![0.0] }.node(0, ratios, frozen.len());
    let length = frozen.len();
    (0..found.origins.len()).map(move |path| found.bits[path * length..(path + 1) * length].to_vec())
}

struct List<'a> {
    frozen: &'a [bool],
    width: usize,
    /// One for each path.
    metrics: Vec<f32>,
}

/// What a node decided.
struct Decided {
    /// For each path that is left, which of the paths that entered the node it continues.
    origins: Vec<usize>,
    /// The node's bits of x, path after path.
    bits: Vec<bool>,
}

impl List<'_> {
    /// Decides the inputs from `first` on, given `length` ratios for each path.
    fn node(&mut self, first: usize, ratios: &[f32], length: usize) -> Decided {
        let frozen = &self.frozen[first..first + length];
        if frozen.iter().all(|&frozen| frozen) {
            return self.known_zero(ratios, length);
        }
        if length == 1 {
            return self.fork(ratios);
        }
        let half = length / 2;
        let mut below = Vec::with_capacity(ratios.len() / 2);
        for path in ratios.chunks_exact(length) {
            let (upper, lower) = path.split_at(half);
            below.extend(upper.iter().zip(lower).map(|(&a, &b)| ratio_of_sum(a, b)));
        }
        let left = self.node(first, &below, half);

        below.clear();
        for (&origin, sums) in left.origins.iter().zip(left.bits.chunks_exact(half)) {
            let (upper, lower) = ratios[origin * length..(origin + 1) * length].split_at(half);
            let halves = upper.iter().zip(lower).zip(sums);
            below.extend(halves.map(|((&a, &b), &sum)| b + if sum { -a } else { a }));
        }
        let right = self.node(first + half, &below, half);

        let mut bits = Vec::with_capacity(right.bits.len() * 2);
        for (&origin, lower) in right.origins.iter().zip(right.bits.chunks_exact(half)) {
            let sums = &left.bits[origin * half..(origin + 1) * half];
            bits.extend(sums.iter().zip(lower).map(|(sum, bit)| sum ^ bit));
            bits.extend(lower);
        }
        Decided { origins: right.origins.iter().map(|&path| left.origins[path]).collect(), bits }
    }

    /// A node whose inputs are all frozen: its bits are zero, independent of each other.
    fn known_zero(&mut self, ratios: &[f32], length: usize) -> Decided {
        for (metric, path) in self.metrics.iter_mut().zip(ratios.chunks_exact(length)) {
            *metric += path.iter().map(|&ratio| penalty(ratio)).sum::<f32>();
        }
        Decided { origins: (0..self.metrics.len()).collect(), bits: vec![false; ratios.len()] }
    }

    /// A leaf that carries information: both values of every path, the likeliest of them kept in order.
    fn fork(&mut self, ratios: &[f32]) -> Decided {
        let mut ends: Vec<(f32, usize, bool)> = Vec::with_capacity(2 * ratios.len());
        for (path, (&metric, &ratio)) in self.metrics.iter().zip(ratios).enumerate() {
            ends.push((metric + penalty(ratio), path, false));
            ends.push((metric + penalty(-ratio), path, true));
        }
        if ends.len() > self.width {
            ends.select_nth_unstable_by(self.width, |a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
            ends.truncate(self.width);
            ends.sort_unstable_by_key(|&(_, path, bit)| (path, bit));
        }
        self.metrics = ends.iter().map(|end| end.0).collect();
        Decided { origins: ends.iter().map(|end| end.1).collect(), bits: ends.iter().map(|end| end.2).collect() }
    }
}

/// −ln P(bit is 0), for a log-likelihood ratio: ln(1 + e^−a).
fn penalty(ratio: f32) -> f32 {
    (-ratio).max(0.0) + correction(ratio.abs())
}

/// a ⊞ b: the log-likelihood ratio of the sum of two bits.
fn ratio_of_sum(a: f32, b: f32) -> f32 {
    let least = a.abs().min(b.abs()).copysign(a) * 1f32.copysign(b);
    least + correction((a + b).abs()) - correction((a - b).abs())
}

/// ln(1 + e^−x) for x ≥ 0, to 0.05.
fn correction(x: f32) -> f32 {
    let root = (0.832_554_6 - 0.25 * x).max(0.0);
    root * root
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact_penalty(ratio: f64) -> f64 {
        (-ratio).exp().ln_1p()
    }

    proptest! {
        #[test]
        fn the_parabola_is_near(a in -20f64..20.0, b in -20f64..20.0) {
            prop_assert!((f64::from(penalty(a as f32)) - exact_penalty(a)).abs() < 0.05);
            let exact = 2.0 * ((a / 2.0).tanh() * (b / 2.0).tanh()).atanh();
            prop_assert!((f64::from(ratio_of_sum(a as f32, b as f32)) - exact).abs() < 0.1, "{exact}");
        }

        /// By the chain rule the penalties of all inputs come to −ln P(x), and the bits of x are independent.
        #[test]
        fn the_metric_of_a_path_is_the_probability_of_its_word(
            ratios in prop::collection::vec(-6f32..6.0, 16), frozen in prop::collection::vec(any::<bool>(), 16),
        ) {
            let mut list = List { frozen: &frozen, width: 1 << 16, metrics: vec![0.0] };
            let found = list.node(0, &ratios, 16);
            prop_assert_eq!(list.metrics.len(), 1 << frozen.iter().filter(|&&frozen| !frozen).count());
            for (&metric, word) in list.metrics.iter().zip(found.bits.chunks_exact(16)) {
                let signed = word.iter().zip(&ratios).map(|(&bit, &ratio)| if bit { -ratio } else { ratio });
                let exact: f64 = signed.map(|ratio| exact_penalty(f64::from(ratio))).sum();
                prop_assert!((f64::from(metric) - exact).abs() < 1.0, "{metric} {exact}");
            }
        }
    }

    #[test]
    fn any_scale_and_anything_unusual_is_read() {
        let soft = [1.0, -2.0, 0.5, 3.0];
        let ratios = log_likelihood_ratios(&soft);
        for scale in [1e-300, 1e-3, 1e300] {
            let scaled: Vec<f64> = soft.iter().map(|y| y * scale).collect();
            for (a, b) in log_likelihood_ratios(&scaled).iter().zip(&ratios) {
                assert!((a - b).abs() < 1e-5);
            }
        }
        assert_eq!(log_likelihood_ratios(&[0.0; 3]), [0.0; 3]);
        let odd = log_likelihood_ratios(&[f64::NAN, f64::INFINITY, -1.0]);
        assert!(odd[0] == 0.0 && odd[1] == 0.0 && odd[2] < 0.0);
    }
}
