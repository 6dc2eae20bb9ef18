//! Why a verb failed.

use modelpress::OptimizeError;
use modelpress::data::DataError;
use modelpress::evaluate::{EvaluateError, ScoreError};
use modelpress::ir::dims::DimError;
use modelpress::ir::graph::GraphError;
use modelpress::ir::io::{LoadError, SaveError};
use modelpress::ir::opset::ConvertError;
use modelpress::ir::passes::PassError;
use modelpress::kd::graph::DistillError;
use modelpress::quant::graph::{CalibrationError, QuantizeError};
use modelpress::session::SessionError;
use modelpress::tensor::TensorError;
use modelpress::tensor::npy::NpyError;
use modelpress::train::trainer::TrainError;
use modelpress::training::TrainRecipeError;
use std::path::{Path, PathBuf};

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The arguments contradict one another.
    #[error("{0}")]
    Usage(Usage),
    /// A model cannot be loaded.
    #[error("{}", loaded(path, source))]
    Load { path: PathBuf, source: LoadError },
    /// A model cannot be saved.
    #[error("{}", saved(path, source))]
    Save { path: PathBuf, source: SaveError },
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Standard output cannot be written.
    #[error("standard output: {0}")]
    Output(std::io::Error),
    /// A result cannot be written as JSON.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Npy(#[from] NpyError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Convert(#[from] ConvertError),
    #[error(transparent)]
    Pass(#[from] PassError),
    #[error(transparent)]
    Optimize(OptimizeError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The two sentences of pairs do not go together.
    #[error("--input gives {first} sentences and --input-b {second}: a pair is one of each")]
    Unpaired { first: usize, second: usize },
    /// Labels cannot be used.
    #[error("{}: {source}", path.display())]
    Labels { path: PathBuf, source: ScoreError },
    /// A run on inputs that were made up failed.
    #[error("{error}; {advice}")]
    MadeUp {
        error: Box<SessionError>,
        advice: String,
    },
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// Statistics of a file cannot be used.
    #[error("{}: {source}", path.display())]
    Statistics {
        path: PathBuf,
        source: CalibrationError,
    },
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// A recipe cannot be read.
    #[error("{}: {source}", path.display())]
    Recipe {
        path: PathBuf,
        source: TrainRecipeError,
    },
    #[error(transparent)]
    Train(TrainRecipeError),
    /// The checker found the model not valid.
    #[error("{}: {errors} errors", path.display())]
    Invalid { path: PathBuf, errors: usize },
    /// Backend tests failed.
    #[error("{failed} of {run} cases failed")]
    CasesFailed { failed: usize, run: usize },
    /// The results of several runs cannot be joined to one array.
    #[error(
        "output `{name}`: results of shape {first:?} and {other:?} cannot be joined along axis 0"
    )]
    NotJoinable {
        name: String,
        first: Vec<usize>,
        other: Vec<usize>,
    },
    /// An input cannot be made up.
    #[error("input `{name}` ({declared}) cannot be made up: give it with --input {name}=FILE.npy")]
    NotMadeUp { name: String, declared: String },
    /// Two models share no output.
    #[error("the models share no output: {a} and {b}")]
    NoCommonOutput { a: String, b: String },
    /// An output is no tensor.
    #[error("output `{name}` is no tensor of numbers")]
    NotNumbers { name: String },
    /// An embedded file of the demonstration cannot be read.
    #[error("the embedded digits are damaged")]
    Embedded,
}

