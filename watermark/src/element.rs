//! The three number formats that carry a mark: exact to `f32`, and back onto their own grid.

use half::{bf16, f16};

/// A stored weight.
pub(crate) trait Element: Copy + Default + Send + Sync + 'static {
    /// Whether [`Element::dithered`] uses its dither.
    const DITHERED: bool;

    /// The weight as `f32`, exactly.
    fn value(self) -> f32;

    /// Puts `target` onto this format's grid, without ever leaving the finite range. The 16-bit formats step up to the
    /// next larger magnitude with probability equal to the remainder, decided by `dither`, so that steps far below
    /// one unit in the last place are kept on average.
    fn dithered(target: f32, dither: u16) -> Self;
}

impl Element for f32 {
    const DITHERED: bool = false;

    #[inline(always)]
    fn value(self) -> f32 {
        self
    }

    #[inline(always)]
    fn dithered(target: f32, _: u16) -> f32 {
        target.clamp(f32::MIN, f32::MAX)
    }
}

impl Element for bf16 {
    const DITHERED: bool = true;

    #[inline(always)]
    fn value(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn dithered(target: f32, dither: u16) -> bf16 {
        // The upper half of an f32 is the grid and the lower half the remainder in 2⁻¹⁶ of a step.
        let bits = target.to_bits();
        let magnitude = ((bits & 0x7fff_ffff) + u32::from(dither)) >> 16;
        let magnitude = if magnitude > 0x7f7f { 0x7f7f } else { magnitude };
        bf16::from_bits((bits >> 16 & 0x8000 | magnitude) as u16)
    }
}

impl Element for f16 {
    const DITHERED: bool = true;

    #[inline(always)]
    fn value(self) -> f32 {
        // Placing the bits 13 higher leaves the exponent 112 too low; the multiplication also normalises subnormals.
        let bits = u32::from(self.to_bits());
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
        let magnitude = if bits & 0x7c00 == 0x7c00 { f32::INFINITY } else { magnitude };
        f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
    }

    #[inline(always)]
    fn dithered(target: f32, dither: u16) -> f16 {
        let bits = target.to_bits();
        let magnitude = f32::from_bits(bits & 0x7fff_ffff).min(65504.0);
        // Steps are 2⁻¹⁰ of the binade, and those of the smallest normal binade below it.
        let exponent = (magnitude.to_bits() >> 23).max(113);
        let steps = magnitude * f32::from_bits((127 + 127 + 10 - exponent) << 23);
        let whole = steps as u32;
        let remainder = ((steps - whole as f32) * 65536.0) as u32;
        // The bits of consecutive values are consecutive, across binades too.
        let bits16 = ((exponent - 113) << 10) + whole + ((remainder + u32::from(dither)) >> 16);
        f16::from_bits((bits >> 16 & 0x8000 | bits16.min(0x7bff)) as u16)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_16_bit_value_is_read_exactly_and_kept() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            assert_eq!(half.value().is_finite(), half.is_finite());
            assert_eq!(brain.value().is_finite(), brain.is_finite());
            if half.is_finite() {
                assert_eq!(half.value().to_bits(), half.to_f32().to_bits());
                assert_eq!(f16::dithered(half.value(), u16::MAX).to_bits(), bits);
            }
            if brain.is_finite() {
                assert_eq!(brain.value().to_bits(), brain.to_f32().to_bits());
                assert_eq!(bf16::dithered(brain.value(), u16::MAX).to_bits(), bits);
            }
        }
    }

    /// At powers of two, at zero, among subnormals and at the top, a step goes to the neighbour and never beyond.
    #[test]
    fn steps_cross_binades_zero_and_stop_at_the_top() {
        let just_below_one = f16::dithered(1.0 - 1.0 / 4096.0, 0);
        assert_eq!(just_below_one.to_f32(), 1.0 - 1.0 / 2048.0);
        assert_eq!(f16::dithered(1.0 - 1.0 / 4096.0, u16::MAX).to_f32(), 1.0);
        assert_eq!(f16::dithered(1.0 + 1.0 / 2048.0, 0).to_f32(), 1.0);
        assert_eq!(f16::dithered(1.0 + 1.0 / 2048.0, 1 << 15).to_f32(), 1.0 + 1.0 / 1024.0);
        let least = f16::from_bits(1).to_f32();
        assert_eq!(f16::dithered(least / 2.0, 1 << 15).to_bits(), 1);
        assert_eq!(f16::dithered(-least / 2.0, 1 << 15).to_bits(), 0x8001);
        assert_eq!(f16::dithered(-least / 2.0, 0).to_bits(), 0x8000);
        assert_eq!(f16::dithered(least * 1023.5, u16::MAX).to_bits(), 0x0400);
        assert_eq!(f16::dithered(f32::MAX, u16::MAX).to_f32(), 65504.0);
        assert_eq!(f16::dithered(-f32::INFINITY, 0).to_f32(), -65504.0);

        assert_eq!(bf16::dithered(1.0 - 1.0 / 512.0, 0).to_f32(), 1.0 - 1.0 / 256.0);
        assert_eq!(bf16::dithered(1.0 - 1.0 / 512.0, u16::MAX).to_f32(), 1.0);
        assert_eq!(bf16::dithered(f32::from_bits(1 << 15), 1 << 15).to_bits(), 1);
        assert_eq!(bf16::dithered(f32::from_bits(1 << 15), 0).to_bits(), 0);
        assert_eq!(bf16::dithered(f32::MAX, u16::MAX).to_bits(), 0x7f7f);
        assert_eq!(bf16::dithered(f32::NEG_INFINITY, 0).to_bits(), 0xff7f);
        assert_eq!(f32::dithered(f32::INFINITY, 0), f32::MAX);
    }

    proptest! {
        /// Over all 65,536 dithers the mean is the target: nothing is lost or added on average.
        #[test]
        fn rounding_is_unbiased(target in -70000f32..70000.0, scale in -40i32..4) {
            let target = target.clamp(-60000.0, 60000.0) * 2f32.powi(scale);
            prop_assume!(target.abs() < 60000.0);
            let mean = |round: fn(f32, u16) -> f32| {
                (0..=u16::MAX).map(|dither| f64::from(round(target, dither))).sum::<f64>() / 65536.0
            };
            let half = mean(|x, dither| f16::dithered(x, dither).to_f32());
            let brain = mean(|x, dither| bf16::dithered(x, dither).to_f32());
            let least = f64::from(f16::from_bits(1).to_f32()) / 65536.0;
            prop_assert!((half - f64::from(target)).abs() <= least + f64::from(target).abs() * 1e-9);
            prop_assert!((brain - f64::from(target)).abs() <= f64::from(target).abs() * 1e-9);
        }
    }
}
