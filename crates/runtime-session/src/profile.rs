//! Where the time goes: calls, time, multiply-accumulates and bytes per step.

use onnx_ir::Node;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The kernel of rows that ran by reference evaluation.
pub(crate) const REFERENCE: &str = "reference";

/// Where the time of a session's runs went.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Profile {
    /// One row per step, in the order in which the steps were bound.
    pub rows: Vec<ProfileRow>,
}

/// One step: a node, or several nodes that run together.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProfileRow {
    /// The node (the last one of those that the step fuses).
    pub node: String,
    /// Its operator, with the domain.
    pub op: String,
    /// What ran it; `reference` for reference evaluation, also where only some of the calls had inputs that the kernel does
    /// not take.
    pub kernel: &'static str,
    /// The way in which the kernel computed, where it has several.
    pub variant: Option<String>,
    /// How often it ran.
    pub calls: u64,
    /// The time of all calls. The time of a subgraph is in the rows of its nodes too.
    pub time: Duration,
    /// The time of the fastest call.
    pub fastest: Duration,
    /// The multiply-accumulates of all calls and of all nodes that the step fuses, as [`onnx_ir::cost`] counts them; `None`
    /// where some shape is not known before the step runs.
    pub macs: Option<u64>,
    /// Bytes that all calls read: inputs, and weights as the file holds them. Of a table of which a few rows are read, no more
    /// than what is written; a view reads and writes none.
    pub bytes_read: u64,
    /// Bytes of the results of all calls.
    pub bytes_written: u64,
}

impl ProfileRow {
    /// Arithmetic per second in 10⁹ operations, a multiply-accumulate as two; `None` where there is none or it is not known.
    pub fn gflops(&self) -> Option<f64> {
        let macs = self.macs.filter(|&macs| macs > 0)?;
        per_nanosecond(2.0 * macs as f64, self.time)
    }

    /// Bytes read and written per second, in 10⁹; `None` where nothing moves.
    pub fn gbytes_per_second(&self) -> Option<f64> {
        let bytes = self.bytes_read.saturating_add(self.bytes_written);
        per_nanosecond(bytes as f64, self.time)
    }
}

/// One step of one run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TraceEvent {
    /// The node (the last one of those that the step fuses).
    pub node: String,
    /// Its operator, with the domain.
    pub op: String,
    /// What ran it.
    pub kernel: &'static str,
    /// When it began, after the first step of the run did. Steps of a subgraph lie within that of their node.
    pub start: Duration,
    /// How long it took.
    pub time: Duration,
    /// Its multiply-accumulates, where they are known.
    pub macs: Option<u64>,
    /// Bytes that it read.
    pub bytes_read: u64,
    /// Bytes of its results.
    pub bytes_written: u64,
}

/// Units of 10⁹ per second; `None` of nothing, or in no time.
fn per_nanosecond(amount: f64, time: Duration) -> Option<f64> {
    (amount > 0.0 && !time.is_zero()).then(|| amount / (time.as_secs_f64() * 1e9))
}

