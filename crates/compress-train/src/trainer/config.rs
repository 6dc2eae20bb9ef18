//! Settings of a run.

use super::course::Course;
use super::error::{TrainError, check};
use super::initialize::Initialization;
use super::network::NetworkOptions;
use crate::ema::EmaConfig;
use crate::log::LogFormat;
use crate::optimizer::{
    Adam, AdamConfig, Group, Lamb, LambConfig, Optimizer, OptimizerError, ParameterInfo, Plan, Sgd,
    SgdConfig, StepControl, glob,
};
use crate::stopping::StoppingConfig;
use onnx_ir::gradient::ActivationBudget;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Settings of a [`Trainer`](super::Trainer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table of settings"
)]
#[non_exhaustive]
pub struct TrainerConfig {
    /// How often all samples are gone through.
    pub epochs: u64,
    /// Samples of a forward and backward pass.
    pub batch: usize,
    /// Batches whose gradients are averaged for one step.
    pub accumulate: usize,
    /// Whether a last batch of fewer samples is left out.
    #[serde(alias = "drop_last")]
    pub drop_last: bool,
    /// The seed of all that is drawn.
    pub seed: u64,
    /// The highest learning rate; [`TrainerConfig::base_learning_rate`] says which one it is unless given.
    #[serde(alias = "learning_rate")]
    pub learning_rate: Option<f64>,
    /// How the learning rate goes.
    #[serde(deserialize_with = "crate::tagged::one")]
    pub schedule: Course,
    /// Epochs in which the learning rate rises first.
    #[serde(alias = "warm_up")]
    pub warm_up: f64,
    /// The rule by which weights change.
    #[serde(deserialize_with = "crate::tagged::one")]
    pub optimizer: OptimizerConfig,
    /// Settings of some parameters.
    pub groups: Vec<Group>,
    /// Under SGD no step changes a layer by more than this share of its weights (`StepControl::within`), so that models train whatever
    /// the scale of their inputs; 0 for plain steps. [`TrainerConfig::largest_step_share`] says which one it is unless given. A control of
    /// the optimizer's own or of a group takes its place.
    #[serde(alias = "step_share")]
    pub step_share: Option<f64>,
    /// The largest norm of all gradients together.
    #[serde(alias = "clip_norm")]
    pub clip_norm: Option<f64>,
    /// The largest element of a gradient.
    #[serde(alias = "clip_value")]
    pub clip_value: Option<f32>,
    /// Averages of weights, which are then evaluated and written.
    pub average: Option<EmaConfig>,
    /// Weights to begin with.
    pub initialize: Initialization,
    /// Patterns of initializers to train; see [`NetworkOptions::train`].
    pub train: Vec<String>,
    /// Patterns of initializers that stay as they are; see [`NetworkOptions::freeze`].
    pub freeze: Vec<String>,
    /// Parameters that stay as they are from some epoch on.
    pub hold: Vec<Hold>,
    /// The outputs that the loss looks at; see [`NetworkOptions::outputs`].
    pub outputs: Vec<String>,
    /// See [`NetworkOptions::statistics_momentum`].
    #[serde(alias = "statistics_momentum")]
    pub statistics_momentum: Option<f32>,
    /// See [`NetworkOptions::freeze_statistics`].
    #[serde(alias = "freeze_statistics")]
    pub freeze_statistics: bool,
    /// See [`NetworkOptions::no_dropout`].
    #[serde(alias = "no_dropout")]
    pub no_dropout: bool,
    /// Bytes that activations may take, by estimate: what does not fit is computed anew in the backward pass, to the same gradients.
    #[serde(alias = "activation_memory")]
    pub activation_memory: Option<u64>,
    /// Epochs from one evaluation on the held-out samples to the next; the last epoch always ends in one.
    #[serde(alias = "evaluate_every")]
    pub evaluate_every: u64,
    /// The score that tells which weights are best: `loss` or a metric, of the held-out samples where there are some.
    pub watch: Option<String>,
    /// When to stop early by the watched score; never without.
    pub stopping: Option<StoppingConfig>,
    /// Which weights the run ends with.
    pub keep: Keep,
    /// Threads that read and augment samples beside the computation; with 0 the computation waits for them.
    pub readers: usize,
    /// Where to write checkpoints.
    pub checkpoint: Option<CheckpointConfig>,
    /// Where to write the numbers of steps and epochs.
    pub log: Option<LogConfig>,
    /// Where to draw the curves of the log (SVG), which needs one.
    pub curves: Option<PathBuf>,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch: 64,
            accumulate: 1,
            drop_last: false,
            seed: 0,
            learning_rate: None,
            schedule: Course::default(),
            warm_up: 0.0,
            optimizer: OptimizerConfig::default(),
            groups: Vec::new(),
            step_share: None,
            clip_norm: None,
            clip_value: None,
            average: None,
            initialize: Initialization::Keep,
            train: Vec::new(),
            freeze: Vec::new(),
            hold: Vec::new(),
            outputs: Vec::new(),
            statistics_momentum: None,
            freeze_statistics: false,
            no_dropout: false,
            activation_memory: None,
            evaluate_every: 1,
            watch: None,
            stopping: None,
            keep: Keep::Last,
            readers: 1,
            checkpoint: None,
            log: None,
            curves: None,
        }
    }
}

