//! How far long work has come.

use std::sync::atomic::{AtomicU64, Ordering};

use countermark_lineage::digest::artifact::Artifact;

/// Hears of long work: what it is, how much it will go through, and each piece as it is done. Hashing counts bytes,
/// marking and looking for marks count weights.
///
/// The command line draws a bar, Python checks for an interrupt, tests stay silent.
pub trait Progress: Sync {
    /// A new stretch of work begins.
    fn begin(&self, what: &str, total: u64);
    /// So much more is done.
    fn advance(&self, amount: u64);
    /// False when nobody looks at totals: the size of a hundred thousand files is then not asked for.
    fn wants_totals(&self) -> bool {
        true
    }
}

/// Begins to hash `artifact`.
pub(crate) fn begin_hashing(progress: &impl Progress, what: &str, artifact: &Artifact) {
    progress.begin(what, if progress.wants_totals() { artifact.total_size() } else { 0 });
}

/// Hears nothing.
pub fn silent() -> impl Progress {
    struct Silent;
    impl Progress for Silent {
        fn begin(&self, _: &str, _: u64) {}
        fn advance(&self, _: u64) {}
        fn wants_totals(&self) -> bool {
            false
        }
    }
    Silent
}

/// Turns work done in all into work done since last time.
pub(crate) struct Meter<'a, P> {
    progress: &'a P,
    done: AtomicU64,
}

impl<'a, P: Progress> Meter<'a, P> {
    pub fn begin(progress: &'a P, what: &str, total: u64) -> Self {
        progress.begin(what, total);
        Meter { progress, done: AtomicU64::new(0) }
    }

    pub fn reached(&self, done: u64) {
        self.progress.advance(done.saturating_sub(self.done.swap(done, Ordering::Relaxed)));
    }
}
