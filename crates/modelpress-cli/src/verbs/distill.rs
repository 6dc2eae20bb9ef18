//! `modelpress distill`: a small ONNX file that learns from a large one.

mod losses;

use super::train::settings::{self, RunArgs};
use super::train::{Display, print_epochs};
use crate::context::{Context, bytes_on_disk, load_with_files, peak_rss_bytes, save};
use crate::error::{Error, Usage};
use crate::numbers::{finite, positive};
use crate::outputs::{check_is_onnx, check_outputs, files_of};
use clap::Args;
use losses::KdArgs;
use modelpress::data::InputSpec;
use modelpress::ir::Model;
use modelpress::kd::graph::student::{KeepBlocks, WidthConfig};
use modelpress::kd::graph::{KdReport, ProjectionReport, TeacherReport, TeacherRuns};
use modelpress::train::stopping::BestValue;
use modelpress::train::trainer::{CheckpointConfig, EpochEnd, LogConfig};
use modelpress::training::{DistillRecipe, SampleSpec};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Train a small ONNX file to do what a large one does; what is written is the small file with other numbers.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  modelpress distill --teacher large.onnx --student small.onnx -o trained.onnx --train x.npy --labels y.npy --alpha 0.9\n  modelpress distill --teacher large.onnx --student-width 0.5 --initialize he -o half.onnx --train x.npy --labels y.npy \\\n    --loss kd --loss fitnet:0.1 --tap relu3=relu7 --augment flip\n  modelpress distill --teacher encoder.onnx --student-layers 3 -o short.onnx --train input_ids=ids.npy --train attention_mask=mask.npy \\\n    --train token_type_ids=types.npy --loss cosine --pool --mask attention_mask\n\nWithout labels the teacher alone says what is right. Runs that were broken off go on with --resume and the same arguments, to the same bytes."
)]
pub(crate) struct Distill {
    /// The ONNX file to learn from; several teach together.
    #[arg(long, value_name = "FILE", required = true)]
    teacher: Vec<PathBuf>,
    /// The ONNX file that learns.
    #[arg(long, value_name = "FILE")]
    student: Option<PathBuf>,
    /// Make the student of the (first) teacher, with N of its repeated blocks, evenly spaced, such as the layers of a transformer.
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "student")]
    student_layers: Option<usize>,
    /// Make the student of the (first) teacher, with all hidden widths times X.
    #[arg(long, value_name = "X", value_parser = finite, conflicts_with = "student")]
    student_width: Option<f64>,
    /// The file to write.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Settings and samples (TOML); arguments beside it take their place.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// What feeds an input of both models: an .npy or .npz file. NAME= may be left out for one input.
    #[arg(long = "train", value_name = "NAME=FILE")]
    inputs: Vec<InputSpec>,
    /// Classes by sample, where they are known.
    #[arg(long, value_name = "FILE")]
    labels: Vec<InputSpec>,
    /// What feeds an input when the student is evaluated after an epoch.
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
    #[arg(long, value_name = "FILE", requires = "log")]
    curves: Option<PathBuf>,
    /// Keep what the teacher says of all samples in this folder, not in memory.
    #[arg(long, value_name = "FOLDER", conflicts_with = "on_the_fly")]
    teacher_folder: Option<PathBuf>,
    /// Run the teacher again for each batch.
    #[arg(long)]
    on_the_fly: bool,
    #[command(flatten)]
    losses: KdArgs,
    #[command(flatten)]
    settings: RunArgs,
}

#[derive(Serialize)]
struct Loss {
    name: String,
    weight: f64,
}