impl Profile {
    /// Time and calls by operator and kernel, the longest first.
    pub fn by_operator(&self) -> Vec<(String, &'static str, u64, Duration)> {
        let mut groups: Vec<(String, &'static str, u64, Duration)> = Vec::new();
        for row in &self.rows {
            let found = groups
                .iter_mut()
                .find(|g| g.0 == row.op && g.1 == row.kernel);
            match found {
                Some(group) => {
                    group.2 += row.calls;
                    group.3 += row.time;
                }
                None => groups.push((row.op.clone(), row.kernel, row.calls, row.time)),
            }
        }
        groups.sort_by_key(|group| std::cmp::Reverse(group.3));
        groups
    }
}

/// The rows of a session, shared by its runs.
#[derive(Default)]
pub(crate) struct Profiler {
    rows: Mutex<Vec<ProfileRow>>,
}

impl Profiler {
    /// The number of a new row.
    pub(crate) fn row(&self, node: &str, what: &Node, kernel: &'static str) -> usize {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.push(ProfileRow {
            node: node.to_owned(),
            op: what.qualified_op(),
            kernel,
            variant: None,
            calls: 0,
            time: Duration::ZERO,
            fastest: Duration::MAX,
            macs: Some(0),
            bytes_read: 0,
            bytes_written: 0,
        });
        rows.len() - 1
    }

    /// Notes the way in which the step of a row computes.
    pub(crate) fn set_variant(&self, row: usize, variant: Option<String>) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.get_mut(row) {
            row.variant = variant;
        }
    }

    /// Adds what one run measured.
    pub(crate) fn add(&self, timings: &mut Timings) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for (row, timing) in rows.iter_mut().zip(&mut timings.rows) {
            row.calls += timing.calls;
            row.time += timing.time;
            row.fastest = row.fastest.min(timing.fastest);
            let sum = |(a, b): (u64, u64)| a.checked_add(b);
            if timing.by_reference {
                row.kernel = REFERENCE;
            }
            row.macs = row.macs.zip(timing.macs).and_then(sum);
            row.bytes_read = row.bytes_read.saturating_add(timing.bytes.read);
            row.bytes_written = row.bytes_written.saturating_add(timing.bytes.written);
            *timing = Timing::default();
        }
    }

    /// The events of a run by the names of their rows, in the order in which they began.
    pub(crate) fn named(&self, mut events: Vec<Event>) -> Vec<TraceEvent> {
        events.sort_by_key(|event| event.start);
        let first = events.first().map(|event| event.start);
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |event: Event| {
            let row = rows.get(event.row)?;
            Some(TraceEvent {
                node: row.node.clone(),
                op: row.op.clone(),
                kernel: if event.by_reference {
                    REFERENCE
                } else {
                    row.kernel
                },
                start: event.start.saturating_duration_since(first?),
                time: event.time,
                macs: event.macs,
                bytes_read: event.bytes.read,
                bytes_written: event.bytes.written,
            })
        };
        events.into_iter().filter_map(named).collect()
    }

    /// The fastest call of each row; [`Duration::MAX`] where there was none.
    pub(crate) fn fastest(&self) -> Vec<Duration> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().map(|row| row.fastest).collect()
    }

    /// The rows that ran so far.
    pub(crate) fn profile(&self) -> Profile {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        Profile {
            rows: rows.iter().filter(|row| row.calls > 0).cloned().collect(),
        }
    }
}

/// The steps of one run, for whoever asked for it.
pub(crate) type Events = Arc<Mutex<Vec<Event>>>;

/// What one run measures.
#[derive(Default)]
pub(crate) struct Timings {
    rows: Vec<Timing>,
    /// The multiply-accumulates of one call, by row; of the plan that runs.
    pub(crate) macs: Arc<[Option<u64>]>,
    /// Where each step is noted, where somebody asked.
    pub(crate) events: Option<Events>,
}

/// A step of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    row: usize,
    start: Instant,
    time: Duration,
    macs: Option<u64>,
    bytes: Bytes,
    by_reference: bool,
}

/// What one step reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) read: u64,
    pub(crate) written: u64,
}

/// What one run measures of one row.
#[derive(Clone)]
struct Timing {
    calls: u64,
    time: Duration,
    fastest: Duration,
    macs: Option<u64>,
    bytes: Bytes,
    /// Whether a call had inputs that the kernel of the step does not take.
    by_reference: bool,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            calls: 0,
            time: Duration::ZERO,
            fastest: Duration::MAX,
            macs: Some(0),
            bytes: Bytes::default(),
            by_reference: false,
        }
    }
}

impl Timings {
    /// Adds a call that began and took so long.
    pub(crate) fn add(
        &mut self,
        row: usize,
        (start, time): (Instant, Duration),
        bytes: Bytes,
        by_reference: bool,
    ) {
        if self.rows.len() <= row {
            self.rows.resize(row + 1, Timing::default());
        }
        let macs = self.macs.get(row).copied().flatten();
        if let Some(events) = &self.events {
            let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
            events.push(Event {
                row,
                start,
                time,
                macs,
                bytes,
                by_reference,
            });
        }
        let timing = &mut self.rows[row];
        timing.calls += 1;
        timing.by_reference |= by_reference;
        timing.time += time;
        timing.fastest = timing.fastest.min(time);
        let sum = |(a, b): (u64, u64)| a.checked_add(b);
        timing.macs = timing.macs.zip(macs).and_then(sum);
        timing.bytes.read = timing.bytes.read.saturating_add(bytes.read);
        timing.bytes.written = timing.bytes.written.saturating_add(bytes.written);
    }
}
