//! `modelpress quantize`: a smaller model that is still right.

use crate::arrays::SampleArgs;
use crate::calibration::gather;
use crate::context::{Context, bytes_on_disk, load_with_files, peak_rss_bytes, save};
use crate::error::{Error, Usage};
use crate::numbers::{finite, positive};
use crate::outputs::{check_is_onnx, check_outputs, files_of};
use crate::quantization::QuantizationArgs;
use crate::table::{Align, Table};
use crate::units;
use clap::{Args, ValueEnum};
use modelpress::data::InputSpec;
use modelpress::ir::Model;
use modelpress::quant::WeightRule;
use modelpress::quant::graph::{
    self, Calibration, LayerReport, Names, NodeSensitivity, Note, QuantizeConfig, Report, Rounding,
    Sample, Sensitivity, SkippedNode, WeightOnlyConfig, literal_pattern, quantize_dynamic,
    quantize_dynamic_calibrated, quantize_static, quantize_weights, quantize_weights_calibrated,
    sensitivity,
};
use modelpress::tensor::write_atomically;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Quantize a model after training: static or dynamic int8, or weights only.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  modelpress quantize model.onnx -o int8.onnx --calib x=train_x.npy --layout nhwc --limit 500\n  modelpress quantize bert.onnx -o int8.onnx --mode dynamic\n  modelpress quantize model.onnx -o int8.onnx --stats shard0.json shard1.json --target tensorrt"
)]
pub(crate) struct Quantize {
    /// The ONNX file.
    model: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// What becomes integer.
    #[arg(long, value_enum, default_value = "static")]
    mode: Mode,
    /// Samples to calibrate on, for --mode static, and for --rounding calibrated in all modes: an .npy or .npz file, or
    /// NAME=zeros. NAME= may be left out for one input.
    #[arg(long = "calib", value_name = "NAME=FILE")]
    inputs: Vec<InputSpec>,
    /// Statistics that `calibrate` wrote, of as many shards as there are; with --calib too, those samples are one more
    /// shard. Takes all files that follow it: name the model before.
    #[arg(long, value_name = "FILE", num_args = 1.., value_parser = statistics_file)]
    stats: Vec<PathBuf>,
    /// How weights become codes: `nearest` unless given; `calibrated` needs --calib.
    #[arg(long, value_enum)]
    rounding: Option<RoundingArg>,
    /// Bits of a weight (8 unless given), for --mode weight-only; 4-bit weights are blocks of MatMul only.
    #[arg(long, value_name = "4|8", value_parser = bits)]
    bits: Option<u8>,
    /// Weights that share one scale (a power of two from 16 to 256), for --mode weight-only; per channel unless given.
    #[arg(long, value_name = "N", value_parser = block)]
    block: Option<usize>,
    /// Measure what quantizing each node alone does to the outputs, over the first N samples of --calib, 8 unless given.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "8", value_parser = positive, requires = "inputs")]
    sensitivity: Option<usize>,
    /// Leave nodes float whose quantization alone gives less than this many dB (implies --sensitivity).
    #[arg(long, value_name = "DB", value_parser = finite, allow_negative_numbers = true, requires = "inputs")]
    auto_exclude: Option<f64>,
    /// Also write the report to this file (JSON).
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    quantization: QuantizationArgs,
    #[command(flatten)]
    samples: SampleArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoundingArg {
    /// Each to the nearest code.
    Nearest,
    /// To codes with which the layer's outputs change least; the bias takes up the mean of the change.
    Calibrated,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// Weights and activations, with scales from calibration.
    Static,
    /// Weights now, activations while the model runs.
    Dynamic,
    /// Weights; arithmetic stays float.
    WeightOnly,
}

#[derive(Serialize)]
struct Outcome {
    mode: &'static str,
    target: &'static str,
    input_bytes: u64,
    output_bytes: u64,
    seconds: f64,
    peak_rss_bytes: Option<u64>,
    /// Samples that were run now; those of --stats were run before.
    samples: Option<usize>,
    layers: Vec<LayerReport>,
    skipped: Vec<SkippedNode>,
    repairs: Vec<Note>,
    notes: Vec<Note>,
    /// The most sensitive node first; empty unless asked for.
    sensitivity: Vec<NodeSensitivity>,
    /// Nodes whose sensitivity could not be measured, and why.
    not_measured: Vec<SkippedNode>,
    /// Nodes that --auto-exclude left float.
    excluded: Vec<String>,
    weight_bytes_before: usize,
    weight_bytes_after: usize,
}

/// Samples that sensitivity is measured on unless the user asks for another number.
const SENSITIVITY_SAMPLES: usize = 8;

impl Quantize {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let started = Instant::now();
        self.check_mode()?;
        check_is_onnx(&self.output)?;
        let outputs: Vec<&Path> = [&self.output]
            .into_iter()
            .chain(&self.report)
            .map(PathBuf::as_path)
            .collect();
        let inputs = [&self.model]
            .into_iter()
            .chain(&self.stats)
            .map(PathBuf::as_path);
        check_outputs(inputs.chain(files_of(&self.inputs)), &outputs)?;
        let mut config = self.quantization.config();
        config.rounding = self.rounding();
        config.validate_for(match (self.mode, self.weights()) {
            (Mode::Static, _) => graph::Mode::Static,
            (Mode::Dynamic, _) => graph::Mode::Dynamic,
            (Mode::WeightOnly, WeightOnlyConfig::Int8) => graph::Mode::Weights,
            (Mode::WeightOnly, _) => graph::Mode::Blocks,
        })?;
        let (model, files) = load_with_files(&self.model)?;
        check_outputs(files.iter().map(PathBuf::as_path), &outputs)?;
        let mut samples = None;
        config.threads = cx.session_options().threads;
        let (mut found, mut excluded) = (Sensitivity::default(), Vec::new());
        let (quantized, report) = match self.mode {
            Mode::Static => {
                let (statistics, count) = self.statistics(cx, &model, &config)?;
                samples = count;
                if self.sensitivity.is_some() || self.auto_exclude.is_some() {
                    found = self.sensitivity(cx, &model, &statistics, &config)?;
                }
                if let Some(least) = self.auto_exclude {
                    let low = found.nodes.iter().filter(|node| node.sqnr_db < least);
                    excluded = low.map(|node| node.node.clone()).collect();
                    let names = excluded.iter().map(|name| literal_pattern(name));
                    config.exclude.extend(names);
                }
                quantize_static(&model, &statistics, &config)?
            }
            Mode::Dynamic => {
                if !self.quantization.names_weight_scale() {
                    config.weight_rule = WeightRule::LeastSquares;
                }
                config.rounding = self.rounding();
                let mode = graph::Mode::Dynamic;
                match self.layer_inputs(cx, &model, mode, &config)? {
                    Some((inputs, count)) => {
                        samples = Some(count);
                        quantize_dynamic_calibrated(&model, &inputs, &config)?
                    }
                    None => quantize_dynamic(&model, &config)?,
                }
            }
            Mode::WeightOnly => {
                config.rounding = self.rounding();
                let weights = self.weights();
                match self.layer_inputs(cx, &model, weights.mode(), &config)? {
                    Some((inputs, count)) => {
                        samples = Some(count);
                        quantize_weights_calibrated(&model, weights, &inputs, &config)?
                    }
                    None => quantize_weights(&model, weights, &config)?,
                }
            }
        };
        save(&quantized, &self.output)?;
        let Report {
            layers,
            skipped,
            repairs,
            notes,
            bytes_before,
            bytes_after,
            ..
        } = report;
        let outcome = Outcome {
            mode: match self.mode {
                Mode::Static => "static",
                Mode::Dynamic => "dynamic",
                Mode::WeightOnly => "weight-only",
            },
            target: config.target.name(),
            input_bytes: bytes_on_disk(&self.model)?,
            output_bytes: bytes_on_disk(&self.output)?,
            seconds: started.elapsed().as_secs_f64(),
            peak_rss_bytes: peak_rss_bytes(),
            samples,
            layers,
            skipped,
            repairs,
            notes,
            sensitivity: found.nodes,
            not_measured: found.skipped,
            excluded,
            weight_bytes_before: bytes_before,
            weight_bytes_after: bytes_after,
        };
        if let Some(path) = &self.report {
            write_atomically(path, |file| {
                serde_json::to_writer_pretty(file, &outcome).map_err(std::io::Error::from)
            })
            .map_err(Error::file(path))?;
        }
        cx.report(&outcome, |out| print(&outcome, out))
    }

