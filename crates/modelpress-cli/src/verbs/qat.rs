//! `modelpress qat`: an ONNX file that is trained with the codes that it will have, and written as integers.

use super::train::files::{RunFiles, checkpoint_of};
use super::train::settings::TrainArgs;
use super::train::{Display, print_epochs};
use crate::context::{Context, bytes_on_disk, load_with_files, peak_rss_bytes, save};
use crate::error::{Error, Usage};
use crate::outputs::check_is_onnx;
use clap::{Args, ValueEnum};
use modelpress::ir::Model;
use modelpress::quant::graph::Target;
use modelpress::quant::graph::qat::QatLayer;
use modelpress::train::stopping::BestValue;
use modelpress::train::trainer::EpochEnd;
use modelpress::training::{LayerSpec, QatMethod, QatOutcome, QatSpec, TrainRecipe};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Train an ONNX file with the codes that it will have; what is written is the integer file (Q/DQ).
#[derive(Args)]
#[command(
    after_help = "Examples:\n  modelpress qat model.onnx -o int8.onnx --train image=train_x.npy --labels train_y.npy --epochs 3\n  modelpress qat model.onnx -o w4a4.onnx --train x.npy --labels y.npy --weight-bits 4 --activation-bits 4 --end-bits 8 \\\n    --teacher large.onnx --val test_x.npy --val-labels test_y.npy\n  modelpress qat model.onnx -o int8.onnx --train x.npy\n\nWithout labels the model learns to say what it said as floats. Runs that were broken off go on with --resume and the same arguments, to the same bytes."
)]
pub(crate) struct Qat {
    /// The ONNX file.
    model: PathBuf,
    #[command(flatten)]
    files: RunFiles,
    #[command(flatten)]
    quantization: QatArgs,
    #[command(flatten)]
    settings: TrainArgs,
}

