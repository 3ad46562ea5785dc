//! Polar codes: which inputs carry information, and how a word becomes a codeword.
//!
//! A word u of N = 2ᵐ bits is sent as x = u F^⊗ᵐ with F = (1 0; 1 1): x_j is the sum of all u_i whose index contains
//! the bits of j. Decoded one after another, some u_i become almost certain and the others almost useless. The useless
//! ones are **frozen** to zero, the others carry information. When there are fewer slots than N, the first N − slots
//! bits of x are not sent, and the decoder knows nothing of them.
//!
//! Which inputs are good follows from the Gaussian approximation of density evolution: every log-likelihood ratio is
//! taken as normal with mean m and variance 2m, so that only m is traced. At each step of F
//!
//! ```text
//!     m⁺ = a + b                          (both bits speak for the same sum)
//!     m⁻ = φ⁻¹(1 − (1 − φ(a))(1 − φ(b)))  with φ(m) = 1 − E tanh(L/2)
//! ```
//!
//! with φ in the closed form of Chung, Richardson and Urbanke, and that of Ha, Kim and Kwon for small m. The functions
//! come from `libm`, so the choice is the same on every platform; a test pins it.

use super::list;

/// Mean log-likelihood ratio of a slot for which the code is made: near the edge of what the rates used here survive.
/// From 0.4 to 1.2 the choice makes a few hundredths of a decibel.
const DESIGN_MEAN: f64 = 0.6;

/// A polar code of any number of slots.
#[derive(Clone, Debug)]
pub struct Polar {
    /// For each of the N inputs, whether it is zero always.
    frozen: Vec<bool>,
    /// Bits of x that are not sent.
    skipped: usize,
}

/// A codeword that the decoder holds possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The information bits.
    pub information: Vec<bool>,
    /// Their codeword.
    pub codeword: Vec<bool>,
}

impl Polar {
    /// The code with a number of slots and of information bits.
    ///
    /// # Panics
    /// When the bits are none, or more than the slots.
    pub fn new(slots: usize, bits: usize) -> Polar {
        assert!((1..=slots).contains(&bits), "{bits} bits in {slots} slots");
        let length = slots.next_power_of_two();
        let skipped = length - slots;
        let means = input_means(length, skipped);
        let mut order: Vec<usize> = (0..length).collect();
        order.sort_by(|&a, &b| means[b].total_cmp(&means[a]).then(b.cmp(&a)));
        let mut frozen = vec![true; length];
        order[..bits].iter().for_each(|&input| frozen[input] = false);
        Polar { frozen, skipped }
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.frozen.len() - self.skipped
    }

    /// The codeword, one bit for each slot.
    ///
    /// # Panics
    /// When the number of information bits is not the code's.
    pub fn encode(&self, information: &[bool]) -> Vec<bool> {
        let free = self.frozen.iter().filter(|&&frozen| !frozen).count();
        assert_eq!(information.len(), free, "information bits");
        let mut bits = information.iter();
        let mut word: Vec<bool> = self.frozen.iter().map(|&frozen| !frozen && bits.next() == Some(&true)).collect();
        transform(&mut word);
        word.split_off(self.skipped)
    }

    /// At most `width` codewords, the likeliest first, for soft values of any scale, positive for bit 0, one for each
    /// slot. A value that is not finite counts as unknown. Time grows with `width` · N log N.
    ///
    /// # Panics
    /// When the number of values is not that of the slots, or the width is zero.
    pub fn decode(&self, soft: &[f64], width: usize) -> Vec<Candidate> {
        assert_eq!(soft.len(), self.slots(), "one soft value for each slot");
        assert!(width > 0, "a list needs room");
        let ratios = list::log_likelihood_ratios(soft);
        let sent = [vec![0.0; self.skipped], ratios.clone()].concat();
        let mut candidates: Vec<(f64, Candidate)> =
            list::decode(&self.frozen, &sent, width).map(|word| self.candidate(word, &ratios)).collect();
        candidates.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        candidates.into_iter().map(|(_, candidate)| candidate).collect()
    }

    /// Reads x as a codeword, with its correlation to the soft values.
    fn candidate(&self, mut word: Vec<bool>, ratios: &[f32]) -> (f64, Candidate) {
        let codeword = word[self.skipped..].to_vec();
        // The transform is its own inverse.
        transform(&mut word);
        let information = word.iter().zip(&self.frozen).filter(|(_, frozen)| !**frozen).map(|(&bit, _)| bit).collect();
        let signed = codeword.iter().zip(ratios).map(|(&bit, &ratio)| f64::from(if bit { -ratio } else { ratio }));
        (signed.sum(), Candidate { information, codeword })
    }
}

/// u F^⊗ᵐ, in place.
fn transform(word: &mut [bool]) {
    let mut half = 1;
    while half < word.len() {
        for block in word.chunks_exact_mut(2 * half) {
            let (upper, lower) = block.split_at_mut(half);
            upper.iter_mut().zip(lower).for_each(|(a, b)| *a ^= *b);
        }
        half *= 2;
    }
}

/// Mean log-likelihood ratio of each input, when all before it are known.
fn input_means(length: usize, skipped: usize) -> Vec<f64> {
    let mut means: Vec<f64> = (0..length).map(|sent| if sent < skipped { 0.0 } else { DESIGN_MEAN }).collect();
    let mut half = length / 2;
    while half > 0 {
        for block in means.chunks_exact_mut(2 * half) {
            let (upper, lower) = block.split_at_mut(half);
            for (a, b) in upper.iter_mut().zip(lower) {
                (*a, *b) = (mean_of_sum(*a, *b), *a + *b);
            }
        }
        half /= 2;
    }
    means
}