    fn sensitivity(
        &self,
        cx: &Context,
        model: &Model,
        statistics: &Calibration,
        config: &QuantizeConfig,
    ) -> Result<Sensitivity, Error> {
        let data = self.samples.open(model, &self.inputs, 1)?;
        let runs = self.sensitivity.unwrap_or(SENSITIVITY_SAMPLES);
        let samples: Vec<Sample> = data
            .batches()
            .take(runs.div_ceil(data.batch()))
            .map(|batch| batch.map(|b| b.inputs))
            .collect::<Result<_, _>>()?;
        Ok(sensitivity(
            model,
            statistics,
            &samples,
            config,
            &cx.session_options(),
        )?)
    }

    /// Refuses what the mode would not look at.
    fn check_mode(&self) -> Result<(), Usage> {
        let is_static = matches!(self.mode, Mode::Static);
        let is_weight_only = matches!(self.mode, Mode::WeightOnly);
        let sensitivity = self.sensitivity.is_some();
        let uses = [
            ("--stats", !self.stats.is_empty(), "static", is_static),
            ("--sensitivity", sensitivity, "static", is_static),
            (
                "--auto-exclude",
                self.auto_exclude.is_some(),
                "static",
                is_static,
            ),
            ("--bits", self.bits.is_some(), "weight-only", is_weight_only),
            (
                "--block",
                self.block.is_some(),
                "weight-only",
                is_weight_only,
            ),
        ];
        let idle = uses.into_iter().find(|(_, given, _, fits)| *given && !fits);
        if let Some((flag, _, mode, _)) = idle {
            return Err(Usage::OnlyInMode { flag, mode });
        }
        let calibrated = self.rounding() == Rounding::Calibrated;
        if !is_static && !calibrated && !self.inputs.is_empty() {
            return Err(Usage::IdleCalibration);
        }
        if calibrated && self.inputs.is_empty() {
            return Err(Usage::NoSamples);
        }
        let settings = &self.quantization;
        if let Some(flag) = settings.only_static().filter(|_| !is_static) {
            let mode = "static";
            return Err(Usage::OnlyInMode { flag, mode });
        }
        let blocks = is_weight_only && self.weights() != WeightOnlyConfig::Int8;
        if let Some(flag) = settings.not_for_blocks().filter(|_| blocks) {
            return Err(Usage::NotForBlocks { flag });
        }
        if settings.idle_percentile() {
            return Err(Usage::IdlePercentile);
        }
        match self.samples.given().filter(|_| self.inputs.is_empty()) {
            Some(flag) => Err(Usage::NoCalibrationToConvert { flag }),
            None => Ok(()),
        }
    }