/// Arguments that contradict one another or lack something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Usage {
    #[error(
        "static quantization needs samples or statistics: give --calib NAME=FILE.npy or --stats FILE"
    )]
    NoCalibration,
    #[error("--rounding calibrated needs samples: give --calib NAME=FILE.npy")]
    NoSamples,
    #[error(
        "--calib has no effect on --mode dynamic and weight-only without --rounding calibrated"
    )]
    IdleCalibration,
    #[error("--metric spearman-cosine compares two sentences: give the second one with --input-b")]
    NoSecondSentence,
    #[error("{flag} has no effect without --calib: it is for samples")]
    NoCalibrationToConvert { flag: &'static str },
    #[error("{flag} is for --mode {mode} only")]
    OnlyInMode {
        flag: &'static str,
        mode: &'static str,
    },
    #[error("{flag} has no effect on weights in blocks (--bits 4 or --block)")]
    NotForBlocks { flag: &'static str },
    #[error("--percentile is for --method percentile only")]
    IdlePercentile,
    #[error("{}: the output is the input: give another file", path.display())]
    SameFile { path: PathBuf },
    #[error("{}: two outputs go to one file: give them different ones", path.display())]
    WrittenTwice { path: PathBuf },
    #[error("{}: --teacher-folder would replace it: give a folder of its own", path.display())]
    ReplacedInFolder { path: PathBuf },
    #[error("{flag} has no effect without --input: inputs are made up as the model takes them")]
    NotForMadeUp { flag: &'static str },
    #[error("--dim has no effect with --input: the arrays have their sizes")]
    IdleDim,
    #[error("--batch has no effect: the first sizes of the model's inputs are fixed{}", if *.by_dim { " by --dim" } else { "" })]
    IdleBatch { by_dim: bool },
    #[error("--json has no effect on completions: what it prints is the script")]
    ScriptOnly,
    #[error("none of the {cases} cases was run: all are skipped or not asked for (--filter, --op)")]
    NoCase { cases: usize },
    #[error("{}: what is written is an ONNX file that keeps the target's rules: name it .onnx", path.display())]
    NotOnnx { path: PathBuf },
    #[error("--dim: {0}")]
    Dim(DimError),
    #[error("--autotune is for bench, run, eval and compare: nothing else here runs as it chooses")]
    IdleAutotune,
    #[error(
        "there is nothing to train on: give --train NAME=FILE.npy, or `inputs` under [samples] of --recipe FILE"
    )]
    NoTrainingSamples,
    #[error(
        "there are no labels to train on: give --labels FILE.npy, or `labels` under [samples] of --recipe FILE"
    )]
    NoTrainingLabels,
    #[error("--val has no labels: give --val-labels FILE.npy")]
    NoHeldOutLabels,
    #[error(
        "--label-smoothing is for losses of classes only: cross-entropy and binary-cross-entropy"
    )]
    SmoothingOfNoClasses,
    #[error(
        "there is no student: give --student FILE.onnx, or make one of the teacher with --student-layers N or --student-width X"
    )]
    NoStudent,
    #[error(
        "generations of one network begin anew: give --initialize he (or uniform), or another student"
    )]
    GenerationsKeep,
    #[error("{flag} is for --loss {losses}")]
    OnlyWithLoss {
        flag: &'static str,
        losses: &'static str,
    },
    #[error("{flag} is for --teacher beside labels")]
    OnlyWithTeacher { flag: &'static str },
    #[error("{flag} says what a --loss looks at: give the --loss too")]
    WithoutLoss { flag: &'static str },
    #[error("--loss {loss} looks at tensors within: give --tap STUDENT=TEACHER{rule}")]
    NoTaps {
        loss: &'static str,
        rule: &'static str,
    },
    #[error(
        "--tap has no effect on losses that look at outputs alone: name a loss on features with --loss"
    )]
    IdleTaps,
    #[error(
        "--loss exits looks at outputs of the student: give two or more with --exit NAME, shallow to deep"
    )]
    NoExits,
    #[error("{flag} is for --optimizer {optimizer} only")]
    OnlyWithOptimizer {
        flag: &'static str,
        optimizer: &'static str,
    },
}

impl Error {
    /// 2 where the arguments are wrong in themselves or for this model, and 1 where the work failed.
    pub(crate) fn exit_code(&self) -> u8 {
        let wrong_usage = match self {
            Self::Usage(_) => true,
            Self::Quantize(error) => is_wrong_request(error),
            Self::Calibration(CalibrationError::Prepare(error)) => is_wrong_request(error),
            Self::Data(error) => is_wrong_input(error),
            Self::Recipe { .. } => true,
            Self::Train(error) => is_wrong_training(error),
            Self::Evaluate(EvaluateError::NoSuchOutput { .. } | EvaluateError::NoMask { .. }) => {
                true
            }
            _ => false,
        };
        if wrong_usage { 2 } else { 1 }
    }

