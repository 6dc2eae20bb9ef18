//! `modelpress train`: an ONNX file that goes on to learn, or learns anew.

pub(crate) mod files;
pub(crate) mod outcome;
pub(crate) mod settings;

use crate::context::{Context, bytes_on_disk, load_with_files, save};
use crate::error::{Error, Usage};
use crate::outputs::check_is_onnx;
use crate::progress::Progress;
use crate::units;
use clap::Args;
use files::{RunFiles, checkpoint_of};
use modelpress::train::trainer::{Callback, EpochEnd, Flow, Network, StepEnd};
use modelpress::training::TrainRecipe;
pub(crate) use outcome::print_epochs;
use outcome::{Around, Ran, told};
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

#[derive(Serialize)]
struct Outcome {
    #[serde(flatten)]
    ran: Ran,
    statistics: Vec<String>,
    input_bytes: u64,
    /// The median and the least time from step to step in this call, with what happens between; null for fewer than two steps.
    step_ms_p50: Option<f64>,
    step_ms_least: Option<f64>,
}

impl Train {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let started = Instant::now();
        let output = &self.files.output;
        check_is_onnx(output)?;
        let recipe = self.recipe()?;
        let (model, files) = load_with_files(&self.model)?;
        let read = files.iter().chain([&self.model]);
        self.files.check(&recipe, read, &[])?;
        let checkpoint = checkpoint_of(&recipe);
        let mut run = recipe.begin(&model, &cx.session_options())?;
        let resumed = self.files.resume && checkpoint.exists();
        if resumed {
            run.resume(&checkpoint)?;
        }
        let samples = run.samples();
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
        let around = Around {
            started,
            output,
            checkpoint,
            resumed,
            samples,
        };
        let statistics = report.statistics.clone();
        let outcome = Outcome {
            ran: Ran::new(around, report, cx)?,
            statistics,
            input_bytes: bytes_on_disk(&self.model)?,
            step_ms_p50: ms(times.len() / 2),
            step_ms_least: ms(0),
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
        let ran = &self.ran;
        ran.print_epochs(out)?;
        ran.print_best(out)?;
        ran.print_notes(out)?;
        writeln!(
            out,
            "{} weights and {} running statistics, {} steps over {} samples in {:.2} s, {} threads -> {}",
            ran.trained.len(),
            self.statistics.len(),
            ran.steps,
            ran.samples,
            ran.seconds,
            ran.threads,
            ran.output.display()
        )
    }
}