/// What becomes integer, and how that is learned.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Quantization")]
struct QatArgs {
    /// Bits of weights; 8 unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=8))]
    weight_bits: Option<u32>,
    /// Bits of what weighted layers read; 8 unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=8))]
    activation_bits: Option<u32>,
    /// Bits of the first and the last layer.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=8))]
    end_bits: Option<u32>,
    /// Bits of a layer, of its weights and of what it reads; as often as needed.
    #[arg(long, value_name = "NODE=W:A", value_parser = layer_bits)]
    layer_bits: Vec<LayerSpec>,
    /// How rounding is differentiated and steps are learned; lsq unless given.
    #[arg(long, value_enum)]
    method: Option<MethodArg>,
    /// The runtime whose rules hold; ort unless given.
    #[arg(long, value_enum)]
    target: Option<crate::quantization::TargetArg>,
    /// Leave this node as it is, by name or by the name of an output; `*` stands for any text.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    exclude: Vec<String>,
    /// Samples that ranges are chosen by at the beginning; 512 unless given.
    #[arg(long, value_name = "N", value_parser = crate::numbers::positive)]
    calibration: Option<usize>,
    /// Epochs in which the float model is trained first.
    #[arg(long, value_name = "N")]
    float_epochs: Option<u64>,
    /// Epochs at the end in which the learned steps stay.
    #[arg(long, value_name = "EPOCHS", value_parser = crate::numbers::finite, allow_negative_numbers = true)]
    hold_steps: Option<f64>,
    /// A float model to learn from beside the labels; without labels the model itself unless given.
    #[arg(long, value_name = "FILE")]
    teacher: Option<PathBuf>,
    /// The share of the teacher where there are labels; 0.5 unless given.
    #[arg(long, value_name = "X", value_parser = crate::numbers::finite, allow_negative_numbers = true)]
    alpha: Option<f64>,
    /// The temperature of the teacher's share; 4 unless given.
    #[arg(long, value_name = "T", value_parser = crate::numbers::finite, allow_negative_numbers = true)]
    temperature: Option<f64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MethodArg {
    /// Straight through; steps stay as they were calibrated.
    Ste,
    /// Learned steps.
    Lsq,
    /// Learned steps and offsets.
    #[value(name = "lsq+")]
    LsqPlus,
    /// Learned ends of ranges.
    Pact,
    /// Gradients scaled by the distance from the grid.
    Ewgs,
    /// A soft staircase.
    Dsq,
}

impl QatArgs {
    /// Puts what was given in the place of what the recipe says.
    fn apply(&self, spec: &mut QatSpec) {
        spec.weight_bits = self.weight_bits.unwrap_or(spec.weight_bits);
        spec.activation_bits = self.activation_bits.unwrap_or(spec.activation_bits);
        spec.end_bits = self.end_bits.or(spec.end_bits);
        if !self.layer_bits.is_empty() {
            spec.layers.clone_from(&self.layer_bits);
        }
        if let Some(method) = self.method {
            spec.method = match method {
                MethodArg::Ste => QatMethod::Ste,
                MethodArg::Lsq => QatMethod::Lsq,
                MethodArg::LsqPlus => QatMethod::LsqPlus,
                MethodArg::Pact => QatMethod::Pact,
                MethodArg::Ewgs => QatMethod::Ewgs,
                MethodArg::Dsq => QatMethod::Dsq,
            };
        }
        if let Some(target) = self.target {
            spec.target = Target::from(target);
        }
        if !self.exclude.is_empty() {
            spec.exclude.clone_from(&self.exclude);
        }
        spec.calibration = self.calibration.unwrap_or(spec.calibration);
        spec.warm_up = self.float_epochs.unwrap_or(spec.warm_up);
        spec.hold_steps = self.hold_steps.unwrap_or(spec.hold_steps);
        if let Some(teacher) = &self.teacher {
            spec.teacher = Some(teacher.clone());
        }
        spec.alpha = self.alpha.unwrap_or(spec.alpha);
        spec.temperature = self.temperature.unwrap_or(spec.temperature);
    }
}

/// `NODE=W:A`.
fn layer_bits(text: &str) -> Result<LayerSpec, String> {
    let wrong = || "write NODE=W:A with bits of 2 to 8, as in conv1=8:8".to_owned();
    let (node, bits) = text.rsplit_once('=').ok_or_else(wrong)?;
    let (weights, activations) = bits.split_once(':').ok_or_else(wrong)?;
    let bits = |text: &str| {
        let bits = text.parse::<u32>().ok();
        bits.filter(|bits| (2..=8).contains(bits)).ok_or_else(wrong)
    };
    let mut layer = LayerSpec::default();
    layer.nodes = vec![node.to_owned()];
    layer.weight_bits = Some(bits(weights)?);
    layer.activation_bits = Some(bits(activations)?);
    Ok(layer)
}

#[derive(Serialize)]
struct Outcome {
    output: PathBuf,
    checkpoint: PathBuf,
    /// Whether the run went on from the checkpoint.
    resumed: bool,
    method: QatMethod,
    target: Target,
    /// What is learned from beside the labels: a file, or the model itself.
    teacher: Option<PathBuf>,
    samples: usize,
    held_out: usize,
    calibration_samples: usize,
    float_epochs: u64,
    steps: u64,
    epochs: Vec<EpochEnd>,
    watched: String,
    best: Option<BestValue>,
    stopped_early: bool,
    layers: Vec<QatLayer>,
    skipped: Vec<modelpress::quant::graph::SkippedNode>,
    notes: Vec<String>,
    trained: Vec<String>,
    input_bytes: u64,
    output_bytes: u64,
    /// Of this call.
    seconds: f64,
    peak_rss_bytes: Option<u64>,
    threads: usize,
}

impl Qat {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let started = Instant::now();
        let output = &self.files.output;
        check_is_onnx(output)?;
        let recipe = self.recipe()?;
        let spec = recipe.qat.clone().unwrap_or_default();
        let checkpoint = checkpoint_of(&recipe);
        let first = recipe.warm_up();
        let first = first.and_then(|first| first.trainer.checkpoint);
        let first: Vec<&Path> = first.iter().map(|c| c.path.as_path()).collect();
        let (model, mut read) = load_with_files(&self.model)?;
        read.push(self.model.clone());
        let teacher = match &spec.teacher {
            Some(path) => {
                let (teacher, files) = load_with_files(path)?;
                read.push(path.clone());
                read.extend(files);
                Some(teacher)
            }
            None => None,
        };
        self.files.check(&recipe, &read, &first)?;
        if spec.warm_up > 0 {
            recipe.check_qat(&model, &cx.session_options())?;
        }
        let (float, resumed_float) = self.warm_up(cx, &recipe, model.clone(), teacher.as_ref())?;
        // Without labels the model as it came is what is learned from.
        let is_own = teacher.is_none() && recipe.samples.labels.is_empty();
        let of_run = if is_own {
            Some(&model)
        } else {
            teacher.as_ref()
        };
        let mut run = recipe.begin_qat(&float, of_run, &cx.session_options())?;
        let resumed = self.files.resume && checkpoint.exists();
        if resumed {
            run.resume(&checkpoint)?;
        }
        let ((samples, held_out), calibration_samples) = (run.samples(), run.calibration_samples());
        let run = run.with_callback(Display::default());
        let QatOutcome {
            model: file,
            training,
            prepared,
            export,
            ..
        } = run.finish()?;
        save(&file, output)?;
        let notes = [prepared.repairs, prepared.notes, export.notes].concat();
        let outcome = Outcome {
            output: output.clone(),
            checkpoint,
            resumed: resumed || resumed_float,
            method: spec.method,
            target: spec.target,
            teacher: match is_own {
                true => Some(self.model.clone()),
                false => spec.teacher,
            },
            samples,
            held_out,
            calibration_samples,
            float_epochs: spec.warm_up,
            steps: training.steps,
            epochs: training.epochs,
            watched: training.watched,
            best: training.best,
            stopped_early: training.stopped_early,
            layers: prepared.layers,
            skipped: prepared.skipped,
            notes: notes.iter().map(ToString::to_string).collect(),
            trained: training.trained,
            input_bytes: bytes_on_disk(&self.model)?,
            output_bytes: bytes_on_disk(output)?,
            seconds: started.elapsed().as_secs_f64(),
            peak_rss_bytes: peak_rss_bytes(),
            threads: cx.threads(),
        };
        cx.report(&outcome, |out| outcome.print(out))
    }

