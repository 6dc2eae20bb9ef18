//! Why a model cannot be calibrated or quantized.

use crate::QuantError;
use onnx_ir::graph::GraphError;
use onnx_ir::passes::{PassError, PipelineError};
use runtime_session::SessionError;

/// Why statistics could not be gathered, saved or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// A run failed.
    #[error("calibration sample {sample}: {error}")]
    Run {
        /// Which sample, from 0.
        sample: usize,
        /// The reason.
        error: Box<SessionError>,
    },
    /// The session could not be made.
    #[error(transparent)]
    Session(#[from] Box<SessionError>),
    /// A tensor holds what cannot be observed.
    #[error("calibration sample {sample}, tensor `{tensor}`: {error}")]
    Observe {
        /// Which sample, from 0.
        sample: usize,
        /// The tensor.
        tensor: String,
        /// The reason.
        error: QuantError,
    },
    /// A sample could not be read.
    #[error("calibration sample {sample}: {message}")]
    Sample {
        /// Which sample, from 0.
        sample: usize,
        /// The reason.
        message: String,
    },
    /// There were no samples.
    #[error("there are no calibration samples")]
    NoSamples,
    /// Statistics of another model.
    #[error("the statistics are of another model: {found} instead of {expected}")]
    OtherModel {
        /// Fingerprint of the model at hand.
        expected: String,
        /// Fingerprint in the statistics.
        found: String,
    },
    /// Statistics that name the same model hold numbers of other extents: one of them is damaged.
    #[error("the statistics do not fit together: {0}")]
    Merge(QuantError),
    /// The statistics lack what the method chooses from.
    #[error(transparent)]
    Method(QuantError),
    /// A statistics file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// The model could not be prepared.
    #[error(transparent)]
    Prepare(#[from] Box<QuantizeError>),
}

/// Why a model could not be quantized.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The request breaks a rule of the target.
    #[error("{asked} with target {target}: {rule}")]
    TargetRule {
        /// The target.
        target: &'static str,
        /// What was asked for.
        asked: String,
        /// The rule.
        rule: &'static str,
    },
    /// A setting has no effect in the mode.
    #[error("`{setting}` has no effect on {mode}")]
    NotInMode {
        /// The setting.
        setting: &'static str,
        /// The mode.
        mode: &'static str,
    },
    /// Nothing that was asked for can be quantized: the result would be the model as it is.
    #[error("no node can be quantized: {}", reasons.join("; "))]
    NothingToQuantize {
        /// Some of the reasons.
        reasons: Vec<String>,
    },
    /// An operator was named that the mode does not quantize.
    #[error("{mode} has no operator `{operator}`: {}", match nearest {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it quantizes {}", known.join(", ")),
    })]
    NoSuchOperator {
        /// The name.
        operator: String,
        /// The mode.
        mode: &'static str,
        /// The operator that was likely meant.
        nearest: Option<&'static str>,
        /// The operators whose weights the mode quantizes.
        known: Vec<&'static str>,
    },
    /// A node was named that the model does not have.
    #[error("no node or output matches `{pattern}`")]
    NoSuchNode {
        /// The name or pattern.
        pattern: String,
    },
    /// A layer was named that is not quantized.
    #[error("no quantized layer matches `{pattern}`: the layers are {}", examples.join(", "))]
    NoSuchLayer {
        /// The name or pattern.
        pattern: String,
        /// Some of the layers.
        examples: Vec<String>,
    },
    /// A quantizer of a model to be exported is not as it was made.
    #[error("node {node}: {reason}")]
    Quantizer {
        /// The node.
        node: String,
        /// What is wrong.
        reason: String,
    },
    /// A model to be exported holds nothing that was trained.
    #[error("the model holds no quantizer that is trained: prepare it first")]
    NotPrepared,
    /// The statistics are of another model.
    #[error("the statistics are of another model: {found} instead of {expected}")]
    OtherModel {
        /// Fingerprint of the model at hand.
        expected: String,
        /// Fingerprint in the statistics.
        found: String,
    },
    /// The statistics lack a tensor that is to be quantized.
    #[error("no statistics for `{tensor}`: calibrate with the same model and settings")]
    NotCalibrated {
        /// The tensor.
        tensor: String,
    },
    /// The statistics lack the layers' inputs, which rounding to them needs.
    #[error(
        "there are no inputs of layers to round weights to: calibrate with samples for this mode, statistics files do not keep them"
    )]
    NoInputs,
    /// The operator set is older than quantized operators need.
    #[error("the model imports opset {found}, {needed} is needed: {reason}")]
    Opset {
        /// The model's version.
        found: i64,
        /// The version needed.
        needed: i64,
        /// Why it was not converted.
        reason: String,
    },
    /// The model already holds quantized operators.
    #[error("the model is already quantized: node {node}")]
    AlreadyQuantized {
        /// The first such node.
        node: String,
    },
    /// Values cannot be quantized.
    #[error("`{tensor}`: {error}")]
    Values {
        /// The tensor.
        tensor: String,
        /// The reason.
        error: QuantError,
    },
    /// The graph refused a change.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A pass failed.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// A pass lacks what it needs.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// A setting of weight-only quantization breaks its rule.
    #[error(transparent)]
    Setting(#[from] QuantError),
}
