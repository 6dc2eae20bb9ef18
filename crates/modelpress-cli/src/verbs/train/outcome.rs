//! What runs of training have in common in their outcome, and how it is printed.

use crate::context::{Context, bytes_on_disk, peak_rss_bytes};
use crate::error::Error;
use crate::table::{Align, Table};
use crate::units;
use modelpress::train::trainer::{EpochEnd, Score, TrainReport};
use serde::Serialize;
use std::io::{Result as Printed, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The best value of the watched score.
#[derive(Serialize)]
pub(crate) struct Best {
    step: u64,
    /// Null where it is not finite.
    value: f64,
}

/// A run, whatever was trained.
#[derive(Serialize)]
pub(crate) struct Ran {
    pub(crate) output: PathBuf,
    checkpoint: PathBuf,
    /// Whether the run went on from the checkpoint.
    resumed: bool,
    pub(crate) samples: usize,
    held_out: usize,
    pub(crate) steps: u64,
    epochs: Vec<EpochEnd>,
    watched: String,
    best: Option<Best>,
    stopped_early: bool,
    pub(crate) trained: Vec<String>,
    pub(crate) not_initialized: Vec<String>,
    pub(crate) output_bytes: u64,
    /// Of this call.
    pub(crate) seconds: f64,
    peak_rss_bytes: Option<u64>,
    pub(crate) threads: usize,
}

/// Where a run wrote, and on what it went.
pub(crate) struct Around<'a> {
    pub(crate) started: Instant,
    pub(crate) output: &'a Path,
    pub(crate) checkpoint: PathBuf,
    pub(crate) resumed: bool,
    /// Learned from, and held out.
    pub(crate) samples: (usize, usize),
}

impl Ran {
    /// A run that has ended and whose file is written.
    pub(crate) fn new(
        around: Around<'_>,
        report: TrainReport,
        cx: &Context,
    ) -> Result<Self, Error> {
        Ok(Self {
            output: around.output.to_owned(),
            checkpoint: around.checkpoint,
            resumed: around.resumed,
            samples: around.samples.0,
            held_out: around.samples.1,
            steps: report.steps,
            epochs: report.epochs,
            watched: report.watched,
            best: report.best.map(|best| Best {
                step: best.step,
                value: best.value,
            }),
            stopped_early: report.stopped_early,
            trained: report.trained,
            not_initialized: report.not_initialized,
            output_bytes: bytes_on_disk(around.output)?,
            seconds: around.started.elapsed().as_secs_f64(),
            peak_rss_bytes: peak_rss_bytes(),
            threads: cx.threads(),
        })
    }

    /// The epochs, and an empty line.
    pub(crate) fn print_epochs(&self, out: &mut dyn Write) -> Printed<()> {
        print_epochs(&self.epochs, out)?;
        writeln!(out)
    }

    /// The best value of the watched score.
    pub(crate) fn print_best(&self, out: &mut dyn Write) -> Printed<()> {
        let Some(best) = &self.best else {
            return Ok(());
        };
        let metrics = self.epochs.first();
        let metrics = metrics.map_or(&[][..], |e| e.train.get(1..).unwrap_or_default());
        let value = if metrics.iter().any(|m| m.name == self.watched) {
            format!("{:.2} %", best.value * 100.0)
        } else {
            format!("{:.4}", best.value)
        };
        let (watched, step) = (&self.watched, best.step);
        writeln!(out, "best {watched}: {value}, after step {step}")
    }

    /// What a reader should know.
    pub(crate) fn print_notes(&self, out: &mut dyn Write) -> Printed<()> {
        if self.stopped_early {
            writeln!(out, "note: stopped before the last epoch")?;
        }
        for name in &self.not_initialized {
            writeln!(
                out,
                "note: `{name}` keeps its values: what it is for is not known"
            )?;
        }
        Ok(())
    }
}

/// As in `loss 0.1234, accuracy 97.50 %`.
pub(crate) fn told(scores: &[Score]) -> String {
    let loss = scores.first().map_or(f64::NAN, |loss| loss.value);
    match names(scores, false) {
        metrics if metrics.is_empty() => format!("loss {loss:.4}"),
        metrics => format!("loss {loss:.4}, {metrics}"),
    }
}

/// The metrics behind the loss.
fn names(scores: &[Score], with_interval: bool) -> String {
    let metrics = scores.iter().skip(1).map(|score| match score.ci95 {
        Some(ci95) if with_interval => {
            format!("{} {}", score.name, units::share(score.value, ci95))
        }
        _ => format!("{} {:.2} %", score.name, score.value * 100.0),
    });
    metrics.collect::<Vec<_>>().join(", ")
}

/// A row of scores for each epoch.
pub(crate) fn print_epochs(epochs: &[EpochEnd], out: &mut dyn Write) -> Printed<()> {
    let mut table = Table::new(&[
        ("epoch", Align::Right),
        ("loss", Align::Right),
        ("metrics", Align::Right),
        ("held-out loss", Align::Right),
        ("held-out metrics [95 %]", Align::Right),
    ]);
    let loss = |scores: &[Score]| {
        scores
            .first()
            .map_or(String::new(), |s| format!("{:.4}", s.value))
    };
    for end in epochs {
        table.row([
            (end.epoch + 1).to_string(),
            loss(&end.train),
            names(&end.train, false),
            loss(&end.validation),
            names(&end.validation, true),
        ]);
    }
    table.print(out)
}
