//! Quantization-aware training as data: the table `[qat]` of a recipe, and its run.
//!
//! ```
//! use modelpress::training::TrainRecipe;
//!
//! let recipe = TrainRecipe::from_toml(r#"
//!     [samples]
//!     inputs = ["image=train_x.npy"]
//!     labels = ["train_y.npy"]
//!
//!     [trainer]
//!     epochs = 5
//!     batch = 128
//!
//!     [qat]
//!     method = "lsq"
//!     weight-bits = 4
//!     activation-bits = 8
//!     end-bits = 8
//!     layers = [{ nodes = ["conv2"], weight-bits = 6 }]
//!     warm-up = 1
//!     hold-steps = 1
//! "#)?;
//! assert_eq!(recipe.qat.unwrap().weight_bits, 4);
//! # Ok::<(), modelpress::training::TrainRecipeError>(())
//! ```

use super::error::TrainRecipeError;
use super::{TrainRecipe, TrainingRun};
use crate::data::{DataOptions, Dataset};
use crate::ir::Model;
use crate::quant::Method;
use crate::quant::graph::qat::{
    ExportReport, LayerBits, QatConfig, QatReport, export_qat, prepare_qat,
};
use crate::quant::graph::{Calibration, QuantizeConfig, Target, calibrate};
use crate::quant::qat::StepMethod;
use crate::session::SessionOptions;
use crate::train::data::Dataset as _;
use crate::train::optimizer::Group;
use crate::train::trainer::{
    Callback, Hold, Initialization, OptimizerConfig, TrainReport, Trainer, TrainerConfig,
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How a model is trained with codes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table of settings"
)]
#[non_exhaustive]
pub struct QatSpec {
    /// How rounding is differentiated and steps are learned.
    pub method: QatMethod,
    /// Bits of weights, 2 to 8.
    #[serde(alias = "weight_bits")]
    pub weight_bits: u32,
    /// Bits of what weighted layers read, 2 to 8.
    #[serde(alias = "activation_bits")]
    pub activation_bits: u32,
    /// Bits of the first and of the last layer.
    #[serde(alias = "end_bits")]
    pub end_bits: Option<u32>,
    /// Bits of layers by name, which come before all others.
    pub layers: Vec<LayerSpec>,
    /// The runtime whose rules hold.
    pub target: Target,
    /// How the ranges are chosen that training begins with. [`Method::MovingAverage`] runs one sample at a time; where the model takes more and
    /// no fewer, it takes means over these batches.
    pub range: Method,
    /// Nodes that stay float.
    pub exclude: Vec<String>,
    /// Samples, evenly out of those to train on, that ranges are chosen by; whole batches of a model that takes so many samples and no others.
    pub calibration: usize,
    /// Epochs in which the float model is trained first, normalisations with the statistics of batches.
    #[serde(alias = "warm_up")]
    pub warm_up: u64,
    /// Epochs at the end of the run in which steps and offsets stay; whole or not.
    #[serde(alias = "hold_steps")]
    pub hold_steps: f64,
    /// Multiplies the learning rate of steps and offsets; 1 for SGD and LAMB and 0.1 for Adam, which does not know their size, unless given.
    #[serde(alias = "step_learning_rate")]
    pub step_learning_rate: Option<f64>,
    /// The float model to learn from beside the labels; without labels the model itself, as it came.
    pub teacher: Option<PathBuf>,
    /// `α`, the share of the teacher where there are labels.
    pub alpha: f64,
    /// `T`, by which logits are divided for the teacher's share.
    pub temperature: f64,
}

impl Default for QatSpec {
    fn default() -> Self {
        Self {
            method: QatMethod::default(),
            weight_bits: 8,
            activation_bits: 8,
            end_bits: None,
            layers: Vec::new(),
            target: Target::default(),
            range: Method::Mse,
            exclude: Vec::new(),
            calibration: 512,
            warm_up: 0,
            hold_steps: 0.0,
            step_learning_rate: None,
            teacher: None,
            alpha: 0.5,
            temperature: 4.0,
        }
    }
}