    pub(crate) fn in_one_line(&self) -> String {
        let text = self.to_string();
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        lines.join("; ")
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// Whether arrays are asked for that the model does not take.
fn is_wrong_input(error: &DataError) -> bool {
    matches!(
        error,
        DataError::Spec { .. }
            | DataError::NoSuchInput { .. }
            | DataError::NameNeeded { .. }
            | DataError::MissingInput { .. }
            | DataError::FedTwice { .. }
            | DataError::FixedBatch { .. }
            | DataError::Channels { .. }
            | DataError::Setting { .. }
    )
}

/// Whether the request to train is wrong in itself or for this model.
fn is_wrong_training(error: &TrainRecipeError) -> bool {
    match error {
        TrainRecipeError::Input(error) => is_wrong_input(error),
        TrainRecipeError::Train(error) => is_wrong_run(error),
        TrainRecipeError::Distill(error) => is_wrong_distillation(error),
        TrainRecipeError::Archive(_) | TrainRecipeError::Samples(_) => false,
        _ => true,
    }
}

/// What was wrong, of whichever samples.
fn without_part(error: &TrainError) -> &TrainError {
    match error {
        TrainError::HeldOut(error) => without_part(error),
        error => error,
    }
}

/// Whether the settings of a run are wrong in themselves or for this model.
fn is_wrong_run(error: &TrainError) -> bool {
    matches!(
        without_part(error),
        TrainError::Setting { .. }
            | TrainError::NoSuchWeight { .. }
            | TrainError::NoSuchOutput { .. }
            | TrainError::NoSuchScore { .. }
            | TrainError::FixedBatch { .. }
            | TrainError::OtherRun { .. }
            | TrainError::CurvesWithoutLog
            | TrainError::Optimizer(_)
            | TrainError::Schedule(_)
            | TrainError::Ema(_)
    )
}

/// Whether the request to distil is wrong in itself or for these models.
fn is_wrong_distillation(error: &DistillError) -> bool {
    match error {
        DistillError::Train(error) => is_wrong_run(error),
        DistillError::File { .. }
        | DistillError::Data(_)
        | DistillError::Session(_)
        | DistillError::Npy(_)
        | DistillError::Tensor(_)
        | DistillError::Graph(_) => false,
        _ => true,
    }
}

/// Whether the request to quantize is wrong in itself or for this model.
fn is_wrong_request(error: &QuantizeError) -> bool {
    matches!(
        error,
        QuantizeError::NoSuchOperator { .. }
            | QuantizeError::NoSuchNode { .. }
            | QuantizeError::NoSuchLayer { .. }
            | QuantizeError::TargetRule { .. }
            | QuantizeError::NotInMode { .. }
            | QuantizeError::Setting(_)
    )
}

/// A model that cannot be written, with its file named once.
fn saved(path: &Path, source: &SaveError) -> String {
    match source {
        SaveError::File { path: other, .. } if path == other => source.to_string(),
        _ => format!("{}: {source}", path.display()),
    }
}

/// A model that cannot be read, with its file named once.
fn loaded(path: &Path, source: &LoadError) -> String {
    match source {
        LoadError::File { path: other, .. } if path == other => source.to_string(),
        _ => format!("{}: {source}", path.display()),
    }
}

impl From<DimError> for Error {
    fn from(error: DimError) -> Self {
        Self::Usage(Usage::Dim(error))
    }
}

impl From<OptimizeError> for Error {
    fn from(error: OptimizeError) -> Self {
        match error {
            OptimizeError::Dim(error) => error.into(),
            OptimizeError::Pass(error) => error.into(),
            other => Self::Optimize(other),
        }
    }
}

impl From<TrainRecipeError> for Error {
    fn from(error: TrainRecipeError) -> Self {
        match error {
            TrainRecipeError::Quantize(error) => Self::Quantize(error),
            TrainRecipeError::Calibrate(error) => Self::Calibration(error),
            other => Self::Train(other),
        }
    }
}

impl From<Usage> for Error {
    fn from(usage: Usage) -> Self {
        Self::Usage(usage)
    }
}