    /// The float model after the epochs that it is trained first, and whether these went on from a checkpoint.
    fn warm_up(
        &self,
        cx: &Context,
        recipe: &TrainRecipe,
        model: Model,
        teacher: Option<&Model>,
    ) -> Result<(Model, bool), Error> {
        let Some(first) = recipe.warm_up() else {
            return Ok((model, false));
        };
        let mut run = first.begin_warm_up(&model, teacher, &cx.session_options())?;
        let checkpoint = first.trainer.checkpoint.as_ref().map(|c| &c.path);
        let checkpoint = checkpoint.filter(|path| self.files.resume && path.exists());
        if let Some(path) = checkpoint {
            run.resume(path)?;
        }
        let mut run = run.with_callback(Display::default());
        Ok((run.finish()?.0, checkpoint.is_some()))
    }

    /// Settings of a teacher's share have one to be of.
    fn check_teacher(&self, recipe: &TrainRecipe) -> Result<(), Error> {
        let has_labels = !recipe.samples.labels.is_empty();
        let has_teacher = recipe.qat.as_ref().is_some_and(|qat| qat.teacher.is_some());
        let QatArgs {
            alpha, temperature, ..
        } = &self.quantization;
        let only = |flag| Err(Usage::OnlyWithTeacher { flag }.into());
        match has_labels {
            true if has_teacher => Ok(()),
            _ if alpha.is_some() => only("--alpha"),
            true if temperature.is_some() => only("--temperature"),
            _ => Ok(()),
        }
    }

    /// The recipe of the file, with what the arguments say in its place.
    fn recipe(&self) -> Result<TrainRecipe, Error> {
        let mut recipe = self
            .files
            .recipe(TrainRecipe::from_toml, TrainRecipe::within)?;
        self.files.apply_samples(&mut recipe)?;
        self.quantization.apply(recipe.qat.get_or_insert_default());
        self.check_teacher(&recipe)?;
        self.settings.apply(&mut recipe)?;
        self.files.apply_records(&mut recipe);
        Ok(recipe)
    }
}

impl Outcome {
    fn print(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        print_epochs(&self.epochs, out)?;
        writeln!(out)?;
        if self.stopped_early {
            writeln!(out, "note: stopped before the last epoch")?;
        }
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        for skipped in &self.skipped {
            let (node, op, reason) = (&skipped.node, &skipped.op, &skipped.reason);
            writeln!(out, "stays float: {op} {node}: {reason}")?;
        }
        writeln!(
            out,
            "{} layers with codes, {} steps over {} samples in {:.2} s, {} threads: {} -> {} bytes -> {}",
            self.layers.len(),
            self.steps,
            self.samples,
            self.seconds,
            self.threads,
            self.input_bytes,
            self.output_bytes,
            self.output.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_a_layer_are_told_by_its_name() {
        let layer = layer_bits("a=b=4:8").unwrap();
        assert_eq!(layer.nodes, ["a=b"]);
        assert_eq!(
            (layer.weight_bits, layer.activation_bits),
            (Some(4), Some(8))
        );
        for wrong in ["conv", "conv=4", "conv=4:9", "conv=x:8", "conv=1:8"] {
            assert!(layer_bits(wrong).is_err(), "{wrong}");
        }
    }
}