/// How rounding is differentiated and steps are learned: [`StepMethod`] by name, with the settings of its paper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum QatMethod {
    /// Straight through; steps stay as they were calibrated.
    #[serde(rename = "ste")]
    Ste,
    /// Learned steps.
    #[default]
    #[serde(rename = "lsq")]
    Lsq,
    /// Learned steps and offsets.
    #[serde(rename = "lsq+")]
    LsqPlus,
    /// Learned ends of ranges.
    #[serde(rename = "pact")]
    Pact,
    /// Gradients scaled by the distance from the grid, `δ = 0.001`.
    #[serde(rename = "ewgs")]
    Ewgs,
    /// A soft staircase, `α = 0.2`.
    #[serde(rename = "dsq")]
    Dsq,
}

impl QatMethod {
    /// The method with its settings.
    pub fn step_method(self) -> StepMethod {
        match self {
            Self::Ste => StepMethod::StraightThrough,
            Self::Lsq => StepMethod::Lsq,
            Self::LsqPlus => StepMethod::LsqPlus,
            Self::Pact => StepMethod::Pact,
            Self::Ewgs => StepMethod::Ewgs { delta: 1e-3 },
            Self::Dsq => StepMethod::Dsq { alpha: 0.2 },
        }
    }
}

/// Bits of some layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table with `nodes`"
)]
#[non_exhaustive]
pub struct LayerSpec {
    /// Names of nodes or of their outputs; `*` stands for any text.
    pub nodes: Vec<String>,
    /// Bits of their weights.
    #[serde(alias = "weight_bits")]
    pub weight_bits: Option<u32>,
    /// Bits of what they read.
    #[serde(alias = "activation_bits")]
    pub activation_bits: Option<u32>,
}

impl QatSpec {
    /// The same as the settings of `prepare_qat`.
    pub fn config(&self) -> QatConfig {
        let mut quantize = QuantizeConfig::default();
        (quantize.target, quantize.method) = (self.target, self.range);
        quantize.exclude.clone_from(&self.exclude);
        let mut config = QatConfig::default();
        config.quantize = quantize;
        (config.weight_bits, config.activation_bits) = (self.weight_bits, self.activation_bits);
        config.end_bits = self.end_bits;
        config.method = self.method.step_method();
        let layers = self.layers.iter().map(|layer| {
            let mut bits = LayerBits::of(layer.nodes.clone());
            (bits.weight_bits, bits.activation_bits) = (layer.weight_bits, layer.activation_bits);
            bits
        });
        config.layers = layers.collect();
        config
    }

    /// The settings of a trainer for the model that `prepare_qat` told `report` of; `config` is as for any model.
    ///
    /// The weights are kept, so that [`TrainerConfig::base_learning_rate`] is a tenth of that of weights that begin anew; a step may change
    /// layers by [`TrainerConfig::FRESH_STEP_SHARE`] unless `config` says otherwise: steps have far to go, and codes of few bits too. Steps
    /// and offsets get groups behind those of `config`, without weight decay but for the ranges of activations of PACT, whose paper has
    /// one, and stay in the last [`QatSpec::hold_steps`] epochs.
    pub fn trainer(&self, config: &TrainerConfig, report: &QatReport) -> TrainerConfig {
        let mut trainer = config.clone();
        trainer.initialize = Initialization::Keep;
        trainer
            .step_share
            .get_or_insert(TrainerConfig::FRESH_STEP_SHARE);
        let learned = report.steps.iter().chain(&report.offsets);
        let learned: Vec<String> = learned.cloned().collect();
        if learned.is_empty() {
            return trainer;
        }
        let of_weights: Vec<&String> = report
            .layers
            .iter()
            .filter_map(|l| l.weight_step.as_ref())
            .collect();
        let (of_weights, others): (Vec<String>, Vec<String>) = learned
            .iter()
            .cloned()
            .partition(|name| of_weights.contains(&name));
        let usual = match trainer.optimizer {
            OptimizerConfig::Adam(_) => 0.1,
            _ => 1.0,
        };
        let decays = self.method == QatMethod::Pact;
        // Groups that name steps come before.
        for (patterns, decays) in [(of_weights, false), (others, decays)] {
            if patterns.is_empty() {
                continue;
            }
            trainer.groups.push(Group {
                patterns,
                learning_rate: self.step_learning_rate.unwrap_or(usual),
                weight_decay: (!decays).then_some(0.0),
                ..Group::default()
            });
        }
        if self.hold_steps > 0.0 {
            trainer.hold.push(Hold {
                patterns: learned,
                from: trainer.epochs as f64 - self.hold_steps,
            });
        }
        trainer
    }

