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
    #[error("the {model} has no tensor `{name}`; its outputs are {outputs:?}")]
    NoSuchTensor {
        /// `student` or `teacher`.
        model: &'static str,
        /// The name.
        name: String,
        /// The outputs.
        outputs: Vec<String>,
    },
    /// A tensor whose channels cannot be counted.
    #[error(
        "the channels of the {model}'s `{name}` are not known, so that no projection can be made for loss `{loss}`"
    )]
    OpenChannels {
        /// `student` or `teacher`.
        model: &'static str,
        /// The tensor.
        name: String,
        /// The term.
        loss: &'static str,
    },
    /// A teacher that reads inputs which the student does not have.
    #[error(
        "the teacher has the inputs {teacher:?}, the student {student:?}: both read the same samples, by name"
    )]
    OtherInputs {
        /// The teacher's.
        teacher: Vec<String>,
        /// The student's.
        student: Vec<String>,
    },
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
    /// A folder cannot be made.
    #[error("{}: {source}", path.display())]
    File {
        /// The folder.
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