/// m⁻: the mean for the sum of two bits. It never exceeds either.
fn mean_of_sum(a: f64, b: f64) -> f64 {
    let (phi_a, phi_b) = (phi(a), phi(b));
    phi_inverse(phi_a + phi_b - phi_a * phi_b).clamp(0.0, a.min(b))
}

/// Where the two closed forms of φ meet.
const SMALL_MEAN: f64 = 0.867_861;

fn phi(mean: f64) -> f64 {
    if mean < SMALL_MEAN {
        libm::exp((0.0564 * mean - 0.4856) * mean)
    } else {
        libm::exp(0.0218 - 0.4527 * libm::pow(mean, 0.86))
    }
}

fn phi_inverse(value: f64) -> f64 {
    let log = libm::log(value);
    if value > phi(SMALL_MEAN) {
        (0.4856 - libm::sqrt(0.4856 * 0.4856 + 4.0 * 0.0564 * log)) / (2.0 * 0.0564)
    } else {
        libm::pow((0.0218 - log) / 0.4527, 1.0 / 0.86)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::hex::hex;
    use crate::payload::pack;

    /// The choice of inputs is part of the format: it must never change.
    #[test]
    fn the_information_set_is_pinned() {
        for (slots, bits, expected) in [
            (576, 128, "131ce470df27c5237e875dff10a5895356cb370a254e5af9e18e01389992672f"),
            (256, 64, "4d5c1fdc9983b90b933a526da421f2709757e7b76caae993ea6f7f68c271a54d"),
            (192, 32, "c6e4632cb7b2198ba3fcd78037f5eeb59d499e0c8d546cc6ae4613a98e051ccc"),
        ] {
            let frozen = Polar::new(slots, bits).frozen;
            assert_eq!(hex(&Sha256::digest(pack(&frozen))), expected, "{slots} slots");
            // The worst input that is used and the best that is not differ far beyond rounding.
            let mut means = input_means(frozen.len(), frozen.len() - slots);
            means.sort_by(|a, b| b.total_cmp(a));
            assert!(means[bits - 1] > 1.002 * means[bits], "{slots} slots");
        }
        let free = |slots, bits| -> Vec<usize> {
            let code = Polar::new(slots, bits);
            (0..code.frozen.len()).filter(|&input| !code.frozen[input]).collect()
        };
        // The extended Hamming code is the polar code of eight slots and four bits.
        assert_eq!(free(8, 4), [3, 5, 6, 7]);
        assert_eq!(free(5, 1), [7]);
    }

    #[test]
    fn the_closed_forms_are_inverse_and_near_the_integral() {
        for mean in [0.01, 0.1, 0.5, 0.86, 0.87, 1.0, 3.0, 10.0, 40.0, 600.0] {
            let back = phi_inverse(phi(mean));
            assert!((back - mean).abs() < 2e-3 * mean, "{mean} {back}");
        }
        for mean in [0.1f64, 0.5, 1.0, 2.0, 5.0, 10.0] {
            let deviation = (2.0 * mean).sqrt();
            let (mut total, mut weight) = (0.0, 0.0);
            for step in -800..=800 {
                let z = f64::from(step) / 100.0;
                let density = (-z * z / 2.0).exp();
                total += density * (1.0 - ((mean + deviation * z) / 2.0).tanh());
                weight += density;
            }
            let exact = total / weight;
            assert!((phi(mean) / exact - 1.0).abs() < 0.08, "{mean}: {} {exact}", phi(mean));
        }
    }

    /// x_j by the definition: the sum of u_i over all i that contain the bits of j.
    fn transform_by_matrix(word: &[bool]) -> Vec<bool> {
        let odd = |j: usize| (0..word.len()).filter(|&i| i & j == j && word[i]).count() % 2 == 1;
        (0..word.len()).map(odd).collect()
    }

    proptest! {
        #[test]
        fn the_transform_is_the_matrix_and_its_own_inverse(log in 0usize..8, seed: u128) {
            let word: Vec<bool> = (0..1 << log).map(|i| seed.rotate_left(i * 37) & 1 == 1).collect();
            let mut fast = word.clone();
            transform(&mut fast);
            prop_assert_eq!(&fast, &transform_by_matrix(&word));
            transform(&mut fast);
            prop_assert_eq!(fast, word);
        }

        /// With room for every codeword nothing is dropped, and the first is the maximum-likelihood one.
        #[test]
        fn a_full_list_begins_with_the_likeliest_codeword(
            slots in 6usize..24, bits in 1usize..7, soft in prop::collection::vec(-2.0f64..2.0, 24),
        ) {
            prop_assume!(bits <= slots);
            let (code, soft) = (Polar::new(slots, bits), &soft[..slots]);
            let score = |codeword: &[bool]| -> f64 {
                codeword.iter().zip(soft).map(|(&bit, &y)| if bit { -y } else { y }).sum()
            };
            let words = (0..1u32 << bits).map(|word| (0..bits).map(|bit| word >> bit & 1 == 1).collect::<Vec<_>>());
            let best = words.map(|word| score(&code.encode(&word))).fold(f64::NEG_INFINITY, f64::max);
            let candidates = code.decode(soft, 1 << bits);
            prop_assert_eq!(candidates.len(), 1 << bits);
            prop_assert!((score(&candidates[0].codeword) - best).abs() < 1e-5);
            for candidate in candidates {
                prop_assert_eq!(code.encode(&candidate.information), candidate.codeword);
            }
        }
    }
}
