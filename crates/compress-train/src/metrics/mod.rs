//! Scores, each with its number of samples and a 95 % confidence interval.

mod auc;
mod confusion;
mod correlation;
mod mcnemar;
mod mean;
mod proportion;

pub use auc::{Auc, roc_auc};
pub use confusion::{ClassScores, ConfusionMatrix};
pub use correlation::{Correlation, pearson, spearman};
pub use mcnemar::{McNemar, mcnemar};
pub use mean::{Mean, MeanEstimate};
pub use proportion::{Accuracy, wilson_interval};

use ndarray::ArrayView2;

/// The two-sided 95 % quantile of the standard normal distribution.
pub(crate) const Z95: f64 = 1.959_963_984_540_054;

/// Why a score cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// Lists of different lengths.
    #[error("{labels} labels for {samples} samples")]
    Lengths {
        /// The number of labels.
        labels: usize,
        /// The number of samples.
        samples: usize,
    },
    /// Nothing to score.
    #[error("there are no samples")]
    NoSamples,
    /// A label that is none of the classes.
    #[error("label {label} of sample {sample} is none of the {classes} classes")]
    NoSuchClass {
        /// The sample, from 0.
        sample: usize,
        /// Its label.
        label: i64,
        /// The number of classes.
        classes: usize,
    },
    /// A score that cannot be compared with others.
    #[error("the score of sample {sample} is NaN")]
    NotANumber {
        /// The sample, from 0.
        sample: usize,
    },
    /// Samples of one kind only, where two are compared.
    #[error("all samples are {found}: there is nothing to tell apart")]
    OneKind {
        /// `positive` or `negative`.
        found: &'static str,
    },
}

/// The share of samples whose label is among the `k` largest of their scores `[samples, classes]`.
///
/// A label counts as place `1 + (classes with a larger score) + (classes before it with an equal one)`, so that equal scores cannot all be
/// right. A label whose score is NaN is not found.
///
/// # Errors
/// [`MetricError::Lengths`], [`MetricError::NoSuchClass`], [`MetricError::NoSamples`].
///
/// # Examples
/// ```
/// use compress_train::metrics::top_k;
/// use ndarray::arr2;
/// let scores = arr2(&[[0.1f32, 0.7, 0.2], [0.5, 0.3, 0.2]]);
/// assert_eq!(top_k(scores.view(), &[2, 2], 1)?.value, 0.0);
/// assert_eq!(top_k(scores.view(), &[2, 2], 2)?.value, 0.5);
/// # Ok::<(), compress_train::metrics::MetricError>(())
/// ```
pub fn top_k(
    scores: ArrayView2<'_, f32>,
    labels: &[i64],
    k: usize,
) -> Result<Accuracy, MetricError> {
    let (samples, classes) = scores.dim();
    if samples != labels.len() {
        return Err(MetricError::Lengths {
            labels: labels.len(),
            samples,
        });
    }
    let mut correct = 0;
    for (sample, (row, &label)) in scores.rows().into_iter().zip(labels).enumerate() {
        let class = class_of(sample, label, classes)?;
        correct += usize::from(is_among(row.iter().copied(), class, k));
    }
    Accuracy::new(correct, samples).ok_or(MetricError::NoSamples)
}

/// Whether a class is among the `k` largest of the scores of a sample; of equal ones the first counts as larger.
pub(crate) fn is_among(scores: impl Iterator<Item = f32> + Clone, class: usize, k: usize) -> bool {
    let own = scores.clone().nth(class).unwrap_or(f32::NAN);
    let is_ahead = |&(c, score): &(usize, f32)| score > own || (score == own && c < class);
    let ahead = scores.enumerate().filter(is_ahead).count();
    ahead < k && !own.is_nan()
}

fn class_of(sample: usize, label: i64, classes: usize) -> Result<usize, MetricError> {
    let class = usize::try_from(label).ok().filter(|&c| c < classes);
    class.ok_or(MetricError::NoSuchClass {
        sample,
        label,
        classes,
    })
}
