//! `modelpress distill`: a small ONNX file that learns from a large one.

mod losses;

use super::train::files::{RunFiles, checkpoint_of};
use super::train::settings::RunArgs;
use super::train::{Display, print_epochs};
use crate::context::{Context, bytes_on_disk, load_with_files, peak_rss_bytes, save};
use crate::error::{Error, Usage};
use crate::numbers::{finite, positive};
use crate::outputs::{check_is_onnx, check_outputs};
use clap::Args;
use losses::KdArgs;
use modelpress::ir::Model;
use modelpress::kd::graph::student::{KeepBlocks, WidthConfig};
use modelpress::kd::graph::{KdReport, ProjectionReport, TeacherReport, TeacherRuns};
use modelpress::train::stopping::BestValue;
use modelpress::train::trainer::EpochEnd;
use modelpress::training::DistillRecipe;
use serde::Serialize;
use std::path::PathBuf;
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
    #[command(flatten)]
    files: RunFiles,
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
        let output = &self.files.output;
        check_is_onnx(output)?;
        let recipe = self.recipe()?;
        let read = self.teacher.iter().chain(&self.student);
        self.files.check(&recipe.train, read, &[])?;
        let teachers = self.teachers()?;
        let (student, files) = match &self.student {
            Some(path) => load_with_files(path)?,
            None => {
                let first = teachers.first().ok_or(Usage::NoStudent)?;
                (recipe.student(first)?, Vec::new())
            }
        };
        check_outputs(files.iter().map(PathBuf::as_path), &[output])?;
        let checkpoint = checkpoint_of(&recipe.train);
        let mut run = recipe.begin(&teachers, &student, &cx.session_options())?;
        let resumed = self.files.resume && checkpoint.exists();
        if resumed {
            run.resume(&checkpoint)?;
        }
        let (samples, held_out) = run.samples();
        let mut run = run.with_callback(Display::default());
        let (trained, report) = run.finish()?;
        save(&trained, output)?;
        let KdReport {
            training,
            teacher,
            losses,
            projections,
            ..
        } = report;
        let losses = losses.into_iter();
        let outcome = Outcome {
            output: output.clone(),
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
            output_bytes: bytes_on_disk(output)?,
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
            check_outputs(files.iter().map(PathBuf::as_path), &[&self.files.output])?;
            teachers.push(teacher);
        }
        Ok(teachers)
    }

    /// The recipe of the file, with what the arguments say in its place.
    fn recipe(&self) -> Result<DistillRecipe, Error> {
        let mut recipe = self
            .files
            .recipe(DistillRecipe::from_toml, DistillRecipe::within)?;
        self.apply_student(&mut recipe)?;
        let train = &mut recipe.train;
        self.files.apply_samples(train)?;
        self.settings.apply(train)?;
        let has_labels = !train.samples.labels.is_empty();
        self.files.apply_records(train);
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
