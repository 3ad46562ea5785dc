//! How strong to make a mark: from a wish in decibels to the target α, and what the change will come to.
//!
//! With c = α √(N/n_c), a slot's relative change is a = √(n_c/N)/μ · (c − t)₊, where t is the host's own standard
//! normal correlation and μ the mean of |g|. The change of a weight is a·|w| plus the noise of its dithered cast, so
//! D² = E[a² + noise(a)], taken over t here, times the share of the energy that clipping leaves. Without cast and clipping
//! this is K(c) n_c / (N μ²).

use countermark_formats::{Dtype, Grid};
use serde::Serialize;

use crate::statistics::normal_density;
use crate::{Error, Result};

/// How much the weights may change.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize)]
pub enum Strength {
    /// c = 1.1, at which a mark survives even being averaged half and half with the unmarked model; less when that
    /// would change the weights by more than −40 dB, but not below c = 0.6, where the weakest slot still keeps a
    /// margin of three and a half deviations under int4-like noise.
    #[default]
    Auto,
    /// At most this relative change of all matrix-shaped weights after the cast, in decibels, as −40.
    Decibel(f64),
}

/// c that [`Strength::Auto`] wants, and the least that it takes.
const WANTED: f64 = 1.1;
const LEAST: f64 = 0.6;
/// Above this, [`Strength::Auto`] takes less than it wants.
const MODEST_DB: f64 = -40.2;
/// Above this, [`Strength::Auto`] refuses.
const LIMIT_DB: f64 = -30.0;
/// The same for codes, whose smallest possible change is a whole step: quantising to four bits was −16 dB already.
const CODES_LIMIT_DB: f64 = -20.0;
/// Largest c that is tried for a wish.
const LARGEST: f64 = 64.0;

/// The host, as far as the strength depends on it.
pub(crate) struct Host {
    /// Weights that carry.
    pub weights: u64,
    /// Slots.
    pub slots: usize,
    /// Mean of |g| over them.
    pub mean_profile: f64,
    /// Mean of g² over them: 1, less what is clipped.
    pub mean_energy: f64,
    /// The marked matrices.
    pub parts: Vec<HostPart>,
    /// Σ w² over all matrices.
    pub total_energy: f64,
}

/// One matrix of the host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostPart {
    pub marked: bool,
    pub grid: Grid,
    /// Σ w².
    pub energy: f64,
    /// Σ |w| u over codes with steps of u.
    pub steps: f64,
}

impl HostPart {
    /// Mean square of the dithered cast's own noise, relative to w², for a relative change.
    fn cast_noise(&self, change: f64) -> f64 {
        match self.grid {
            Grid::Float(dtype) => float_cast_noise(change, dtype),
            // A change far below a step u moves a code with probability change·|w|/u, by u.
            Grid::Codes => change.abs() * self.steps / self.energy.max(f64::MIN_POSITIVE),
        }
    }
}

impl Host {
    /// α in billionths for a wish.
    pub fn alpha_nano(&self, strength: Strength) -> Result<u64> {
        let c = match strength {
            Strength::Auto => {
                let predicted_db = self.predicted_db(LEAST);
                let has_codes = self.parts.iter().any(|part| part.grid == Grid::Codes);
                let limit_db = if has_codes { CODES_LIMIT_DB } else { LIMIT_DB };
                if predicted_db > limit_db {
                    return Err(Error::TooStrong { predicted_db, limit_db, weights: self.weights });
                }
                self.strongest(MODEST_DB).clamp(LEAST, WANTED)
            }
            Strength::Decibel(wish) => self.solve(wish)?,
        };
        let alpha = c * (self.slots as f64 / self.weights as f64).sqrt();
        Ok(((alpha * 1e9).round() as u64).max(1))
    }

    fn solve(&self, wish: f64) -> Result<f64> {
        if !(-120.0..=-10.0).contains(&wish) {
            return Err(Error::Strength(wish));
        }
        let least_db = self.predicted_db(0.0);
        if wish < least_db {
            let suggested_db = self.predicted_db(0.4).ceil();
            return Err(Error::TooWeak { asked_db: wish, least_db, suggested_db, weights: self.weights });
        }
        Ok(self.strongest(wish))
    }

