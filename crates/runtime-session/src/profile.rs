//! Where the time goes: calls, time and bytes per step.

use onnx_ir::Node;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
    /// What ran it; `reference` for reference evaluation.
    pub kernel: &'static str,
    /// How often it ran.
    pub calls: u64,
    /// The time of all calls. The time of a subgraph is in the rows of its nodes too.
    pub time: Duration,
    /// Bytes of the results of all calls.
    pub bytes: u64,
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
            calls: 0,
            time: Duration::ZERO,
            bytes: 0,
        });
        rows.len() - 1
    }

    /// Adds what one run measured.
    pub(crate) fn add(&self, timings: &mut Timings) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for (row, timing) in rows.iter_mut().zip(&mut timings.rows) {
            row.calls += timing.0;
            row.time += timing.1;
            row.bytes += timing.2;
            *timing = (0, Duration::ZERO, 0);
        }
    }

    /// The rows that ran so far.
    pub(crate) fn profile(&self) -> Profile {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        Profile {
            rows: rows.iter().filter(|row| row.calls > 0).cloned().collect(),
        }
    }
}

/// What one run measures, by row: calls, time, bytes.
#[derive(Default)]
pub(crate) struct Timings {
    rows: Vec<(u64, Duration, u64)>,
}

impl Timings {
    pub(crate) fn add(&mut self, row: usize, time: Duration, bytes: usize) {
        if self.rows.len() <= row {
            self.rows.resize(row + 1, (0, Duration::ZERO, 0));
        }
        let timing = &mut self.rows[row];
        timing.0 += 1;
        timing.1 += time;
        timing.2 += bytes as u64;
    }
}
