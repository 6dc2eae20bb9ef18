//! Latency of a session: percentiles over repeated runs.

use crate::{Session, SessionError};
use compress_tensor::Tensor;
use std::time::{Duration, Instant};

/// How to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeasureOptions {
    /// Runs before the first one that counts.
    pub warmup: usize,
    /// Runs that count, at least one.
    pub runs: usize,
    /// Stops early once this much time has gone by.
    pub max_time: Duration,
}

impl Default for MeasureOptions {
    fn default() -> Self {
        Self {
            warmup: 5,
            runs: 100,
            max_time: Duration::from_secs(10),
        }
    }
}

impl MeasureOptions {
    /// The same with this many runs.
    #[must_use]
    pub fn with_runs(mut self, runs: usize) -> Self {
        self.runs = runs;
        self
    }

    /// The same with this many runs before the first one that counts.
    #[must_use]
    pub fn with_warmup(mut self, warmup: usize) -> Self {
        self.warmup = warmup;
        self
    }

    /// The same with another bound on the time.
    #[must_use]
    pub fn with_max_time(mut self, max_time: Duration) -> Self {
        self.max_time = max_time;
        self
    }
}

/// Latency over a number of runs.
///
/// Percentiles are by nearest rank: `p95` is the smallest latency that at least 95 % of the runs keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// Median.
    pub p50: Duration,
    /// 95th percentile.
    pub p95: Duration,
    /// 99th percentile.
    pub p99: Duration,
    /// Mean.
    pub mean: Duration,
    /// Fastest run.
    pub min: Duration,
    /// Slowest run.
    pub max: Duration,
    /// Runs that counted.
    pub runs: usize,
}

impl Latency {
    /// The statistics of measured times; `None` of no times.
    pub fn from_times(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let (&min, &max) = (times.first()?, times.last()?);
        let runs = times.len();
        let rank = |percent: usize| times[(runs * percent).div_ceil(100).clamp(1, runs) - 1];
        let total: Duration = times.iter().sum();
        Some(Self {
            p50: rank(50),
            p95: rank(95),
            p99: rank(99),
            mean: total / u32::try_from(runs).unwrap_or(u32::MAX),
            min,
            max,
            runs,
        })
    }

    /// Runs per second, one after the other.
    pub fn throughput_per_second(&self) -> f64 {
        1.0 / self.mean.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Measures the latency of running `session` on `inputs`.
///
/// # Errors
/// Those of [`Session::run`].
pub fn measure(
    session: &Session,
    inputs: &[(&str, Tensor)],
    options: &MeasureOptions,
) -> Result<Latency, SessionError> {
    let (started, mut outputs) = (Instant::now(), Vec::new());
    for _ in 0..options.warmup {
        session.run_into(inputs, &mut outputs)?;
        if started.elapsed() > options.max_time {
            break;
        }
    }
    let started = Instant::now();
    let mut times = Vec::with_capacity(options.runs.min(1 << 20));
    loop {
        let start = Instant::now();
        session.run_into(inputs, &mut outputs)?;
        times.push(start.elapsed());
        if times.len() >= options.runs || started.elapsed() > options.max_time {
            break;
        }
    }
    let zero = Duration::ZERO;
    Ok(Latency::from_times(times).unwrap_or(Latency {
        p50: zero,
        p95: zero,
        p99: zero,
        mean: zero,
        min: zero,
        max: zero,
        runs: 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let times = (1..=200).rev().map(Duration::from_millis).collect();
        let latency = Latency::from_times(times).unwrap();
        assert_eq!(latency.p50, Duration::from_millis(100));
        assert_eq!(latency.p95, Duration::from_millis(190));
        assert_eq!(latency.p99, Duration::from_millis(198));
        assert_eq!(latency.mean, Duration::from_micros(100_500));
        assert_eq!((latency.min.as_millis(), latency.max.as_millis()), (1, 200));
        assert_eq!(latency.runs, 200);
    }

    #[test]
    fn one_run_is_every_percentile() {
        let latency = Latency::from_times(vec![Duration::from_millis(3)]).unwrap();
        assert_eq!(latency.p50, latency.p99);
        assert!((latency.throughput_per_second() - 333.333).abs() < 0.01);
        assert_eq!(Latency::from_times(Vec::new()), None);
    }
}
