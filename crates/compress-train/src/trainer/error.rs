//! Why a model cannot be trained.

use crate::checkpoint::CheckpointError;
use crate::data::{Column, DataError, Kind};
use crate::ema::EmaError;
use crate::gradient::AccumulatorError;
use crate::log::LogError;
use crate::loss::LossError;
use crate::optimizer::OptimizerError;
use crate::schedule::ScheduleError;
use compress_tensor::{DType, TensorError};
use onnx_ir::gradient::GradientError;
use runtime_session::SessionError;
use std::path::PathBuf;

/// Why a model cannot be trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting breaks its rule.
    #[error("{setting} is {found}, {rule}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: f64,
        /// The rule, as in `it must be 1 or more`.
        rule: &'static str,
    },
    /// A pattern of weights that no initializer matches.
    #[error("no initializer matches `{pattern}`: the names begin with {examples:?}")]
    NoSuchWeight {
        /// The pattern.
        pattern: String,
        /// Some names.
        examples: Vec<String>,
    },
    /// No weights of f32 lead to the outputs.
    #[error(
        "there is nothing to train: no f32 initializer that is not frozen leads to the observed outputs (weights in `Constant` nodes and of f16 are not trained; `train` names weights that are not found)"
    )]
    NothingToTrain,
    /// An output that the model does not have.
    #[error("the model has no output or value `{name}`; its outputs are {outputs:?}")]
    NoSuchOutput {
        /// The name.
        name: String,
        /// The outputs.
        outputs: Vec<String>,
    },
    /// Weights lead to the outputs, but none by way of real numbers.
    #[error(
        "there is nothing to train: no gradient passes node {node} on the way from `{weight}` to the outputs"
    )]
    Blocked {
        /// The first weight.
        weight: String,
        /// The node.
        node: String,
    },
    /// A model without outputs that a loss can look at.
    #[error(
        "the model has no output of f32, but {}: models are trained in f32, export it so, or name values of f32 that the loss is to \
         look at (`outputs` of a recipe)", if outputs.is_empty() { "none at all" } else { outputs }
    )]
    NoOutput {
        /// Its outputs with their types.
        outputs: String,
    },
    /// A run that did not come as far as the loss.
    #[error("the run of the model did not reach the loss")]
    NoLoss,
    /// The trained weights do not fit the model that was given.
    #[error("`{name}` has shape {found:?} in the model, {expected:?} in training")]
    Misfit {
        /// The initializer.
        name: String,
        /// Its shape in the model.
        found: Vec<usize>,
        /// Its shape in training.
        expected: Vec<usize>,
    },
    /// An input of the model that no field of the data has the name of.
    #[error("the data have no field `{input}` for the model's input; they have {fields:?}")]
    MissingInput {
        /// The input.
        input: String,
        /// The fields.
        fields: Vec<String>,
    },
    /// A field that cannot feed an input.
    #[error("field `{field}` holds {found:?}, which does not feed an input of {expected}")]
    WrongKind {
        /// The field.
        field: String,
        /// What it holds.
        found: Kind,
        /// The input's type.
        expected: DType,
    },
    /// An input of a type that samples do not have.
    #[error(
        "input `{input}` is of {found}: samples feed inputs of f32, f64, f16, bfloat16, integers and bool"
    )]
    InputType {
        /// The input.
        input: String,
        /// Its type.
        found: DType,
    },
    /// A number that the type of an input does not hold.
    #[error(
        "field `{field}` holds {found} in row {sample}, which an input of {expected} cannot hold"
    )]
    Range {
        /// The field.
        field: String,
        /// The sample: its [row](crate::data::Dataset::row), from 0.
        sample: usize,
        /// The number.
        found: i64,
        /// The input's type.
        expected: DType,
    },
    /// A model for batches of one size only.
    #[error(
        "input `{input}` takes batches of {size} samples only: train with a batch of {size} and without a smaller last one, or make the first axis symbolic"
    )]
    FixedBatch {
        /// The input.
        input: String,
        /// The size.
        size: usize,
    },
    /// A loss, gradient or weight that is no number any more.
    #[error(
        "{what} is {found} in step {step} (epoch {epoch}, rows {samples:?}){place}: try a smaller learning rate or a step control"
    )]
    NotFinite {
        /// What it is: `the loss`, or `the gradient of ` and a name.
        what: String,
        /// NaN or an infinity.
        found: f64,
        /// The step, from 0.
        step: u64,
        /// The epoch, from 0.
        epoch: u64,
        /// The first samples of the batch: their [rows](crate::data::Dataset::row), from 0.
        samples: Vec<usize>,
        /// Where in the model the first such value stands, as `; the first such value is …`; empty where it is not known.
        place: String,
    },
    /// A sample that holds NaN or an infinity.
    #[error("field `{field}` holds {found} in row {sample}: samples must be of finite numbers")]
    SampleNotFinite {
        /// The field.
        field: String,
        /// The sample: its [row](crate::data::Dataset::row), from 0.
        sample: usize,
        /// NaN or an infinity.
        found: f32,
    },
    /// A label that is none of the classes.
    #[error("target `{target}` holds class {class} in row {sample}, the output tells 0 to {} apart", classes.saturating_sub(1))]
    NoSuchClass {
        /// The target.
        target: String,
        /// The label.
        class: i64,
        /// The number of classes.
        classes: usize,
        /// The sample: its [row](crate::data::Dataset::row), from 0.
        sample: usize,
    },
    /// Held-out samples that the model cannot be evaluated on.
    #[error("held-out samples: {0}")]
    HeldOut(Box<TrainError>),
    /// A measure that is no number.
    #[error("metric `{metric}` of row {sample} is {found}")]
    Metric {
        /// The metric.
        metric: String,
        /// The sample: its [row](crate::data::Dataset::row), from 0.
        sample: usize,
        /// What was found.
        found: f64,
    },
    /// A metric that gives another number of values than there are samples.
    #[error("metric `{metric}` gave {found} values for {samples} samples")]
    MetricCount {
        /// The metric.
        metric: String,
        /// The number of values.
        found: usize,
        /// The number of samples.
        samples: usize,
    },
    /// A score to watch that is not measured.
    #[error(
        "there is no score `{name}` to watch, there are {names:?}; scores of held-out samples need such samples"
    )]
    NoSuchScore {
        /// The name.
        name: String,
        /// The names that there are.
        names: Vec<String>,
    },
    /// A checkpoint of another run.
    #[error("the checkpoint belongs to another run: {what} is {found}, here {expected}")]
    OtherRun {
        /// What differs.
        what: String,
        /// What this run has.
        expected: String,
        /// What the checkpoint has.
        found: String,
    },
    /// Curves without a log.
    #[error("curves are drawn from the log: give `log` too (--log FILE)")]
    CurvesWithoutLog,
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The loss cannot be computed.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The gradient cannot be built.
    #[error(transparent)]
    Gradient(#[from] GradientError),
    /// The model cannot be run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Samples cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The optimizer refuses.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// The schedule cannot be followed.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Averages of weights do not fit.
    #[error(transparent)]
    Ema(#[from] EmaError),
    /// Gradients cannot be summed.
    #[error(transparent)]
    Accumulator(#[from] AccumulatorError),
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tensor cannot be made or read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The graph refuses a change.
    #[error(transparent)]
    Graph(#[from] onnx_ir::graph::GraphError),
}

impl TrainError {
    /// The same with samples called otherwise, as by their rows instead of their indices.
    pub(super) fn with_samples(mut self, call: impl Fn(usize) -> usize) -> Self {
        match &mut self {
            Self::Range { sample, .. }
            | Self::SampleNotFinite { sample, .. }
            | Self::NoSuchClass { sample, .. }
            | Self::Metric { sample, .. } => *sample = call(*sample),
            Self::NotFinite { samples, .. } => samples.iter_mut().for_each(|s| *s = call(*s)),
            _ => {}
        }
        self
    }

    /// The same for a place in a batch of these samples and targets: the sample instead.
    pub(super) fn in_batch(self, targets: &[Column], indices: &[usize]) -> Self {
        let found = match self {
            Self::Loss(LossError::NoSuchClass {
                target,
                class,
                position,
                classes,
            }) => {
                let count = targets.iter().find(|c| c.field.name == target);
                let count = count.map_or(1, |column| column.field.count().max(1));
                Self::NoSuchClass {
                    target,
                    class,
                    classes,
                    sample: position / count,
                }
            }
            other @ Self::Metric { .. } => other,
            other => return other,
        };
        found.with_samples(|at| indices.get(at).copied().unwrap_or(at))
    }
}

/// Checks that a setting keeps its rule.
pub(super) fn check(
    setting: &'static str,
    found: f64,
    is_right: bool,
    rule: &'static str,
) -> Result<(), TrainError> {
    if is_right {
        Ok(())
    } else {
        Err(TrainError::Setting {
            setting,
            found,
            rule,
        })
    }
}
