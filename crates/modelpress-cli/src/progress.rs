//! A progress bar on standard error, on a terminal and after a second only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// Work shorter than this shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
    shown: bool,
}

impl Progress {
    pub(crate) fn new(what: &'static str, length: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::hidden());
        let style = "{msg} {bar:40} {pos}/{len} {eta}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self {
            bar,
            started: Instant::now(),
            shown: !io::stderr().is_terminal(),
        }
    }

    /// Says how much work is done altogether, and how it goes.
    pub(crate) fn set(&mut self, done: u64, how: String) {
        self.bar.set_message(how);
        let before = self.bar.position();
        self.add(done.saturating_sub(before) as usize);
    }

    /// Work that was done before; it does not count for the time that is left.
    pub(crate) fn after(self, done: u64) -> Self {
        self.bar.set_position(done);
        self.bar.reset_eta();
        self
    }

    /// Counts work that is done.
    pub(crate) fn add(&mut self, done: usize) {
        if !self.shown && self.started.elapsed() > PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.shown = true;
        }
        self.bar.inc(done as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
