//! The program starts at once: the best of many runs, so that a busy machine does not count.

mod run;

use std::time::{Duration, Instant};

#[test]
fn version_and_help_are_there_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for argument in ["--version", "--help"] {
        let once = |_| {
            let since = Instant::now();
            assert_eq!(run::countermark(folder.path(), &[argument]).0, 0);
            since.elapsed()
        };
        let best = (0..40).map(once).min().unwrap();
        println!("countermark {argument}: {best:?}");
        assert!(best < Duration::from_millis(20), "{argument}: {best:?}");
    }
}
