//! Why a model cannot be distilled.

use super::student::StudentError;
use crate::KdError;
use compress_tensor::TensorError;
use compress_tensor::npy::NpyError;
use compress_train::data::DataError;
use compress_train::trainer::TrainError;
use onnx_ir::graph::GraphError;
use runtime_session::SessionError;
use std::path::PathBuf;

fn or_nearest(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!(" (did you mean `{}`?)", near.join("`, `")),
    }
}

/// Why a model cannot be distilled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistillError {
    /// No term.
    #[error("there is no loss to distil by")]
    NoLosses,
    /// A term that looks at a teacher that is not there.
    #[error("loss `{loss}` looks at teacher {teacher}, from 0; there are {teachers}")]
    NoTeacher {
        /// The term.
        loss: &'static str,
        /// The teacher.
        teacher: usize,
        /// How many there are.
        teachers: usize,
    },
    /// A term that cannot do without labels.
    #[error("loss `{loss}` needs labels, and the data have none beside what feeds the model")]
    NoLabels {
        /// The term.
        loss: &'static str,
    },
    /// A field that the data do not have.
    #[error("the data have no field `{name}` for the {what}; they have {fields:?}")]
    NoSuchField {
        /// `labels` or `mask`.
        what: &'static str,
        /// The name.
        name: String,
        /// The fields.
        fields: Vec<String>,
    },
    /// A pair of tensors that is not written as one.
    #[error("`{text}` is no pair of tensors: write STUDENT=TEACHER")]
    TapText {
        /// What was given.
        text: String,
    },
    /// A number of taps that a term does not take.
    #[error("loss `{loss}` has {found} taps, {rule}")]
    Taps {
        /// The term.
        loss: &'static str,
        /// How many there are.
        found: usize,
        /// What it takes.
        rule: &'static str,
    },
    /// A tensor that a model does not have.
    #[error(
        "{model} has no tensor `{name}`{}; its outputs are {outputs:?}",
        or_nearest(near)
    )]
    NoSuchTensor {
        /// `the student`, or the teacher by its name.
        model: String,
        /// The name.
        name: String,
        /// Names that it has which are nearly the same.
        near: Vec<String>,
        /// The outputs.
        outputs: Vec<String>,
    },
    /// A tensor whose channels cannot be counted.
    #[error(
        "the channels of `{name}` of {model} are not known, so that no projection can be made for loss `{loss}`"
    )]
    OpenChannels {
        /// `the student`, or the teacher by its name.
        model: String,
        /// The tensor.
        name: String,
        /// The term.
        loss: &'static str,
    },
    /// A tensor that cannot be embedded.
    #[error(
        "loss `crd` cannot embed `{name}` of {model}, of shape {shape}: it takes vectors [samples, channels] and images [samples, channels, height, width] whose channels are known"
    )]
    NoEmbedding {
        /// `the student`, or the teacher by its name.
        model: String,
        /// The tensor.
        name: String,
        /// Its shape, as far as it is known.
        shape: String,
    },
    /// A teacher that reads an input which no samples feed.
    #[error(
        "{teacher} reads the input `{input}`, which no samples feed: they have the fields {fields:?}"
    )]
    UnfedInput {
        /// The teacher by its name.
        teacher: String,
        /// The input.
        input: String,
        /// The fields of the samples.
        fields: Vec<String>,
    },
    /// A mask that no term looks at.
    #[error(
        "the mask (--mask) has no effect on these losses: it says which tokens count for pooling (--pool), cosine, hidden-state and the losses on attention"
    )]
    IdleMask,
    /// A student of integers.
    #[error(
        "the student is already quantized (node `{node}` is {op}): distil its float model, and quantize what comes out"
    )]
    Quantized {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
    },
    /// A loss of classes that exclude one another beside labels that do not.
    #[error(
        "loss `{loss}` is one of classes that exclude one another, `binary-kd` one of labels that do not: choose one of them"
    )]
    ClassesBesideLabels {
        /// The loss of classes.
        loss: &'static str,
    },
    /// A loss that is watched on held-out samples and is 0 there.
    #[error(
        "no loss says anything of the samples held out (`crd` has no memory of them), so that neither `stopping` (--patience) nor `keep = \"best\"` (--keep-best) can go by it: leave them out, add a loss that does (--loss kl), or watch a metric"
    )]
    NothingToWatch,
    /// Samples that change, and a teacher that is to run once.
    #[error(
        "the teacher cannot run once: augmentation changes the samples from epoch to epoch; let it run on the fly"
    )]
    Augmented,
    /// More to keep than was allowed.
    #[error(
        "what the teacher says of all samples takes {needed} bytes, {most} are allowed: allow more, keep it in a folder, or run it on the fly"
    )]
    TooLarge {
        /// The bytes that it takes.
        needed: u64,
        /// The bytes that are allowed.
        most: u64,
    },
    /// A setting breaks its rule.
    #[error("{setting} is {found}, {rule}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: f64,
        /// The rule.
        rule: &'static str,
    },
    /// A folder cannot be made, or a file of an earlier run cannot be removed.
    #[error("{}: {source}", path.display())]
    File {
        /// The folder or the file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The settings of a loss.
    #[error(transparent)]
    Loss(#[from] KdError),
    /// Training fails.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Samples cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A student cannot be made.
    #[error(transparent)]
    Student(#[from] StudentError),
    /// A model cannot be run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A file of the teacher's results cannot be read or written.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// A tensor cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A graph refuses a change.
    #[error(transparent)]
    Graph(#[from] GraphError),
}
