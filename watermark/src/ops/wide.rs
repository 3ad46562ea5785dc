//! The same loop, compiled for each width of vector registers; the widest that this processor has is run.
//!
//! Rust never contracts a product and a sum into one rounding, so every width gives the same bits.

/// A loop that gains from wide registers. Whatever `run` calls must be inlined into it to gain too.
pub(super) trait Wide: Sized {
    type Output;

    /// The loop. Implementations are `#[inline(always)]`.
    fn run(self) -> Self::Output;

    /// Runs the loop as compiled for this processor.
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    fn run_widest(self) -> Self::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        fn avx512<W: Wide>(work: W) -> W::Output {
            work.run()
        }
        #[target_feature(enable = "avx2")]
        fn avx2<W: Wide>(work: W) -> W::Output {
            work.run()
        }
        let has_avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if has_avx512 {
            // SAFETY: the processor was just asked for all four features.
            unsafe { avx512(self) }
        } else if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor was just asked for AVX2.
            unsafe { avx2(self) }
        } else {
            self.run()
        }
    }

    /// Runs the loop as compiled for this processor.
    #[cfg(not(target_arch = "x86_64"))]
    fn run_widest(self) -> Self::Output {
        self.run()
    }
}