    fn rounding(&self) -> Rounding {
        match self.rounding {
            None | Some(RoundingArg::Nearest) => Rounding::Nearest,
            Some(RoundingArg::Calibrated) => Rounding::Calibrated,
        }
    }

    fn weights(&self) -> WeightOnlyConfig {
        WeightOnlyConfig::of(usize::from(self.bits.unwrap_or(8)), self.block)
    }

    /// What the layers read, where weights are rounded to it, and the number of samples.
    fn layer_inputs(
        &self,
        cx: &Context,
        model: &Model,
        mode: graph::Mode,
        config: &QuantizeConfig,
    ) -> Result<Option<(Calibration, usize)>, Error> {
        if self.inputs.is_empty() {
            return Ok(None);
        }
        let data = self.samples.open(model, &self.inputs, 1)?;
        let found = gather(cx, mode, model, &data, config)?;
        Ok(Some((found, data.len())))
    }

    /// The statistics of all files and of the samples, merged, and the number of samples run here.
    fn statistics(
        &self,
        cx: &Context,
        model: &Model,
        config: &QuantizeConfig,
    ) -> Result<(Calibration, Option<usize>), Error> {
        let mut merged: Option<Calibration> = None;
        for path in &self.stats {
            let shard = Calibration::load(path)?;
            let fits = shard
                .check(model)
                .and_then(|()| shard.check_method(config.method));
            fits.map_err(|source| Error::Statistics {
                path: path.clone(),
                source,
            })?;
            match &mut merged {
                Some(all) => all.merge(&shard)?,
                None => merged = Some(shard),
            }
        }
        let mut samples = None;
        if !self.inputs.is_empty() {
            let data = self.samples.open(model, &self.inputs, 1)?;
            let found = gather(cx, graph::Mode::Static, model, &data, config)?;
            samples = Some(data.len());
            match &mut merged {
                Some(all) => all.merge(&found)?,
                None => merged = Some(found),
            }
        }
        match merged {
            Some(statistics) => Ok((statistics, samples)),
            None => Err(Usage::NoCalibration.into()),
        }
    }
}

