//! The autotuner: tries the ways in which steps can compute, and keeps what was fastest.
//!
//! Which way is fastest follows from a rule that counts work ([`WinogradTile::fastest`](runtime_kernels::conv::WinogradTile::fastest)
//! and its like). With [`SessionOptions::with_autotune`](crate::SessionOptions::with_autotune) it is measured instead, when inputs of new
//! shapes come: the plan runs once, and each step that has a choice runs in all its ways on the values that it is about to read. The least
//! of several times counts. The rule's way stays unless another is faster by a margin, so that noise decides nothing.
//!
//! What was measured is kept in a file by the machine and by what the step computes, so that equal steps, of this model or
//! another, are measured once.
//!
//! | module | holds |
//! |---|---|
//! | `way` | the ways, and steps made by them |
//! | `key` | what a step computes, as text |
//! | `plan` | a plan's steps, measured and replaced |
//! | `region` | which images have their channels last, measured |
//! | `clock` | times of steps that take turns |
//! | `host`, `cache` | the file |

mod cache;
mod clock;
mod host;
mod key;
mod plan;
mod region;
mod way;

use cache::{Entry, Table};
use host::Host;
use runtime_kernels::Context;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use plan::tune;
pub(crate) use region::{Layouts, regions};
pub(crate) use way::{Way, Workshop};

/// How steps are measured, and where choices are kept.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Autotune {
    /// The file of choices; without one they last as long as the session.
    pub cache: Option<PathBuf>,
    /// Whether only the choices of the file are taken: nothing is measured and nothing written.
    pub read_only: bool,
    /// The time that a session may measure for, over all shapes of inputs; the rule decides the rest.
    pub max_time: Duration,
    /// The part of the rule's time by which another way must be faster.
    pub margin: f64,
}

impl Default for Autotune {
    fn default() -> Self {
        Self {
            cache: crate::roofline::cache_file("autotune.json"),
            read_only: false,
            max_time: Duration::from_secs(20),
            margin: 0.05,
        }
    }
}

impl Autotune {
    /// The same with choices kept in this file. The default is `modelpress/autotune.json` in the user's cache folder, where there is one: see
    /// [`Machine::cached`](crate::roofline::Machine::cached).
    #[must_use]
    pub fn with_cache(mut self, file: impl Into<PathBuf>) -> Self {
        self.cache = Some(file.into());
        self
    }

    /// The same with choices that last as long as the session.
    #[must_use]
    pub fn without_cache(mut self) -> Self {
        self.cache = None;
        self
    }

    /// The same with the choices of the file only: what it does not hold is computed as by rule, and nothing is measured or written.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// The same with another bound on the time of measuring.
    #[must_use]
    pub fn with_max_time(mut self, max_time: Duration) -> Self {
        self.max_time = max_time;
        self
    }

    /// The same with another part of the rule's time by which another way must be faster.
    #[must_use]
    pub fn with_margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }
}

/// What an autotuner did so far.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Tuning {
    /// The steps that have a choice, in the order in which they run, for each set of input shapes after the other.
    pub steps: Vec<TunedStep>,
    /// Steps that were measured; the others were found in the file, or earlier in the session.
    pub measured: usize,
    /// The time that it took.
    pub time: Duration,
    /// What did not go as asked: a file that could not be used, time that ran out.
    pub remarks: Vec<String>,
}

/// A step that has a choice.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TunedStep {
    /// The node (the last one of those that the step fuses); of the choice of a whole region of images, what it is.
    pub node: String,
    /// What computes it.
    pub kernel: &'static str,
    /// The way of the rule, and its least time; none where it was not measured.
    pub rule: String,
    /// See [`TunedStep::rule`].
    pub rule_time: Option<Duration>,
    /// The way that is taken, and its least time.
    pub chosen: String,
    /// See [`TunedStep::chosen`].
    pub time: Option<Duration>,
    /// Whether it was measured for this plan.
    pub is_measured: bool,
}

/// The choices of a session.
pub(crate) struct Tuner {
    options: Autotune,
    host: Host,
    /// Held while steps are measured: others would disturb the times, and find them here afterwards.
    book: Mutex<Book>,
}

/// What is known.
#[derive(Default)]
struct Book {
    known: Table,
    /// What the file does not hold yet.
    new: Table,
    report: Tuning,
    /// The plans whose steps are in the report.
    reported: HashSet<String>,
    /// Whether the file is used at all.
    writes: bool,
}

impl Tuner {
    /// With what the file holds for this machine.
    pub(crate) fn new(options: &Autotune, context: &Context) -> Self {
        let host = Host::of(context);
        let mut book = Book::default();
        if let Some(path) = &options.cache {
            match cache::read(path, &host) {
                Ok(known) => {
                    if options.read_only && !path.exists() {
                        let path = path.display();
                        book.remark(format!("there is no file {path}: all steps run as by rule"));
                    }
                    book.known = known;
                    book.writes = !options.read_only;
                }
                Err(error) => book.remark(ignored(path, &error)),
            }
        } else if options.read_only {
            book.remark("there is no file of choices to read: all steps run as by rule".into());
        }
        Self {
            options: options.clone(),
            host,
            book: Mutex::new(book),
        }
    }

    /// What was done so far.
    pub(crate) fn report(&self) -> Tuning {
        self.book().report.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is new to the file.
    fn keep(&self, book: &mut Book) {
        let new = std::mem::take(&mut book.new);
        let Some(path) = self.options.cache.as_ref().filter(|_| book.writes) else {
            return;
        };
        if new.is_empty() {
            return;
        }
        if let Err(error) = cache::add(path, &self.host, &new) {
            book.writes = false;
            let path = path.display();
            book.remark(format!("the choices cannot be kept in {path}: {error}"));
        }
    }
}

impl Book {
    fn remark(&mut self, remark: String) {
        if !self.report.remarks.contains(&remark) {
            self.report.remarks.push(remark);
        }
    }

    /// Takes a measured choice down.
    fn enter(&mut self, key: String, entry: Entry) {
        self.known.insert(key.clone(), entry.clone());
        self.new.insert(key, entry);
    }
}

fn ignored(path: &Path, error: &std::io::Error) -> String {
    format!(
        "the file of choices {} is ignored and left as it is: {error}; delete it, or name another one",
        path.display()
    )
}

/// Seconds as a time, where they are one.
fn time_of(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}
