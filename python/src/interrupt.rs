//! Long work without the interpreter's lock, and Ctrl-C in the middle of it.
//!
//! Only the main thread may ask Python for signals, while the work's progress is heard on any thread of the pool. So
//! the work runs on a thread of its own, and the caller's thread waits and asks. An interrupt unwinds the work at its next
//! piece of progress, as a panic would but silently: temporary files are removed on the way, outputs stay as they were.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use countermark::{Error, Progress};
use pyo3::prelude::*;

use crate::errors;

/// How often Python is asked for signals.
const TICK: Duration = Duration::from_millis(50);

/// Stops the work at its next piece of progress, once it is told to.
#[derive(Default)]
pub struct Watch {
    interrupted: AtomicBool,
}

/// What an interrupted thread unwinds with.
struct Interrupted;

impl Watch {
    fn stop_if_interrupted(&self) {
        if self.interrupted.load(Ordering::Relaxed) {
            panic::resume_unwind(Box::new(Interrupted));
        }
    }
}

impl Progress for Watch {
    fn begin(&self, _: &str, _: u64) {
        self.stop_if_interrupted();
    }

    fn advance(&self, _: u64) {
        self.stop_if_interrupted();
    }
}

/// Runs `work` without the lock.
///
/// # Errors
/// What the work could not do, as a Python exception, or what the handler of a signal raised.
pub fn run<T: Send>(py: Python<'_>, work: impl FnOnce(&Watch) -> Result<T, Error> + Send) -> PyResult<T> {
    let watch = Watch::default();
    py.detach(|| {
        thread::scope(|scope| {
            let (running, ended) = mpsc::channel::<()>();
            let worker = scope.spawn(|| {
                // Dropped when the work ends, one way or another; that is what the receiver waits for.
                let _running = running;
                work(&watch)
            });
            let mut raised = None;
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = Python::attach(|py| py.check_signals()) {
                    watch.interrupted.store(true, Ordering::Relaxed);
                    raised.get_or_insert(error);
                }
            }
            match (raised, worker.join()) {
                (Some(error), _) => Err(error),
                (None, Ok(result)) => result.map_err(errors::raise),
                (None, Err(panic)) => panic::resume_unwind(panic),
            }
        })
    })
}