    /// The largest c that stays within a distortion.
    fn strongest(&self, wish: f64) -> f64 {
        let (mut low, mut high) = (0.0, LARGEST);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if self.predicted_db(middle) < wish { low = middle } else { high = middle }
        }
        low
    }

    /// Expected before the codeword is known.
    fn predicted_db(&self, c: f64) -> f64 {
        let unit = (self.slots as f64 / self.weights as f64).sqrt() / self.mean_profile;
        let steps = 400;
        let (from, to) = (-6.0, c.min(6.0));
        let width = (to - from) / f64::from(steps);
        let points = (0..steps).map(|step| from + (f64::from(step) + 0.5) * width);
        self.distortion_db(points.map(|t| (unit * (c - t), width * normal_density(t))))
    }

    /// What the slots' relative changes come to.
    pub fn amplitudes_db(&self, amplitudes: &[f32]) -> f64 {
        let share = 1.0 / amplitudes.len() as f64;
        self.distortion_db(amplitudes.iter().map(|amplitude| (f64::from(amplitude.abs()), share)))
    }

    /// The marked matrices with one entry for each float dtype and one for all codes.
    fn merged_parts(&self) -> Vec<HostPart> {
        let mut merged: Vec<HostPart> = Vec::new();
        for part in &self.parts {
            match merged.iter_mut().find(|other| other.grid == part.grid) {
                Some(other) => {
                    other.energy += part.energy;
                    other.steps += part.steps;
                }
                None => merged.push(*part),
            }
        }
        merged
    }

    /// D for relative changes, each with the share of slots that have it.
    fn distortion_db(&self, changes: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
        let mut squared = 0.0;
        for part in self.merged_parts() {
            let mean: f64 =
                changes.clone().map(|(change, share)| share * (change * change + part.cast_noise(change))).sum();
            squared += self.mean_energy * part.energy / self.total_energy * mean;
        }
        10.0 * squared.log10()
    }
}

/// Closed form without the cast: D² = K(c) n_c / (N μ²).
#[cfg(test)]
fn k(c: f64) -> f64 {
    use crate::statistics::normal_tail;
    let normal_cdf = |z: f64| 1.0 - 10f64.powf(normal_tail(z));
    (1.0 + c * c) * normal_cdf(c) + c * normal_density(c)
}

/// Mean square of the dithered cast's own noise, relative to w², for a relative change: u² f (1 − f) with the step u
/// and the change's remainder f in steps, over significands that are log-uniform in [1, 2) and weighted by w².
fn float_cast_noise(change: f64, dtype: Dtype) -> f64 {
    let step = match dtype {
        Dtype::Bf16 => 2f64.powi(-7),
        Dtype::F16 => 2f64.powi(-10),
        _ => return 0.0,
    };
    let (mut noise, mut energy) = (0.0, 0.0);
    for position in 0..32 {
        let significand = ((f64::from(position) + 0.5) / 32.0).exp2();
        let remainder = (change * significand / step).fract();
        noise += step * step * remainder * (1.0 - remainder);
        energy += significand * significand;
    }
    noise / energy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(weights: u64, slots: usize, dtype: Dtype) -> Host {
        let part = HostPart { marked: true, grid: Grid::Float(dtype), energy: 1.0, steps: 0.0 };
        Host { weights, slots, mean_profile: 0.75, mean_energy: 1.0, parts: vec![part], total_energy: 1.0 }
    }

    #[track_caller]
    fn close(value: f64, expected: f64, tolerance: f64) {
        assert!((value - expected).abs() <= tolerance, "{value} is not {expected}");
    }

    #[test]
    fn without_a_cast_the_prediction_is_the_closed_form() {
        close(k(0.4048), 0.9136, 1e-4);
        for (weights, slots, alpha, expected) in
            [(1_000_000, 128, 0.00769, -35.2), (20_000_000, 512, 0.00344, -42.2), (100_000_000, 1024, 0.00218, -46.2)]
        {
            let host = host(weights, slots, Dtype::F32);
            let c = alpha * (weights as f64 / slots as f64).sqrt();
            close(host.predicted_db(c), expected, 0.06);
            let closed = k(c) * slots as f64 / (weights as f64 * 0.75 * 0.75);
            close(host.predicted_db(c), 10.0 * closed.log10(), 0.01);
        }
    }

    /// 7e9 weights, 664 slots, c = 0.85. In BF16 the cast is most of it: large weights have both the larger changes
    /// and the larger steps.
    #[test]
    fn the_cast_dominates_for_large_models() {
        close(host(7_000_000_000, 664, Dtype::F32).predicted_db(0.85), -65.7, 0.1);
        close(host(7_000_000_000, 664, Dtype::F16).predicted_db(0.85), -64.8, 0.1);
        close(host(7_000_000_000, 664, Dtype::Bf16).predicted_db(0.85), -56.9, 0.1);
    }

    #[test]
    fn wishes_are_solved_or_refused() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let host = host(20_000_000, 664, dtype);
            let alpha = host.alpha_nano(Strength::Decibel(-40.0)).unwrap() as f64 * 1e-9;
            close(host.predicted_db(alpha * (20_000_000f64 / 664.0).sqrt()), -40.0, 0.01);
            assert!(matches!(host.alpha_nano(Strength::Decibel(-60.0)), Err(Error::TooWeak { .. })));
            assert!(matches!(host.alpha_nano(Strength::Decibel(0.0)), Err(Error::Strength(_))));
            assert!(matches!(host.alpha_nano(Strength::Decibel(f64::NAN)), Err(Error::Strength(_))));
        }
        let small = host(500_000, 256, Dtype::Bf16);
        assert!(matches!(small.alpha_nano(Strength::Auto), Err(Error::TooStrong { .. })));
        assert!(small.alpha_nano(Strength::Decibel(-28.0)).is_ok());
    }
}
