//! Progress bars: on stderr, only on a terminal, only for work of more than a second.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countermark::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that appears when work takes longer than a second.
pub struct Bar {
    work: Mutex<Option<Work>>,
    done: AtomicU64,
    on_terminal: bool,
}

struct Work {
    bar: ProgressBar,
    since: Instant,
    shown: bool,
}

impl Bar {
    pub fn new() -> Self {
        Bar { work: Mutex::new(None), done: AtomicU64::new(0), on_terminal: std::io::stderr().is_terminal() }
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, total: u64) {
        if !self.on_terminal {
            return;
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        let template = "{msg:>16} [{bar:30}] {percent:>3} %, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        self.done.store(0, Ordering::Relaxed);
        if let Ok(mut work) = self.work.lock() {
            if let Some(old) = work.take() {
                old.bar.finish_and_clear();
            }
            *work = Some(Work { bar, since: Instant::now(), shown: false });
        }
    }

    fn advance(&self, amount: u64) {
        let done = self.done.fetch_add(amount, Ordering::Relaxed) + amount;
        // A thread that finds another one drawing has better things to do.
        let Ok(mut work) = self.work.try_lock() else { return };
        let Some(work) = work.as_mut() else { return };
        if !work.shown && work.since.elapsed() > Duration::from_secs(1) {
            work.bar.set_draw_target(ProgressDrawTarget::stderr());
            work.shown = true;
        }
        work.bar.set_position(done);
    }

    fn wants_totals(&self) -> bool {
        self.on_terminal
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Ok(Some(work)) = self.work.get_mut().map(Option::take) {
            work.bar.finish_and_clear();
        }
    }
}
