//! `modelpress train`: an ONNX file that goes on to learn, or learns anew.

pub(crate) mod settings;

use crate::context::{Context, bytes_on_disk, load_with_files, peak_rss_bytes, save};
use crate::error::{Error, Usage};
use crate::outputs::{check_is_onnx, check_outputs, files_of};
use crate::progress::Progress;
use crate::table::{Align, Table};
use crate::units;
use clap::Args;
use modelpress::data::InputSpec;
use modelpress::train::trainer::{
    Callback, CheckpointConfig, EpochEnd, Flow, LogConfig, Network, Score, StepEnd, TrainReport,
};
use modelpress::training::{SampleSpec, TrainRecipe};
use serde::Serialize;
use settings::TrainArgs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
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
    /// The file to write.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Settings and samples (TOML); arguments beside it take their place.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// What feeds an input while the model trains: an .npy or .npz file. NAME= may be left out for one input.
    #[arg(long = "train", value_name = "NAME=FILE")]
    inputs: Vec<InputSpec>,
    /// What the outputs are held against: classes or values by sample.
    #[arg(long, value_name = "FILE")]
    labels: Vec<InputSpec>,
    /// What feeds an input when the model is evaluated after an epoch.
    #[arg(long = "val", value_name = "NAME=FILE", conflicts_with = "hold_out")]
    validation: Vec<InputSpec>,
    /// The labels of --val.
    #[arg(long = "val-labels", value_name = "FILE", requires = "validation")]
    validation_labels: Vec<InputSpec>,
    /// Hold out this share of the samples, and evaluate on them.
    #[arg(long, value_name = "SHARE", value_parser = settings::share)]
    hold_out: Option<f64>,
    /// Go on from the checkpoint, if it is there.
    #[arg(long)]
    resume: bool,
    /// The checkpoint, written after each epoch; OUT.checkpoint unless given.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Write a checkpoint every N steps too.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// Write the numbers of each step to this file: CSV, or JSON lines where it ends in .jsonl.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Draw the curves of the log to this file (SVG).
    #[arg(long, value_name = "FILE")]
    curves: Option<PathBuf>,
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
        check_is_onnx(&self.output)?;
        let recipe = self.recipe()?;
        let checkpoint = recipe.trainer.checkpoint.as_ref().map(|c| c.path.clone());
        let checkpoint = checkpoint.unwrap_or_default();
        let trainer = &recipe.trainer;
        let outputs: Vec<&Path> = [self.output.as_path(), &checkpoint]
            .into_iter()
            .chain(trainer.log.as_ref().map(|log| log.path.as_path()))
            .chain(trainer.curves.as_deref())
            .collect();
        let arrays = [Some(&recipe.samples), recipe.validation.as_ref()];
        let arrays = arrays.into_iter().flatten();
        let arrays = arrays.flat_map(|s| files_of(&s.inputs).chain(files_of(&s.labels)));
        let read = [&self.model].into_iter().chain(&self.recipe);
        check_outputs(read.map(PathBuf::as_path).chain(arrays), &outputs)?;
        let (model, files) = load_with_files(&self.model)?;
        check_outputs(files.iter().map(PathBuf::as_path), &outputs)?;
        let mut run = recipe.begin(&model, &cx.session_options())?;
        let resumed = self.resume && checkpoint.exists();
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
        save(&trained, &self.output)?;
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
            output: self.output.clone(),
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
            output_bytes: bytes_on_disk(&self.output)?,
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
        let mut recipe = match &self.recipe {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(Error::file(path))?;
                let recipe = TrainRecipe::from_toml(&text).map_err(|source| Error::Recipe {
                    path: path.clone(),
                    source,
                })?;
                recipe.within(path.parent().unwrap_or(Path::new("")))
            }
            None => TrainRecipe::default(),
        };
        if !self.inputs.is_empty() {
            recipe.samples.inputs.clone_from(&self.inputs);
        }
        if !self.labels.is_empty() {
            recipe.samples.labels.clone_from(&self.labels);
        }
        if recipe.samples.inputs.is_empty() {
            return Err(Usage::NoTrainingSamples.into());
        }
        if recipe.samples.labels.is_empty() {
            return Err(Usage::NoTrainingLabels.into());
        }
        if !self.validation.is_empty() {
            if self.validation_labels.is_empty() {
                return Err(Usage::NoHeldOutLabels.into());
            }
            recipe.hold_out = None;
            recipe.validation = Some(SampleSpec {
                inputs: self.validation.clone(),
                labels: self.validation_labels.clone(),
            });
        }
        if let Some(share) = self.hold_out {
            (recipe.validation, recipe.hold_out) = (None, Some(share));
        }
        self.settings.apply(&mut recipe)?;
        let trainer = &mut recipe.trainer;
        if let Some(path) = &self.log {
            let every = trainer.log.as_ref().map_or(1, |log| log.every);
            trainer.log = Some(LogConfig {
                path: path.clone(),
                format: settings::log_format(path),
                every,
            });
        }
        if let Some(path) = &self.curves {
            trainer.curves = Some(path.clone());
        }
        let checkpoint = trainer.checkpoint.get_or_insert_with(|| {
            let mut path = self.output.clone().into_os_string();
            path.push(".checkpoint");
            CheckpointConfig {
                path: path.into(),
                every: 0,
            }
        });
        if let Some(path) = &self.checkpoint {
            checkpoint.path.clone_from(path);
        }
        if let Some(every) = self.checkpoint_every {
            checkpoint.every = every;
        }
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
