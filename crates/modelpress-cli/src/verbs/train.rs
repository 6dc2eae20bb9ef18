//! `modelpress train`: an ONNX file that goes on to learn, or learns anew.

pub(crate) mod files;
pub(crate) mod settings;

use crate::context::{Context, bytes_on_disk, load_with_files, peak_rss_bytes, save};
use crate::error::{Error, Usage};
use crate::outputs::{check_is_onnx, check_outputs};
use crate::progress::Progress;
use crate::table::{Align, Table};
use crate::units;
use clap::Args;
use files::{RunFiles, checkpoint_of};
use modelpress::train::trainer::{Callback, EpochEnd, Flow, Network, Score, StepEnd, TrainReport};
use modelpress::training::TrainRecipe;
use serde::Serialize;
use settings::TrainArgs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Train the weights of an ONNX file; what is written is the file with other numbers.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  modelpress train model.onnx -o trained.onnx --train image=train_x.npy --labels train_y.npy --hold-out 0.1\n  modelpress train model.onnx -o trained.onnx --train x.npy --labels y.npy --val test_x.npy --val-labels test_y.npy \\\n    --layout nhwc --augment crop:4 --augment flip --epochs 30 --batch 128 --lr 0.1 --weight-decay 5e-4\n  modelpress train model.onnx -o trained.onnx --recipe train.toml --resume\n\nRuns that were broken off go on with --resume and the same arguments, to the same bytes."
)]
pub(crate) struct Train {
    /// The ONNX file.
    model: PathBuf,
    #[command(flatten)]
    files: RunFiles,
    #[command(flatten)]
    settings: TrainArgs,
}

/// The best value of the watched score.
#[derive(Serialize)]
struct Best {
    step: u64,
    /// Null where it is not finite.
    value: f64,
}

#[derive(Serialize)]
struct Outcome {
    output: PathBuf,
    checkpoint: PathBuf,
    /// Whether the run went on from the checkpoint.
    resumed: bool,
    samples: usize,
    held_out: usize,
    steps: u64,
    epochs: Vec<EpochEnd>,
    watched: String,
    best: Option<Best>,
    stopped_early: bool,
    trained: Vec<String>,
    statistics: Vec<String>,
    not_initialized: Vec<String>,
    input_bytes: u64,
    output_bytes: u64,
    /// Of this call.
    seconds: f64,
    /// The median and the least time from step to step in this call, with what happens between; null for fewer than two steps.
    step_ms_p50: Option<f64>,
    step_ms_least: Option<f64>,
    peak_rss_bytes: Option<u64>,
    threads: usize,
}

impl Train {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let started = Instant::now();
        let output = &self.files.output;
        check_is_onnx(output)?;
        let recipe = self.recipe()?;
        self.files.check(&recipe, [&self.model], &[])?;
        let (model, files) = load_with_files(&self.model)?;
        check_outputs(files.iter().map(PathBuf::as_path), &[output])?;
        let checkpoint = checkpoint_of(&recipe);
        let mut run = recipe.begin(&model, &cx.session_options())?;
        let resumed = self.files.resume && checkpoint.exists();
        if resumed {
            run.resume(&checkpoint)?;
        }
        let (samples, held_out) = run.samples();
        let times = Arc::new(Mutex::new(Vec::new()));
        let mut run = run.with_callback(Display {
            times: Arc::clone(&times),
            ..Display::default()
        });
        let (trained, report) = run.finish()?;
        save(&trained, output)?;
        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
        times.sort_unstable();
        let ms = |at: usize| times.get(at).copied().map(units::milliseconds);
        let TrainReport {
            steps,
            epochs,
            watched,
            best,
            stopped_early,
            trained,
            statistics,
            not_initialized,
            ..
        } = report;
        let outcome = Outcome {
            output: output.clone(),
            checkpoint,
            resumed,
            samples,
            held_out,
            steps,
            epochs,
            watched,
            best: best.map(|best| Best {
                step: best.step,
                value: best.value,
            }),
            stopped_early,
            trained,
            statistics,
            not_initialized,
            input_bytes: bytes_on_disk(&self.model)?,
            output_bytes: bytes_on_disk(output)?,
            seconds: started.elapsed().as_secs_f64(),
            step_ms_p50: ms(times.len() / 2),
            step_ms_least: ms(0),
            peak_rss_bytes: peak_rss_bytes(),
            threads: cx.threads(),
        };
        cx.report(&outcome, |out| outcome.print(out))
    }

    /// The recipe of the file, with what the arguments say in its place.
    fn recipe(&self) -> Result<TrainRecipe, Error> {
        let mut recipe = self
            .files
            .recipe(TrainRecipe::from_toml, TrainRecipe::within)?;
        self.files.apply_samples(&mut recipe)?;
        if recipe.samples.labels.is_empty() {
            return Err(Usage::NoTrainingLabels.into());
        }
        self.settings.apply(&mut recipe)?;
        self.files.apply_records(&mut recipe);
        Ok(recipe)
    }
}

/// Shows how far a run is.
#[derive(Default)]
pub(crate) struct Display {
    progress: Option<Progress>,
    /// When the last step ended.
    last: Option<Instant>,
    /// The times from step to step.
    times: Arc<Mutex<Vec<Duration>>>,
}

impl Callback for Display {
    fn on_step(&mut self, end: &StepEnd, _: &Network) -> Flow {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
            times.push(now - last);
        }
        let progress = self
            .progress
            .get_or_insert_with(|| Progress::new("train", end.steps as usize).after(end.step - 1));
        let how = format!("epoch {} loss {:.4}", end.epoch + 1, end.mean_loss);
        progress.set(end.step, how);
        Flow::Continue
    }

    /// Where no bar is drawn, a line for each epoch.
    fn on_epoch(&mut self, end: &EpochEnd, _: &Network) -> Flow {
        if !io::stderr().is_terminal() {
            let mut line = format!("epoch {}: {}", end.epoch + 1, told(&end.train));
            if !end.validation.is_empty() {
                line += &format!("; held out: {}", told(&end.validation));
            }
            eprintln!("{line}");
        }
        Flow::Continue
    }
}

impl Outcome {
    fn print(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        let metrics = self
            .epochs
            .first()
            .map_or(&[][..], |e| e.train.get(1..).unwrap_or_default());
        print_epochs(&self.epochs, out)?;
        writeln!(out)?;
        if let Some(best) = &self.best {
            let names: Vec<&str> = metrics.iter().map(|m| m.name.as_str()).collect();
            let value = if names.contains(&self.watched.as_str()) {
                format!("{:.2} %", best.value * 100.0)
            } else {
                format!("{:.4}", best.value)
            };
            writeln!(
                out,
                "best {}: {value}, after step {}",
                self.watched, best.step
            )?;
        }
        if self.stopped_early {
            writeln!(out, "note: stopped before the last epoch")?;
        }
        for name in &self.not_initialized {
            writeln!(
                out,
                "note: `{name}` keeps its values: what it is for is not known"
            )?;
        }
        writeln!(
            out,
            "{} weights and {} running statistics, {} steps over {} samples in {:.2} s, {} threads -> {}",
            self.trained.len(),
            self.statistics.len(),
            self.steps,
            self.samples,
            self.seconds,
            self.threads,
            self.output.display()
        )
    }
}

/// As in `loss 0.1234, accuracy 97.50 %`.
fn told(scores: &[Score]) -> String {
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
pub(crate) fn print_epochs(
    epochs: &[EpochEnd],
    out: &mut dyn std::io::Write,
) -> std::io::Result<()> {
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