/// Not a model: `--stats a.json b.json model.onnx` takes it for a file of statistics.
fn statistics_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().is_some_and(|e| e == "onnx") {
        true => Err("it is a model, not statistics: name the model before --stats".to_owned()),
        false => Ok(path),
    }
}

fn bits(text: &str) -> Result<u8, String> {
    match text {
        "4" => Ok(4),
        "8" => Ok(8),
        _ => Err("it must be 4 or 8".to_owned()),
    }
}

fn block(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(n) if (16..=256).contains(&n) && n.is_power_of_two() => Ok(n),
        _ => Err("it must be a power of two from 16 to 256".to_owned()),
    }
}

fn print(outcome: &Outcome, out: &mut dyn std::io::Write) -> std::io::Result<()> {
    let mut table = Table::new(&[
        ("node", Align::Left),
        ("operator", Align::Left),
        ("weight SQNR", Align::Right),
        ("input SQNR", Align::Right),
        ("clipped", Align::Right),
        ("bytes", Align::Right),
    ]);
    let decibel = |x: Option<f64>| x.map_or(String::new(), units::decibel);
    for layer in &outcome.layers {
        let clipped = layer.clipped_share;
        table.row([
            layer.node.clone(),
            layer.op.clone(),
            decibel(layer.weight_sqnr_db),
            decibel(layer.input_sqnr_db),
            clipped.map_or(String::new(), |c| format!("{:.3} %", c * 100.0)),
            match layer.bytes_before {
                0 => String::new(),
                before => format!(
                    "{} -> {}",
                    units::bytes(before as u64),
                    units::bytes(layer.bytes_after as u64)
                ),
            },
        ]);
    }
    table.print(out)?;
    let skipped = outcome.skipped.iter();
    let skipped = skipped.map(|s| ((s.op.as_str(), s.reason.as_str()), s.node.as_str()));
    for ((op, reason), nodes) in Names::group(skipped) {
        writeln!(out, "float: {op} {nodes}: {reason}")?;
    }
    for node in &outcome.sensitivity {
        let sqnr = units::decibel(node.sqnr_db);
        writeln!(out, "alone: {} ({}): {sqnr}", node.node, node.op)?;
    }
    for node in &outcome.not_measured {
        writeln!(out, "alone: {} ({}): {}", node.node, node.op, node.reason)?;
    }
    for node in &outcome.excluded {
        writeln!(out, "left float: {node}")?;
    }
    for (what, notes) in [("repaired", &outcome.repairs), ("note", &outcome.notes)] {
        let said = notes.iter().map(|n| (n.text.as_str(), n.subject.as_str()));
        for (text, subjects) in Names::group(said) {
            writeln!(out, "{what}: {subjects}: {text}")?;
        }
    }
    writeln!(
        out,
        "{} layers quantized, {} skipped, {} -> {}, {:.2} s",
        outcome.layers.len(),
        outcome.skipped.len(),
        units::bytes(outcome.input_bytes),
        units::bytes(outcome.output_bytes),
        outcome.seconds
    )
}
