//! The seeded generator behind noise, permutations and rotations: SplitMix64, the same on every machine.

use sha2::{Digest, Sha256};

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). Fast and well mixed; not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A stream of its own for each seed and each name, such as that of a tensor.
    pub fn new(seed: u64, name: &str) -> Random {
        let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name).finalize();
        Random(u64::from_le_bytes(std::array::from_fn(|i| digest[i])))
    }

    /// A stream of its own for each number, such as that of a row, so that rows can be worked on in any order.
    pub fn fork(&self, number: u64) -> Random {
        let mut parent = Random(self.0 ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        Random(parent.bits())
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in \[0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Nearly uniform in 0..`bound`, by multiplication; `bound` is far below 2⁶⁴.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// Two independent standard normal numbers (Box and Muller, 1958).
    pub fn normals(&mut self) -> [f32; 2] {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        let angle = std::f64::consts::TAU * self.uniform();
        [(radius * libm::cos(angle)) as f32, (radius * libm::sin(angle)) as f32]
    }

    /// Fills a slice with standard normal numbers.
    pub fn fill_normal(&mut self, values: &mut [f32]) {
        for pair in values.chunks_mut(2) {
            pair.copy_from_slice(&self.normals()[..pair.len()]);
        }
    }

    /// The numbers 0..`length` in random order (Fisher and Yates).
    pub fn permutation(&mut self, length: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..length as u32).collect();
        for last in (1..length).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First outputs for seed 1234567, from the algorithm's published test vector.
    #[test]
    fn known_answer() {
        let mut random = Random(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let mut values = vec![0.0; 200_001];
        Random::new(3, "x").fill_normal(&mut values);
        let moment = |power: i32| values.iter().map(|v| f64::from(*v).powi(power)).sum::<f64>() / values.len() as f64;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.01 && (moment(4) - 3.0).abs() < 0.06);
    }

    #[test]
    fn permutations_hold_every_number_once() {
        let mut order = Random::new(4, "p").permutation(1000);
        assert_ne!(order, Random::new(5, "p").permutation(1000));
        order.sort_unstable();
        assert!(order.iter().zip(0..).all(|(a, b)| *a == b));
    }
}
