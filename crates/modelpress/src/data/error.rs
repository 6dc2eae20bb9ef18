//! Why arrays cannot feed a model.

use crate::tensor::TensorError;
use crate::tensor::npy::NpyError;
use crate::tensor::npz::NpzError;
use std::fmt;

/// Which order of axes would make an array fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutHint {
    /// None would.
    None,
    /// Its channels are last.
    Nhwc,
    /// Its channels are where the model has them.
    Model,
}

impl fmt::Display for LayoutHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "",
            Self::Nhwc => ": its channels seem to be last, use layout nhwc (`--layout nhwc`)",
            Self::Model => ": its channels seem to be first already, leave layout nhwc out",
        })
    }
}

/// Why arrays cannot feed a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// Text that names no array.
    #[error(
        "`{text}` is no input: write NAME=FILE.npy, NAME=FILE.npz or NAME=zeros; NAME= may be left out for one input"
    )]
    Spec {
        /// The text.
        text: String,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// An archive cannot be read.
    #[error(transparent)]
    Npz(#[from] NpzError),
    /// A tensor cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The model has no input of this name.
    #[error("the model has no input `{name}`; it takes {}", .known.join(", "))]
    NoSuchInput {
        /// The name.
        name: String,
        /// The inputs of the model.
        known: Vec<String>,
    },
    /// An array without a name where several inputs could be meant.
    #[error("name the input that the array feeds, as in {}=FILE.npy; the model takes {}", .known.first().map_or("NAME", String::as_str), .known.join(", "))]
    NameNeeded {
        /// The inputs of the model.
        known: Vec<String>,
    },
    /// An input was given no array.
    #[error("input `{name}` was not given: add {name}=FILE.npy (or {name}=zeros)")]
    MissingInput {
        /// The input.
        name: String,
    },
    /// Two arrays for one input.
    #[error("input `{name}` is given twice")]
    FedTwice {
        /// The input.
        name: String,
    },
    /// Arrays of different numbers of samples.
    #[error("`{first}` has {first_samples} samples, `{second}` has {second_samples}")]
    SampleCounts {
        /// An input.
        first: String,
        /// Its samples.
        first_samples: usize,
        /// Another input.
        second: String,
        /// Its samples.
        second_samples: usize,
    },
    /// A scalar where the first axis counts samples.
    #[error("input `{name}`: the array is a scalar, its first axis should count the samples")]
    Scalar {
        /// The input.
        name: String,
    },
    /// An array without samples.
    #[error("input `{name}`: the array holds no samples")]
    NoSamples {
        /// The input.
        name: String,
    },
    /// Numbers of a type that cannot be converted.
    #[error("input `{name}`: {source}")]
    Convert {
        /// The input.
        name: String,
        /// The reason.
        source: TensorError,
    },
    /// A batch of no samples.
    #[error("a batch must hold at least one sample")]
    EmptyBatch,
    /// The model takes another number of samples at a time.
    #[error("the model takes {fixed} samples at a time, not {asked}")]
    FixedBatch {
        /// The number asked for.
        asked: usize,
        /// The number that the model declares.
        fixed: usize,
    },
    /// Samples are left over.
    #[error("the model takes {batch} samples at a time, and {samples} is no multiple of that")]
    NotWholeBatches {
        /// The number of samples.
        samples: usize,
        /// The number that the model declares.
        batch: usize,
    },
    /// The mask that says where to cut is no matrix.
    #[error("mask `{name}` should be [samples, length], its shape is {shape:?}")]
    NotAMask {
        /// The input.
        name: String,
        /// The array's shape.
        shape: Vec<usize>,
    },
    /// The shape of an input of zeros does not follow from the other inputs.
    #[error("input `{name}`: {what} does not follow from the other inputs")]
    UnknownSize {
        /// The input.
        name: String,
        /// What is not known.
        what: String,
    },
    /// An array of another shape than the model declares.
    #[error("input `{name}`: the array's shape {found:?} does not fit {expected}{hint}")]
    WrongShape {
        /// The input.
        name: String,
        /// The declared shape.
        expected: String,
        /// The array's shape.
        found: Vec<usize>,
        /// What would make it fit.
        hint: LayoutHint,
    },
    /// Numbers that the input's type does not hold.
    #[error("input `{name}`: {from} values do not fit the declared {to}")]
    Lossy {
        /// The input.
        name: String,
        /// The array's type.
        from: crate::tensor::DType,
        /// The type that the model declares.
        to: crate::tensor::DType,
    },
    /// One mean (or standard deviation) per channel, and another number of channels.
    #[error("input `{name}` has {channels} channels, {given} values are given for {what}")]
    Channels {
        /// The input.
        name: String,
        /// Its channels.
        channels: usize,
        /// Which setting.
        what: &'static str,
        /// The number of values.
        given: usize,
    },
    /// A setting that divides by zero or is not finite.
    #[error("{what} must be finite{}", if *.nonzero { " and not 0" } else { "" })]
    Setting {
        /// Which setting.
        what: &'static str,
        /// Whether it must not be 0 either.
        nonzero: bool,
    },
}