    pub(super) fn within(mut self, folder: &Path) -> Self {
        self.teacher = self.teacher.map(|path| folder.join(path));
        self
    }

    /// Checks the settings that no other part checks.
    fn validate(&self, epochs: u64) -> Result<(), TrainRecipeError> {
        let setting = |setting, found, rule| {
            Err(TrainRecipeError::Setting {
                setting,
                found,
                rule,
            })
        };
        let is_share = |x: f64| (0.0..=1.0).contains(&x);
        if self.calibration == 0 {
            return setting(
                "the number of calibration samples",
                0.0,
                "it must be 1 or more",
            );
        }
        if !(self.hold_steps >= 0.0 && self.hold_steps <= epochs as f64) {
            let rule = "it must be 0 or more, and no more than the epochs of the run";
            return setting(
                "the number of epochs in which steps stay",
                self.hold_steps,
                rule,
            );
        }
        if !is_share(self.alpha) {
            return setting("alpha", self.alpha, "it must lie in [0, 1]");
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return setting(
                "the temperature",
                self.temperature,
                "it must be a positive number",
            );
        }
        Ok(())
    }
}

impl TrainRecipe {
    /// The recipe of the epochs in which the float model is trained first; none where there are none. Its checkpoint is that of the run with
    /// `.float` behind its name; it writes no log.
    pub fn warm_up(&self) -> Option<TrainRecipe> {
        let epochs = self.qat.as_ref().map_or(0, |qat| qat.warm_up);
        if epochs == 0 {
            return None;
        }
        let mut recipe = self.clone();
        let trainer = &mut recipe.trainer;
        trainer.epochs = epochs;
        (trainer.log, trainer.curves, trainer.average) = (None, None, None);
        trainer.hold = Vec::new();
        if let Some(checkpoint) = &mut trainer.checkpoint {
            let mut path = std::mem::take(&mut checkpoint.path).into_os_string();
            path.push(".float");
            checkpoint.path = path.into();
        }
        Some(recipe)
    }

    /// A run of [`TrainRecipe::warm_up`], at its beginning. Without labels and without a teacher that is another model there is nothing to
    /// learn.
    ///
    /// # Errors
    /// [`TrainRecipeError`].
    pub fn begin_warm_up(
        &self,
        model: &Model,
        teacher: Option<&Model>,
        options: &SessionOptions,
    ) -> Result<TrainingRun, TrainRecipeError> {
        if self.samples.labels.is_empty() && teacher.is_none() {
            return Err(TrainRecipeError::WarmUpOfNothing);
        }
        let mut recipe = self.clone();
        let share = &mut recipe.trainer.step_share;
        share.get_or_insert(TrainerConfig::FRESH_STEP_SHARE);
        recipe.begin_with(model, teacher, options)
    }

    /// Chooses ranges, makes the model ready, and begins a run on it. `float` is the model as it came, or after the warm-up. The teacher is what
    /// is learned from beside the labels; without labels it is `float` itself unless another is given.
    ///
    /// # Errors
    /// [`TrainRecipeError`].
    pub fn begin_qat(
        &self,
        float: &Model,
        teacher: Option<&Model>,
        options: &SessionOptions,
    ) -> Result<QatRun, TrainRecipeError> {
        let spec = self.qat.clone().unwrap_or_default();
        let (model, report, samples) = self.prepare(&spec, float, options)?;
        let teacher = match (teacher, self.samples.labels.is_empty()) {
            (None, true) => Some(float),
            (teacher, _) => teacher,
        };
        let mut recipe = self.clone();
        recipe.trainer = spec.trainer(&self.trainer, &report);
        let told = QatSpec {
            // By what it holds, not by its place.
            teacher: None,
            ..spec
        };
        let mut run = recipe.begin_with(&model, teacher, options)?;
        run.trainer = run.trainer.with_condition("qat", format!("{told:?}"));
        Ok(QatRun {
            run,
            prepared: report,
            calibration: samples,
        })
    }

    /// Checks the settings on a model before anything is trained: [`TrainRecipe::begin_qat`] refuses what this does, but only after a warm-up.
    ///
    /// # Errors
    /// [`TrainRecipeError`].
    pub fn check_qat(
        &self,
        float: &Model,
        options: &SessionOptions,
    ) -> Result<(), TrainRecipeError> {
        let spec = self.qat.clone().unwrap_or_default();
        spec.validate(self.trainer.epochs)?;
        let few = QatSpec {
            calibration: 1,
            ..spec
        };
        self.prepare(&few, float, options).map(drop)
    }

