//! Scores of a model on labelled samples, each with its sample count and a 95 % confidence interval.

mod classification;
mod run;
mod sentences;

pub use classification::Classes;
pub use compress_train::metrics::{Accuracy, Correlation, spearman, wilson_interval};
pub use run::{EvaluateError, classify, embed};
pub use sentences::{cosine, mean_pool};

use crate::tensor::{DType, TensorError};
use compress_train::metrics::MetricError;

/// Why samples cannot be scored.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// Another number of labels than of samples.
    #[error("{labels} labels for {samples} samples")]
    LabelCount {
        /// The number of labels.
        labels: usize,
        /// The number of samples.
        samples: usize,
    },
    /// Labels that are no vector of integers or numbers.
    #[error("labels should be a vector, their shape is {shape:?}")]
    LabelShape {
        /// The shape.
        shape: Vec<usize>,
    },
    /// A label that is none of the classes.
    #[error("label {label} of sample {sample} is none of the model's {classes} classes, 0 to {}", classes.saturating_sub(1))]
    NoSuchClass {
        /// The sample, from 0.
        sample: usize,
        /// Its label.
        label: i64,
        /// The number of classes.
        classes: usize,
    },
    /// Labels of another type than classes have.
    #[error("labels should be integers, they are {dtype}")]
    LabelType {
        /// The type.
        dtype: DType,
    },
    /// A result that holds no score per class.
    #[error("output `{output}` of shape {shape:?} should be [samples, classes]")]
    NoClasses {
        /// The output.
        output: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A result that holds no vector per token.
    #[error(
        "output of shape {shape:?} and mask of shape {mask:?} should be [samples, tokens, width] and [samples, tokens]"
    )]
    NoTokens {
        /// The output's shape.
        shape: Vec<usize>,
        /// The mask's shape.
        mask: Vec<usize>,
    },
    /// Nothing to score.
    #[error("there are no samples")]
    NoSamples,
    /// Lists that no statistic can be computed of.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// A tensor of another type than the score works on.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}