/// Which weights a run ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Those of its last step.
    #[default]
    Last,
    /// Those with the best watched score.
    Best,
}

/// Parameters that stay as they are from some epoch on, as the steps of quantizers at the end of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hold {
    /// Patterns of names (`*`: any characters, `?`: one).
    pub patterns: Vec<String>,
    /// Epochs after which they stay; whole or not.
    pub from: f64,
}

/// Where and how often checkpoints are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table with the `path` of a file"
)]
pub struct CheckpointConfig {
    /// The file, which each checkpoint replaces.
    pub path: PathBuf,
    /// Steps from one to the next, beside those at the end of each epoch; 0 for none between.
    #[serde(default)]
    pub every: u64,
}

/// Where and how a log is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table with the `path` of a file"
)]
pub struct LogConfig {
    /// The file.
    pub path: PathBuf,
    /// How rows are written.
    #[serde(default)]
    pub format: LogFormat,
    /// Steps from one row to the next, beside those at the end of each epoch.
    #[serde(default = "one")]
    pub every: u64,
}

fn one() -> u64 {
    1
}

/// The rule by which weights change.
///
/// In files the settings that are left out are those of PyTorch's optimizer of this name, as `momentum = 0` for SGD; the weight decay of
/// `adam` is AdamW's unless `decay` says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    expecting = "a table with a `kind` of optimizer"
)]
#[non_exhaustive]
pub enum OptimizerConfig {
    /// Gradient descent with momentum; the default, with momentum 0.9.
    Sgd(SgdConfig),
    /// Adam and AdamW.
    Adam(AdamConfig),
    /// LAMB.
    Lamb(LambConfig),
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Sgd(SgdConfig {
            momentum: 0.9,
            ..SgdConfig::default()
        })
    }
}

impl OptimizerConfig {
    /// The learning rate of weights that begin anew, where none is given: 0.1 for SGD, 0.001 for Adam, 0.01 for LAMB.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd(_) => 0.1,
            Self::Adam(_) => 0.001,
            Self::Lamb(_) => 0.01,
        }
    }

    /// The optimizer of a plan, whose steps stay within a share of the weights where the rule knows no scale of its own.
    fn build(
        &self,
        plan: Plan,
        control: StepControl,
        threads: usize,
    ) -> Result<Box<dyn Optimizer>, OptimizerError> {
        Ok(match self {
            Self::Sgd(config) => {
                let mut config = config.clone();
                config.threads = threads;
                if config.control == StepControl::None {
                    config.control = control;
                }
                Box::new(Sgd::new(plan, config)?)
            }
            Self::Adam(config) => {
                let mut config = config.clone();
                config.threads = threads;
                Box::new(Adam::new(plan, config)?)
            }
            Self::Lamb(config) => {
                let mut config = config.clone();
                config.threads = threads;
                Box::new(Lamb::new(plan, config)?)
            }
        })
    }
}

impl TrainerConfig {
    /// Checks the settings that no other part checks.
    ///
    /// # Errors
    /// [`TrainError::Setting`], [`TrainError::CurvesWithoutLog`].
    pub fn validate(&self) -> Result<(), TrainError> {
        let at_least_one = "it must be 1 or more";
        check(
            "the number of epochs",
            self.epochs as f64,
            self.epochs > 0,
            at_least_one,
        )?;
        check("the batch", self.batch as f64, self.batch > 0, at_least_one)?;
        let accumulate = self.accumulate;
        check(
            "the number of batches of a step",
            accumulate as f64,
            accumulate > 0,
            at_least_one,
        )?;
        let every = self.evaluate_every;
        check(
            "the number of epochs between evaluations",
            every as f64,
            every > 0,
            at_least_one,
        )?;
        let rate = self.base_learning_rate();
        let is_positive = |x: f64| x.is_finite() && x > 0.0;
        let positive = "it must be a positive number";
        check("the learning rate", rate, is_positive(rate), positive)?;
        let share = self.largest_step_share();
        let rule = "it must be a finite number, 0 or more";
        check(
            "the share of a step",
            share,
            share.is_finite() && share >= 0.0,
            rule,
        )?;
        if let Some(norm) = self.clip_norm {
            check(
                "the largest norm of gradients",
                norm,
                is_positive(norm),
                positive,
            )?;
        }
        if let Some(value) = self.clip_value.map(f64::from) {
            check(
                "the largest element of a gradient",
                value,
                is_positive(value),
                positive,
            )?;
        }
        if let Some(momentum) = self.statistics_momentum.map(f64::from) {
            let is_share = (0.0..=1.0).contains(&momentum);
            let rule = "it must lie in [0, 1]";
            check(
                "the momentum of running statistics",
                momentum,
                is_share,
                rule,
            )?;
        }
        if self.curves.is_some() && self.log.is_none() {
            return Err(TrainError::CurvesWithoutLog);
        }
        for hold in &self.hold {
            let rule = "it must be a finite number, 0 or more";
            let is_right = hold.from.is_finite() && hold.from >= 0.0;
            check(
                "the epoch from which parameters stay",
                hold.from,
                is_right,
                rule,
            )?;
        }
        if let Some(log) = &self.log {
            check(
                "the number of steps of a row",
                log.every as f64,
                log.every > 0,
                at_least_one,
            )?;
        }
        Ok(())
    }

