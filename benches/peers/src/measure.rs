//! The time of one run, as `modelpress bench` takes it.

use std::time::{Duration, Instant};

use crate::Refusal;

/// Runs before the first one that counts.
const WARMUP: usize = 10;

/// When to stop: after so many runs or so long, whichever comes first.
pub(crate) struct Budget {
    pub(crate) runs: usize,
    pub(crate) time: Duration,
}

/// What the runs took, and a number by which to tell whether they computed what other runtimes do.
pub(crate) struct Latency {
    median: Duration,
    least: Duration,
    runs: usize,
    /// Root mean square of the first output.
    rms: f64,
}

impl Latency {
    pub(crate) fn to_json(&self) -> String {
        let [median, least] = [self.median, self.least].map(|time| 1e3 * time.as_secs_f64());
        format!(
            r#"{{"p50_ms": {median}, "min_ms": {least}, "runs": {}, "rms": {}}}"#,
            self.runs, self.rms
        )
    }
}

/// Times `run`, which gives the outputs; `first` reads the elements of the first output.
pub(crate) fn measure<T>(
    budget: &Budget,
    mut run: impl FnMut() -> Result<T, Refusal>,
    first: impl Fn(&T) -> Option<Vec<f32>>,
) -> Result<Latency, Refusal> {
    let started = Instant::now();
    let mut outputs = run()?;
    for _ in 1..WARMUP {
        if started.elapsed() > budget.time {
            break;
        }
        outputs = run()?;
    }
    let rms = first(&outputs).map_or(f64::NAN, |elements| root_mean_square(&elements));
    drop(outputs);
    let (started, mut times) = (Instant::now(), Vec::new());
    loop {
        let start = Instant::now();
        let outputs = run()?;
        times.push(start.elapsed());
        drop(outputs);
        if times.len() >= budget.runs || started.elapsed() > budget.time {
            break;
        }
    }
    times.sort_unstable();
    Ok(Latency {
        median: times[(times.len() - 1) / 2],
        least: times[0],
        runs: times.len(),
        rms,
    })
}

fn root_mean_square(elements: &[f32]) -> f64 {
    let squares: f64 = elements.iter().map(|x| f64::from(*x).powi(2)).sum();
    (squares / elements.len() as f64).sqrt()
}
