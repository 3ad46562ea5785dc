//! How far long work has come.

/// Hears of long work: what it is, how many bytes it will go through, and each piece as it is done.
///
/// The command line draws a bar, Python checks for an interrupt, tests stay silent.
pub trait Progress: Sync {
    /// A new stretch of work of `total` bytes begins.
    fn begin(&self, what: &str, total: u64);
    /// So many more bytes are done.
    fn advance(&self, bytes: u64);
}

/// Hears nothing.
pub fn silent() -> impl Progress {
    struct Silent;
    impl Progress for Silent {
        fn begin(&self, _: &str, _: u64) {}
        fn advance(&self, _: u64) {}
    }
    Silent
}