    /// The learning rate that the schedule begins with or rises to: the one given; else that of [`OptimizerConfig::learning_rate`] for
    /// weights that begin anew, and a tenth of it for weights that are kept, which learn on from what they know.
    pub fn base_learning_rate(&self) -> f64 {
        let usual = || self.optimizer.learning_rate() * self.share_of_kept();
        self.learning_rate.unwrap_or_else(usual)
    }

    /// The largest share of a step for weights that begin anew; also for steps of quantization-aware training, which learn anew.
    pub const FRESH_STEP_SHARE: f64 = 0.03;

    /// The largest share of its weights that a step of SGD changes a layer by: the one given; else 0.03 for weights that begin anew, and a
    /// tenth of it for weights that are kept.
    pub fn largest_step_share(&self) -> f64 {
        let usual = Self::FRESH_STEP_SHARE * self.share_of_kept();
        self.step_share.unwrap_or(usual)
    }

    /// By how much less weights that are kept move.
    fn share_of_kept(&self) -> f64 {
        match self.initialize {
            Initialization::Keep => 0.1,
            Initialization::Uniform | Initialization::He => 1.0,
        }
    }

    pub(super) fn network_options(&self) -> NetworkOptions {
        NetworkOptions {
            train: self.train.clone(),
            freeze: self.freeze.clone(),
            outputs: self.outputs.clone(),
            statistics_momentum: self.statistics_momentum,
            freeze_statistics: self.freeze_statistics,
            no_dropout: self.no_dropout,
            activations: self.activation_memory.map(|bytes| ActivationBudget {
                bytes,
                symbol: self.batch,
            }),
        }
    }

    /// The step from which on each parameter stays, where one is given.
    pub(super) fn held(
        &self,
        parameters: &[ParameterInfo],
        per_epoch: u64,
    ) -> Result<Vec<Option<u64>>, TrainError> {
        // As of groups: one that no parameter belongs to is nearly always misspelt.
        for hold in &self.hold {
            let holds = |p: &ParameterInfo| hold.patterns.iter().any(|h| glob::matches(h, &p.name));
            if !parameters.iter().any(holds) {
                return Err(TrainError::NoSuchWeight {
                    pattern: hold.patterns.join("`, `"),
                    examples: parameters.iter().take(5).map(|p| p.name.clone()).collect(),
                });
            }
        }
        let from = |parameter: &ParameterInfo| {
            let matches = |hold: &&Hold| {
                let mut patterns = hold.patterns.iter();
                patterns.any(|p| glob::matches(p, &parameter.name))
            };
            let holds = self.hold.iter().filter(matches);
            let steps = holds.map(|hold| (hold.from * per_epoch as f64).round() as u64);
            steps.min()
        };
        Ok(parameters.iter().map(from).collect())
    }

    pub(super) fn build_optimizer(
        &self,
        parameters: &[ParameterInfo],
        threads: usize,
    ) -> Result<Box<dyn Optimizer>, TrainError> {
        let plan = Plan::new(parameters.to_vec(), &self.groups)?;
        let momentum = match &self.optimizer {
            OptimizerConfig::Sgd(sgd) => sgd.momentum,
            _ => 0.0,
        };
        let share = self.largest_step_share();
        let control = if share > 0.0 {
            StepControl::within(share, self.base_learning_rate(), momentum)?
        } else {
            StepControl::None
        };
        Ok(self.optimizer.build(plan, control, threads)?)
    }

    /// All that the weights depend on, as text: what a checkpoint must agree with.
    pub(super) fn fingerprint(&self) -> String {
        let mut same = self.clone();
        (same.checkpoint, same.log, same.curves) = (None, None, None);
        (same.readers, same.activation_memory) = (0, None);
        serde_json::to_string(&same).unwrap_or_default()
    }
}
