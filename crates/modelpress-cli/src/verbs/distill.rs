//! `modelpress distill`: a small ONNX file that learns from a large one.

mod losses;

use super::train::Display;
use super::train::files::{RunFiles, checkpoint_of};
use super::train::outcome::{Around, Ran, told};
use super::train::settings::RunArgs;
use crate::context::{Context, bytes_on_disk, load_with_files, save};
use crate::error::{Error, Usage};
use crate::numbers::{finite, positive};
use crate::outputs::check_is_onnx;
use clap::Args;
use losses::KdArgs;
use modelpress::ir::Model;
use modelpress::kd::graph::student::{KeepBlocks, WidthConfig};
use modelpress::kd::graph::{KdReport, ProjectionReport, TeacherReport, TeacherRuns};
use modelpress::train::trainer::{EpochEnd, Initialization};
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
    /// Students one after the other, each taught by the one before (born-again networks); the first teacher is the student's network where no
    /// other is given. The last one is written.
    #[arg(long, value_name = "N", value_parser = positive)]
    generations: Option<usize>,
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

/// One student of several.
#[derive(Serialize)]
struct Generation {
    /// From 1.
    generation: usize,
    seed: u64,
    checkpoint: PathBuf,
    resumed: bool,
    steps: u64,
    /// Its last epoch.
    last: Option<EpochEnd>,
}

#[derive(Serialize)]
struct Outcome {
    #[serde(flatten)]
    ran: Ran,
    losses: Vec<Loss>,
    teacher: TeacherReport,
    /// Layers that were trained along and left behind.
    projections: Vec<ProjectionReport>,
    /// Weights that no loss leads to.
    unreached: Vec<String>,
    /// All students, where there are several; the rest is of the last one.
    generations: Vec<Generation>,
    teacher_parameters: usize,
    student_parameters: usize,
    teacher_bytes: u64,
}

/// A student that is trained.
struct Taught {
    model: Model,
    report: KdReport,
    checkpoint: PathBuf,
    resumed: bool,
    samples: (usize, usize),
}

impl Distill {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let started = Instant::now();
        let output = &self.files.output;
        check_is_onnx(output)?;
        let recipe = self.recipe()?;
        let (mut teachers, mut read) = (Vec::new(), Vec::new());
        for path in &self.teacher {
            let (teacher, files) = load_with_files(path)?;
            teachers.push(teacher);
            read.push(path.clone());
            read.extend(files);
        }
        let student = match &self.student {
            Some(path) => {
                let (student, files) = load_with_files(path)?;
                read.push(path.clone());
                read.extend(files);
                student
            }
            None => {
                let first = teachers.first().ok_or(Usage::NoStudent)?;
                recipe.student(first)?
            }
        };
        let teacher_parameters = teachers.iter().map(parameters).sum();
        let recipes = self.generations(recipe);
        for recipe in &recipes {
            self.files.check(&recipe.train, &read, &[])?;
            if let TeacherRuns::Folder { path } = &recipe.distill.teacher_runs {
                let files = &self.files;
                files.check_folder(&recipe.train, &read, path, is_of_folder)?;
            }
        }
        let mut generations = Vec::with_capacity(recipes.len());
        let mut last = None;
        for (number, recipe) in recipes.iter().enumerate() {
            if recipes.len() > 1 {
                eprintln!("generation {} of {}", number + 1, recipes.len());
            }
            let later = recipes.get(number + 1..).unwrap_or_default();
            let done = self.teach(cx, recipe, later, &teachers, &student)?;
            generations.push(Generation {
                generation: number + 1,
                seed: recipe.train.trainer.seed,
                checkpoint: done.checkpoint.clone(),
                resumed: done.resumed,
                steps: done.report.training.steps,
                last: done.report.training.epochs.last().cloned(),
            });
            teachers = vec![done.model.clone()];
            last = Some(done);
        }
        let done = last.ok_or(Usage::NoStudent)?;
        save(&done.model, output)?;
        let KdReport {
            training,
            teacher,
            losses,
            projections,
            unreached,
            ..
        } = done.report;
        let around = Around {
            started,
            output,
            checkpoint: done.checkpoint,
            resumed: done.resumed,
            samples: done.samples,
        };
        if generations.len() == 1 {
            generations.clear();
        }
        let losses = losses.into_iter();
        let outcome = Outcome {
            ran: Ran::new(around, training, cx)?,
            losses: losses.map(|(name, weight)| Loss { name, weight }).collect(),
            teacher,
            projections,
            unreached,
            generations,
            teacher_parameters,
            student_parameters: parameters(&done.model),
            teacher_bytes: self
                .teacher
                .iter()
                .map(|t| bytes_on_disk(t))
                .sum::<Result<_, _>>()?,
        };
        cx.report(&outcome, |out| outcome.print(out))
    }

    /// Trains one student. Where it begins anew, the checkpoints of the `later` ones are of other teachers: they are removed.
    fn teach(
        &self,
        cx: &Context,
        recipe: &DistillRecipe,
        later: &[DistillRecipe],
        teachers: &[Model],
        student: &Model,
    ) -> Result<Taught, Error> {
        let checkpoint = checkpoint_of(&recipe.train);
        let mut run = recipe.begin(teachers, student, &cx.session_options())?;
        let resumed = self.files.resume && checkpoint.exists();
        if resumed {
            run.resume(&checkpoint)?;
        } else {
            for path in later.iter().map(|later| checkpoint_of(&later.train)) {
                if path.exists() {
                    std::fs::remove_file(&path).map_err(Error::file(&path))?;
                }
            }
        }
        if !run.unreached().is_empty() {
            eprintln!("note: {}", unreached_note(run.unreached()));
        }
        let samples = run.samples();
        let (model, report) = run.with_callback(Display::default()).finish()?;
        Ok(Taught {
            model,
            report,
            checkpoint,
            resumed,
            samples,
        })
    }

    /// The recipes of all students, one after the other.
    fn generations(&self, recipe: DistillRecipe) -> Vec<DistillRecipe> {
        match self.generations {
            None => vec![recipe],
            Some(count) => (0..count).map(|number| recipe.generation(number)).collect(),
        }
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
        let student = &recipe.distill.student;
        let is_own = self.student.is_none() && student.blocks.is_none() && student.width.is_none();
        if is_own && train.trainer.initialize == Initialization::Keep {
            return Err(Usage::GenerationsKeep.into());
        }
        let has_labels = !train.samples.labels.is_empty();
        self.files.apply_records(train);
        self.losses.apply(&mut recipe.distill, has_labels)?;
        let names = self.teacher.iter().map(|path| path.display().to_string());
        recipe.distill.teacher_names = names.collect();
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
        let is_other = self.student.is_some() || is_made;
        match is_other {
            false if self.generations.is_none() => Err(Usage::NoStudent.into()),
            _ => Ok(()),
        }
    }
}

