//! Post-training quantization as data: the stages of a [`Recipe`], read from TOML and run in order.
//!
//! ```
//! use modelpress::Recipe;
//!
//! let recipe = Recipe::from_toml(r#"
//!     [optimize]
//!
//!     [calibrate]
//!     inputs = ["image=train_x.npy"]
//!     data = { limit = 500, preprocess = { layout = "nhwc" } }
//!
//!     [quantize]
//!     mode = "static"
//!     target = "ort"
//!
//!     [evaluate]
//!     inputs = ["image=test_x.npy"]
//!     labels = "test_y.npy"
//!     data = { preprocess = { layout = "nhwc" } }
//! "#)?;
//! assert_eq!(recipe.calibrate.unwrap().data.limit, Some(500));
//! # Ok::<(), modelpress::RecipeError>(())
//! ```

use crate::data::{DataError, DataOptions, Dataset, InputSpec};
use crate::evaluate::{Accuracy, EvaluateError, ScoreError, classify};
use crate::ir::Model;
use crate::optimize::{OptimizeError, OptimizeOptions};
use crate::quant::graph::{
    self, Calibration, CalibrationError, Format, QuantizeConfig, QuantizeError, Report, Rounding,
    Target, WeightOnlyConfig, calibrate_for, quantize_dynamic, quantize_dynamic_calibrated,
    quantize_static, quantize_weights, quantize_weights_calibrated,
};
use crate::quant::{Method, WeightRule};
use crate::session::{Session, SessionError, SessionOptions};
use crate::tensor::npy::{self, NpyError};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where a recipe is noted in the metadata of the model that it made.
pub const METADATA_KEY: &str = "modelpress.recipe";

/// The stages optimize → calibrate → quantize → evaluate; a stage that is not given is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Recipe {
    /// The standard passes.
    pub optimize: Option<OptimizeOptions>,
    /// Statistics of the activations, for static quantization; for the others samples that weights are rounded to.
    pub calibrate: Option<CalibrateStage>,
    /// Quantization.
    pub quantize: Option<QuantizeStage>,
    /// Top-1 accuracy of the result.
    pub evaluate: Option<EvaluateStage>,
}

/// [`calibrate_for()`]: samples that are run, statistics that are read, or both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CalibrateStage {
    /// What feeds the model.
    pub inputs: Vec<InputSpec>,
    /// How samples are grouped and converted.
    pub data: DataOptions,
    /// Files with statistics of other shards.
    pub statistics: Vec<PathBuf>,
}

/// What becomes integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Weights and activations, with scales from calibration.
    #[default]
    Static,
    /// Weights now, activations while the model runs.
    Dynamic,
    /// Weights; arithmetic stays float.
    WeightOnly,
}

/// Quantization: what [`QuantizeConfig`] sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct QuantizeStage {
    /// What becomes integer.
    pub mode: Mode,
    /// The runtime whose rules hold.
    pub target: Target,
    /// How activation ranges are chosen.
    pub method: Option<Method>,
    /// How weights become codes; `nearest` where it is not given. `calibrated` needs samples.
    pub rounding: Option<Rounding>,
    /// Bits of a weight in weight-only quantization, 4 or 8; 8 where it is not given.
    pub bits: Option<usize>,
    /// Weights that share one scale in weight-only quantization, a power of two from 16 to 256; one scale per channel
    /// where it is not given, and 32 weights with 4 bits.
    pub block: Option<usize>,
    /// Whether integer operators stand in the file instead of Q/DQ pairs.
    pub format: FileFormat,
    /// Only these nodes.
    pub include: Vec<String>,
    /// Not these nodes.
    pub exclude: Vec<String>,
    /// Only these operators.
    pub operators: Option<Vec<String>>,
}

/// How quantization is written into the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// `QuantizeLinear` / `DequantizeLinear` pairs.
    #[default]
    Qdq,
    /// Integer operators.
    QLinear,
}

/// Top-1 accuracy on labelled samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EvaluateStage {
    /// What feeds the model.
    pub inputs: Vec<InputSpec>,
    /// How samples are grouped and converted.
    pub data: DataOptions,
    /// The `.npy` file of labels.
    pub labels: PathBuf,
    /// The output that is scored; the first one where it is not given.
    pub output: Option<String>,
}

/// What the stages found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RecipeReport {
    /// Changes by pass.
    pub passes: Vec<(String, usize)>,
    /// Samples that were run for calibration.
    pub calibration_samples: usize,
    /// What quantization did.
    pub quantization: Option<Report>,
    /// Accuracy of the model as it came.
    pub accuracy_before: Option<Accuracy>,
    /// Accuracy of the result.
    pub accuracy: Option<Accuracy>,
}

