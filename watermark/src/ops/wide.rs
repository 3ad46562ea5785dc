//! The same loop, compiled for each width of vector registers; the widest that this processor has is run.
//!
//! Rust never contracts a product and a sum into one rounding, so every width gives the same bits.

/// A loop that gains from wide registers. Whatever `run` calls must be inlined into it to gain too.
pub(super) trait Wide: Sized {
    type Output;

    /// The loop. Implementations are `#[inline(always)]`.
    fn run(self) -> Self::Output;

    /// Runs the loop as compiled for this processor.
    fn run_widest(self) -> Self::Output {
        self.run_up_to(Width::Avx512)
    }

    /// Runs the loop as compiled for the widest registers that this processor has, up to a limit.
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    fn run_up_to(self, limit: Width) -> Self::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn avx512<W: Wide>(work: W) -> W::Output {
            work.run()
        }
        #[target_feature(enable = "avx2")]
        fn avx2<W: Wide>(work: W) -> W::Output {
            work.run()
        }
        let has_avx512 = || {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
        };
        if limit >= Width::Avx512 && has_avx512() {
            // SAFETY: the processor was just asked for all four features.
            unsafe { avx512(self) }
        } else if limit >= Width::Avx2 && is_x86_feature_detected!("avx2") {
            // SAFETY: the processor was just asked for AVX2.
            unsafe { avx2(self) }
        } else {
            self.run()
        }
    }

    /// Runs the loop as compiled for the widest registers that this processor has, up to a limit.
    #[cfg(not(target_arch = "x86_64"))]
    fn run_up_to(self, _: Width) -> Self::Output {
        self.run()
    }
}

/// Registers that a loop is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Width {
    /// What every processor of the architecture has.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests hold the loops back"))]
    Common,
    #[cfg_attr(not(test), allow(dead_code))]
    Avx2,
    Avx512,
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use proptest::prelude::*;

    use super::*;
    use crate::carrier::{Panel, TensorCarrier};
    use crate::element::Element;
    use crate::key::{MarkKey, MarkSecret};
    use crate::ops::SlotSums;
    use crate::ops::rows::{Accumulator, Amplitudes, MarkPanel, Scratch, SquarePanel, SumPanel};

    /// Everything that the loops give at this width: sums, marked weights, squares.
    fn outcome<E: Element>(rows: &[E], columns: usize, slots: usize, limit: Width) -> (SlotSums, Vec<u32>, Vec<u64>) {
        let key = MarkKey::derive(&MarkSecret::from_bytes([3; 32]), [1; 32], [7; 16], None);
        let carrier = TensorCarrier::new(&key, "layer", slots);
        let amplitudes: Vec<f32> = (0..4 * slots).map(|slot| (slot % 5) as f32 * 0.01 - 0.02).collect();
        let amplitudes = Amplitudes::new(&amplitudes);
        let (mut panel, mut scratch) = (Panel::default(), Scratch::default());
        panel.load(&carrier, 8, rows.len() / columns, columns, E::DITHERED);
        let mut accumulator = Accumulator::new(slots);
        for amplitudes in [None, Some(&amplitudes)] {
            let (accumulator, scratch) = (&mut accumulator, &mut scratch);
            SumPanel { rows, columns, panel: &panel, amplitudes, survey: true, accumulator, scratch }.run_up_to(limit);
        }
        let mut marked = vec![E::default(); rows.len()];
        let work = MarkPanel {
            rows,
            marked: &mut marked,
            columns,
            panel: &panel,
            amplitudes: &amplitudes,
            scratch: &mut scratch,
        };
        work.run_up_to(limit);
        let squares = SquarePanel { a: &marked, b: rows, columns }.run_up_to(limit);
        let marked = marked.into_iter().map(|weight| weight.value().to_bits()).collect();
        (accumulator.finish(), marked, squares.into_iter().map(f64::to_bits).collect())
    }

    fn same_at_every_width<E: Element>(rows: &[E], columns: usize, slots: usize) -> Result<(), TestCaseError> {
        let common = outcome(rows, columns, slots, Width::Common);
        for width in [Width::Avx2, Width::Avx512] {
            prop_assert!(outcome(rows, columns, slots, width) == common, "{:?} differs", width);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Any bits, so that NaN, infinite, subnormal and huge weights are all there.
        #[test]
        fn every_width_gives_the_same_bits(
            columns in 16usize..1200,
            slots in prop_oneof![Just(16usize), Just(166)],
            seed: u64,
            tame: bool,
        ) {
            let mut state = seed;
            let mut bits = move || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Tame weights are of a few binades around one; f16 keeps the lower half.
                let bits = (state >> 32) as u32;
                if tame { bits & 0x81ff_83ff | 0x3c00_3800 } else { bits }
            };
            let bits: Vec<u32> = (0..7 * columns).map(|_| bits()).collect();
            let halves: Vec<f16> = bits.iter().map(|&bits| f16::from_bits(bits as u16)).collect();
            let brains: Vec<bf16> = bits.iter().map(|&bits| bf16::from_bits((bits >> 16) as u16)).collect();
            let singles: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
            same_at_every_width(&halves, columns, slots)?;
            same_at_every_width(&brains, columns, slots)?;
            same_at_every_width(&singles, columns, slots)?;
        }
    }
}