/// Whether a file of this name is one that a run writes into the folder of what its teachers say.
fn is_of_folder(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parts = name
        .strip_suffix(".npy")
        .and_then(|name| name.split_once('-'));
    parts.is_some_and(|(side, place)| is_number(side) && is_number(place))
}

/// Weights that nothing teaches, and what would.
fn unreached_note(unreached: &[String]) -> String {
    const NAMED: usize = 4;
    let named = unreached.iter().take(NAMED).map(|name| format!("`{name}`"));
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match unreached.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "no loss leads to {named}{more}, which stay as they are: a loss on logits beside it (--loss kl) or --labels reach them"
    )
}

/// Elements of the float initializers.
fn parameters(model: &Model) -> usize {
    let floats = model.graph.initializers();
    let floats = floats.filter(|(_, tensor)| tensor.dtype().is_float());
    floats.map(|(_, tensor)| tensor.len()).sum()
}

impl Outcome {
    fn print(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        self.ran.print_epochs(out)?;
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
            let (from, to) = (layer.from, layer.to);
            match (layer.student.as_str(), layer.teacher.as_str()) {
                (student, "") => writeln!(
                    out,
                    "trained along: an embedding of {to} numbers of the {from} channels of `{student}`"
                )?,
                ("", teacher) => writeln!(
                    out,
                    "trained along: an embedding of {to} numbers of the {from} channels of the teacher's `{teacher}`"
                )?,
                (student, teacher) => writeln!(
                    out,
                    "trained along: {from} -> {to} channels from `{student}` to `{teacher}`"
                )?,
            }
        }
        for generation in &self.generations {
            let last = generation.last.as_ref();
            let scores = last.map_or(String::new(), |end| match end.validation.as_slice() {
                [] => told(&end.train),
                held_out => format!("held out: {}", told(held_out)),
            });
            writeln!(out, "generation {}: {scores}", generation.generation)?;
        }
        if !self.unreached.is_empty() {
            writeln!(out, "note: {}", unreached_note(&self.unreached))?;
        }
        let ran = &self.ran;
        ran.print_notes(out)?;
        writeln!(
            out,
            "{} of {} parameters, {} steps over {} samples in {:.2} s, {} threads -> {}",
            self.student_parameters,
            self.teacher_parameters,
            ran.steps,
            ran.samples,
            ran.seconds,
            ran.threads,
            ran.output.display()
        )
    }
}