/// Why a recipe cannot be read or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The text is no recipe.
    #[error("recipe: {0}")]
    Read(#[from] toml::de::Error),
    /// The recipe cannot be noted in the model.
    #[error("recipe: {0}")]
    Write(#[from] toml::ser::Error),
    /// There is nothing to do.
    #[error(
        "the recipe does nothing: it has none of the stages [optimize], [quantize], [evaluate]"
    )]
    Empty,
    /// Static quantization without statistics.
    #[error("static quantization needs a [calibrate] stage with inputs or statistics")]
    NotCalibrated,
    /// Rounding to samples without samples.
    #[error("rounding = \"calibrated\" needs a [calibrate] stage with inputs")]
    NoSamples,
    /// Calibration that nothing uses.
    #[error("[calibrate] has no effect without [quantize]: leave it out")]
    NothingToCalibrate,
    /// Samples that nothing is rounded to.
    #[error(
        "[calibrate] has no effect on mode = \"{mode}\" without rounding = \"calibrated\": leave it out"
    )]
    IdleCalibration {
        /// The mode.
        mode: &'static str,
    },
    /// A setting or stage that the mode would not look at.
    #[error("{setting} has no effect on mode = \"{mode}\": leave it out")]
    NotInMode {
        /// The setting or stage.
        setting: &'static str,
        /// The mode.
        mode: &'static str,
    },
    /// A pass failed, or a dimension cannot be fixed.
    #[error("optimize: {0}")]
    Optimize(#[from] OptimizeError),
    /// Samples cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Calibration failed.
    #[error("calibrate: {0}")]
    Calibrate(#[from] CalibrationError),
    /// Quantization failed.
    #[error("quantize: {0}")]
    Quantize(#[from] QuantizeError),
    /// The labels cannot be read.
    #[error("evaluate: {0}")]
    Labels(#[from] NpyError),
    /// The model cannot be run.
    #[error("evaluate: {0}")]
    Session(#[from] SessionError),
    /// Evaluation failed.
    #[error("evaluate: {0}")]
    Evaluate(#[from] EvaluateError),
    /// The results cannot be scored.
    #[error("evaluate: {}: {source}", labels.display())]
    Score {
        /// The file of labels.
        labels: PathBuf,
        /// The reason.
        source: ScoreError,
    },
}

impl Recipe {
    /// Reads a recipe; an unknown setting is an error.
    ///
    /// # Errors
    /// [`RecipeError::Read`] with line and column.
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        Ok(toml::from_str(text)?)
    }

    /// The recipe as TOML.
    ///
    /// # Errors
    /// [`RecipeError::Write`].
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        Ok(toml::to_string(self)?)
    }

    /// Runs the stages on `model`. Files are taken from `folder` where they are relative. The recipe is noted in
    /// the result's metadata under [`METADATA_KEY`].
    ///
    /// # Errors
    /// [`RecipeError`] names the stage.
    pub fn run(
        &self,
        model: &Model,
        folder: &Path,
        options: &SessionOptions,
    ) -> Result<(Model, RecipeReport), RecipeError> {
        if self.optimize.is_none() && self.quantize.is_none() && self.evaluate.is_none() {
            return Err(RecipeError::Empty);
        }
        match &self.quantize {
            Some(stage) => self.check_mode(stage)?,
            None if self.calibrate.is_some() => return Err(RecipeError::NothingToCalibrate),
            None => {}
        }
        let mut report = RecipeReport::default();
        let mut result = model.clone();
        if let Some(options) = &self.optimize {
            let records = crate::optimize(&mut result, options)?;
            let changes = records.iter().map(|r| (r.pass.to_owned(), r.changes));
            report.passes = changes.collect();
        }
        if let Some(stage) = &self.quantize {
            let mut config = stage.config();
            config.threads = options.threads;
            let (quantized, done) = match stage.mode {
                Mode::Static => {
                    config.validate()?;
                    let calibrate = self.calibrate.as_ref().ok_or(RecipeError::NotCalibrated)?;
                    let mode = graph::Mode::Static;
                    let (statistics, samples) =
                        calibrate.run(mode, &result, &config, folder, options)?;
                    report.calibration_samples = samples;
                    quantize_static(&result, &statistics, &config)?
                }
                Mode::Dynamic => match &self.calibrate {
                    Some(calibrate) => {
                        let mode = graph::Mode::Dynamic;
                        let (inputs, samples) =
                            calibrate.run(mode, &result, &config, folder, options)?;
                        report.calibration_samples = samples;
                        quantize_dynamic_calibrated(&result, &inputs, &config)?
                    }
                    None => quantize_dynamic(&result, &config)?,
                },
                Mode::WeightOnly => {
                    let weights = stage.weights();
                    match &self.calibrate {
                        Some(calibrate) => {
                            let mode = weights.mode();
                            let (inputs, samples) =
                                calibrate.run(mode, &result, &config, folder, options)?;
                            report.calibration_samples = samples;
                            quantize_weights_calibrated(&result, weights, &inputs, &config)?
                        }
                        None => quantize_weights(&result, weights, &config)?,
                    }
                }
            };
            result = quantized;
            report.quantization = Some(done);
        }
        if let Some(stage) = &self.evaluate {
            report.accuracy_before = Some(stage.run(model, folder, options)?);
            report.accuracy = Some(stage.run(&result, folder, options)?);
        }
        result.set_metadata(METADATA_KEY, self.to_toml()?);
        Ok((result, report))
    }
}

impl Recipe {
    /// Refuses what the mode would not look at.
    fn check_mode(&self, stage: &QuantizeStage) -> Result<(), RecipeError> {
        let (is_static, is_weight_only) =
            (stage.mode == Mode::Static, stage.mode == Mode::WeightOnly);
        let mode = match stage.mode {
            Mode::Static => "static",
            Mode::Dynamic => "dynamic",
            Mode::WeightOnly => "weight-only",
        };
        let calibrated = stage.rounding == Some(Rounding::Calibrated);
        let samples = self
            .calibrate
            .as_ref()
            .is_some_and(|c| !c.inputs.is_empty());
        if calibrated && !samples {
            return Err(RecipeError::NoSamples);
        }
        if !is_static && !calibrated && self.calibrate.is_some() {
            return Err(RecipeError::IdleCalibration { mode });
        }
        let statistics = self.calibrate.as_ref().map(|c| &c.statistics);
        let statistics = statistics.is_some_and(|s| !s.is_empty());
        let given = [
            ("statistics", !is_static && statistics),
            ("target", !is_static && stage.target != Target::default()),
            ("method", !is_static && stage.method.is_some()),
            (
                "format",
                !is_static && stage.format != FileFormat::default(),
            ),
            ("bits", !is_weight_only && stage.bits.is_some()),
            ("block", !is_weight_only && stage.block.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((setting, _)) => Err(RecipeError::NotInMode { setting, mode }),
            None => Ok(()),
        }
    }
}

impl CalibrateStage {
    fn run(
        &self,
        mode: graph::Mode,
        model: &Model,
        config: &QuantizeConfig,
        folder: &Path,
        options: &SessionOptions,
    ) -> Result<(Calibration, usize), RecipeError> {
        let mut merged: Option<Calibration> = None;
        let mut add = |shard: Calibration| match &mut merged {
            Some(all) => all.merge(&shard),
            None => {
                merged = Some(shard);
                Ok(())
            }
        };
        for path in &self.statistics {
            let shard = Calibration::load(&folder.join(path))?;
            shard.check(model)?;
            add(shard)?;
        }
        let mut samples = 0;
        if !self.inputs.is_empty() {
            let data = Dataset::open(model, &within(&self.inputs, folder), &self.data)?;
            samples = data.len();
            let batches = data.batches().map(|batch| batch.map(|b| b.inputs));
            add(calibrate_for(mode, model, batches, config, options)?)?;
        }
        Ok((merged.ok_or(RecipeError::NotCalibrated)?, samples))
    }
}

impl QuantizeStage {
    /// How weight-only quantization holds weights.
    fn weights(&self) -> WeightOnlyConfig {
        WeightOnlyConfig::of(self.bits.unwrap_or(8), self.block)
    }

    /// What the stage sets. Weight scales of the mode `dynamic` are those of least squared error.
    pub fn config(&self) -> QuantizeConfig {
        let mut config = QuantizeConfig::default();
        config.target = self.target;
        config.method = self.method.unwrap_or(config.method);
        config.rounding = self.rounding.unwrap_or(config.rounding);
        if self.mode == Mode::Dynamic {
            config.weight_rule = WeightRule::LeastSquares;
        }
        config.format = match self.format {
            FileFormat::Qdq => Format::Qdq,
            FileFormat::QLinear => Format::QLinear,
        };
        config.include = self.include.clone();
        config.exclude = self.exclude.clone();
        config.operators = self.operators.clone();
        config
    }
}

impl EvaluateStage {
    fn run(
        &self,
        model: &Model,
        folder: &Path,
        options: &SessionOptions,
    ) -> Result<Accuracy, RecipeError> {
        let data = Dataset::open(model, &within(&self.inputs, folder), &self.data)?;
        let session = Session::new(model.clone(), options)?;
        let classes = classify(&session, &data, self.output.as_deref(), |_| ())?;
        let file = folder.join(&self.labels);
        let labels = npy::read(&file)?;
        classes.score(&labels).map_err(|source| RecipeError::Score {
            labels: file,
            source,
        })
    }
}

fn within(inputs: &[InputSpec], folder: &Path) -> Vec<InputSpec> {
    let each = inputs.iter().cloned();
    each.map(|spec| spec.within(folder)).collect()
}
#[cfg(test)]
mod tests;