#[derive(Serialize)]
struct Outcome {
    output: PathBuf,
    checkpoint: PathBuf,
    /// Whether the run went on from the checkpoint.
    resumed: bool,
    samples: usize,
    held_out: usize,
    losses: Vec<Loss>,
    teacher: TeacherReport,
    /// Layers that were trained along and left behind.
    projections: Vec<ProjectionReport>,
    steps: u64,
    epochs: Vec<EpochEnd>,
    watched: String,
    best: Option<BestValue>,
    stopped_early: bool,
    trained: Vec<String>,
    not_initialized: Vec<String>,
    teacher_parameters: usize,
    student_parameters: usize,
    teacher_bytes: u64,
    output_bytes: u64,
    /// Of this call.
    seconds: f64,
    peak_rss_bytes: Option<u64>,
    threads: usize,
}

impl Distill {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let started = Instant::now();
        check_is_onnx(&self.output)?;
        let recipe = self.recipe()?;
        self.check_files(&recipe)?;
        let teachers = self.teachers()?;
        let (student, files) = match &self.student {
            Some(path) => load_with_files(path)?,
            None => {
                let first = teachers.first().ok_or(Usage::NoStudent)?;
                (recipe.student(first)?, Vec::new())
            }
        };
        check_outputs(files.iter().map(PathBuf::as_path), &[&self.output])?;
        let checkpoint = recipe.train.trainer.checkpoint.as_ref();
        let checkpoint = checkpoint.map(|c| c.path.clone()).unwrap_or_default();
        let mut run = recipe.begin(&teachers, &student, &cx.session_options())?;
        let resumed = self.resume && checkpoint.exists();
        if resumed {
            run.resume(&checkpoint)?;
        }
        let (samples, held_out) = run.samples();
        let mut run = run.with_callback(Display::default());
        let (trained, report) = run.finish()?;
        save(&trained, &self.output)?;
        let KdReport {
            training,
            teacher,
            losses,
            projections,
            ..
        } = report;
        let losses = losses.into_iter();
        let outcome = Outcome {
            output: self.output.clone(),
            checkpoint,
            resumed,
            samples,
            held_out,
            losses: losses.map(|(name, weight)| Loss { name, weight }).collect(),
            teacher,
            projections,
            steps: training.steps,
            epochs: training.epochs,
            watched: training.watched,
            best: training.best,
            stopped_early: training.stopped_early,
            trained: training.trained,
            not_initialized: training.not_initialized,
            teacher_parameters: teachers.iter().map(parameters).sum(),
            student_parameters: parameters(&trained),
            teacher_bytes: self
                .teacher
                .iter()
                .map(|t| bytes_on_disk(t))
                .sum::<Result<_, _>>()?,
            output_bytes: bytes_on_disk(&self.output)?,
            seconds: started.elapsed().as_secs_f64(),
            peak_rss_bytes: peak_rss_bytes(),
            threads: cx.threads(),
        };
        cx.report(&outcome, |out| outcome.print(out))
    }

    /// The teachers, of whose files none is written.
    fn teachers(&self) -> Result<Vec<Model>, Error> {
        let mut teachers = Vec::with_capacity(self.teacher.len());
        for path in &self.teacher {
            let (teacher, files) = load_with_files(path)?;
            check_outputs(files.iter().map(PathBuf::as_path), &[&self.output])?;
            teachers.push(teacher);
        }
        Ok(teachers)
    }

    /// Nothing that is read is written, and nothing twice.
    fn check_files(&self, recipe: &DistillRecipe) -> Result<(), Error> {
        let train = &recipe.train;
        let trainer = &train.trainer;
        let outputs: Vec<&Path> = std::iter::once(self.output.as_path())
            .chain(trainer.checkpoint.as_ref().map(|c| c.path.as_path()))
            .chain(trainer.log.as_ref().map(|log| log.path.as_path()))
            .chain(trainer.curves.as_deref())
            .collect();
        let arrays = [Some(&train.samples), train.validation.as_ref()];
        let arrays = arrays.into_iter().flatten();
        let arrays = arrays.flat_map(|s| files_of(&s.inputs).chain(files_of(&s.labels)));
        let read = self.teacher.iter().chain(&self.student).chain(&self.recipe);
        check_outputs(read.map(PathBuf::as_path).chain(arrays), &outputs)
    }

    /// The recipe of the file, with what the arguments say in its place.
    fn recipe(&self) -> Result<DistillRecipe, Error> {
        let mut recipe = match &self.recipe {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(Error::file(path))?;
                let recipe = DistillRecipe::from_toml(&text).map_err(|source| Error::Recipe {
                    path: path.clone(),
                    source,
                })?;
                recipe.within(path.parent().unwrap_or(Path::new("")))
            }
            None => DistillRecipe::default(),
        };
        self.apply_student(&mut recipe)?;
        let train = &mut recipe.train;
        if !self.inputs.is_empty() {
            train.samples.inputs.clone_from(&self.inputs);
        }
        if !self.labels.is_empty() {
            train.samples.labels.clone_from(&self.labels);
        }
        if train.samples.inputs.is_empty() {
            return Err(Usage::NothingToDistilOn.into());
        }
        if !self.validation.is_empty() {
            train.hold_out = None;
            train.validation = Some(SampleSpec {
                inputs: self.validation.clone(),
                labels: self.validation_labels.clone(),
            });
        }
        if let Some(share) = self.hold_out {
            (train.validation, train.hold_out) = (None, Some(share));
        }
        self.settings.apply(train)?;
        let has_labels = !train.samples.labels.is_empty();
        self.apply_records(train);
        self.losses.apply(&mut recipe.distill, has_labels)?;
        if let Some(path) = &self.teacher_folder {
            recipe.distill.teacher_runs = TeacherRuns::Folder { path: path.clone() };
        }
        if self.on_the_fly {
            recipe.distill.teacher_runs = TeacherRuns::OnTheFly {};
        }
        Ok(recipe)
    }

    /// How the student is made of the teacher.
    fn apply_student(&self, recipe: &mut DistillRecipe) -> Result<(), Error> {
        let student = &mut recipe.distill.student;
        if let Some(layers) = self.student_layers {
            student.blocks = Some(KeepBlocks::Evenly(layers));
        }
        if let Some(width) = self.student_width {
            student.width = Some(WidthConfig::new(width));
        }
        let is_made = student.blocks.is_some() || student.width.is_some();
        match (&self.student, is_made) {
            (None, false) => Err(Usage::NoStudent.into()),
            _ => Ok(()),
        }
    }

    /// Where the run is written down.
    fn apply_records(&self, recipe: &mut modelpress::training::TrainRecipe) {
        let trainer = &mut recipe.trainer;
        if let Some(path) = &self.log {
            trainer.log = Some(LogConfig {
                path: path.clone(),
                format: settings::log_format(path),
                every: 1,
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
    }
}

/// Elements of the float initializers.
fn parameters(model: &Model) -> usize {
    let floats = model.graph.initializers();
    let floats = floats.filter(|(_, tensor)| tensor.dtype().is_float());
    floats.map(|(_, tensor)| tensor.len()).sum()
}

impl Outcome {
    fn print(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        print_epochs(&self.epochs, out)?;
        writeln!(out)?;
        let losses = self.losses.iter().map(|loss| match loss.weight {
            1.0 => loss.name.clone(),
            weight => format!("{weight} {}", loss.name),
        });
        let losses: Vec<String> = losses.collect();
        let because = self
            .teacher
            .reason
            .map_or(String::new(), |why| format!(": {why}"));
        writeln!(
            out,
            "loss: {}; the teacher ran {}{because}",
            losses.join(" + "),
            self.teacher.runs
        )?;
        for layer in &self.projections {
            writeln!(
                out,
                "trained along: {} -> {} channels from `{}` to `{}`",
                layer.from, layer.to, layer.student, layer.teacher
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
            "{} of {} parameters, {} steps over {} samples in {:.2} s, {} threads -> {}",
            self.student_parameters,
            self.teacher_parameters,
            self.steps,
            self.samples,
            self.seconds,
            self.threads,
            self.output.display()
        )
    }
}