    /// The model with quantizers, and the number of samples that their ranges were chosen by.
    fn prepare(
        &self,
        spec: &QatSpec,
        float: &Model,
        options: &SessionOptions,
    ) -> Result<(Model, QatReport, usize), TrainRecipeError> {
        spec.validate(self.trainer.epochs)?;
        if self.trainer.initialize != Initialization::Keep && spec.warm_up == 0 {
            return Err(TrainRecipeError::InitializesCodes);
        }
        let config = spec.config();
        config.validate()?;
        let (calibration, samples) = self.calibrate(spec, &config, float, options)?;
        let (model, report) = prepare_qat(float, &calibration, &config)?;
        Ok((model, report, samples))
    }

    /// Statistics of samples that lie evenly over those to train on, and the number of samples.
    pub(super) fn calibrate(
        &self,
        spec: &QatSpec,
        config: &QatConfig,
        float: &Model,
        options: &SessionOptions,
    ) -> Result<(Calibration, usize), TrainRecipeError> {
        let (side, _) = self.sides(float)?;
        let options_of_data = DataOptions {
            preferred_batch: match spec.range {
                // The ends of each sample count.
                Method::MovingAverage => 1,
                _ => self.trainer.batch.max(1),
            },
            preprocess: self.preprocess.clone(),
            ..DataOptions::default()
        };
        let all = Dataset::open(float, &self.samples.inputs, &options_of_data)?;
        let batch = all.batch().max(1);
        let mut count = spec.calibration.min(side.len());
        if all.has_fixed_batch() && side.len() >= batch {
            // Whole batches, of as many samples more, or of as many less where there are no more.
            count = count
                .next_multiple_of(batch)
                .min(side.len() / batch * batch);
        }
        let mut rows: Vec<usize> = (0..count)
            .map(|i| side.row(i * side.len() / count))
            .collect();
        // Where all samples are fewer than a batch, they fill it up again from the first on.
        if all.has_fixed_batch() {
            let missing = count.next_multiple_of(batch) - count;
            rows.extend((0..missing).map(|i| rows[i % count]).collect::<Vec<_>>());
        }
        let samples = rows.chunks(batch).map(|rows| all.batch_at(rows));
        let calibration = calibrate(float, samples, &config.quantize, options)?;
        Ok((calibration, count))
    }
}

/// A run on a model that is trained with codes.
pub struct QatRun {
    run: TrainingRun,
    prepared: QatReport,
    calibration: usize,
}

/// What a run came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QatOutcome {
    /// The integer file.
    pub model: Model,
    /// The model as it was trained: floats, with learned steps.
    pub trained: Model,
    /// The training.
    pub training: TrainReport,
    /// What was made ready.
    pub prepared: QatReport,
    /// What was written.
    pub export: ExportReport,
}

impl QatRun {
    /// The same with somebody who looks on.
    #[must_use]
    pub fn with_callback(mut self, callback: impl Callback + 'static) -> Self {
        self.run = self.run.with_callback(callback);
        self
    }

    /// Goes on from a checkpoint that a run of the same recipe on the same model wrote.
    ///
    /// # Errors
    /// [`TrainRecipeError::Train`].
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<(), TrainRecipeError> {
        self.run.resume(path)
    }

    /// Trains to the end and writes the integer model.
    ///
    /// # Errors
    /// [`TrainRecipeError`].
    pub fn finish(mut self) -> Result<QatOutcome, TrainRecipeError> {
        let (trained, training) = self.run.finish()?;
        let (model, export) = export_qat(&trained)?;
        Ok(QatOutcome {
            model,
            trained,
            training,
            prepared: self.prepared,
            export,
        })
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        self.run.trainer()
    }

    /// The number of samples that are trained on, and held out.
    pub fn samples(&self) -> (usize, usize) {
        self.run.samples()
    }

    /// The number of samples that ranges were chosen by.
    pub fn calibration_samples(&self) -> usize {
        self.calibration
    }

    /// What was made ready.
    pub fn prepared(&self) -> &QatReport {
        &self.prepared
    }
}
