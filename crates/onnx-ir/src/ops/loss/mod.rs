//! Losses of classification.

pub mod likelihood;
mod negative_log_likelihood_loss;
mod softmax_cross_entropy_loss;

pub use negative_log_likelihood_loss::NegativeLogLikelihoodLoss;
pub use softmax_cross_entropy_loss::SoftmaxCrossEntropyLoss;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<NegativeLogLikelihoodLoss>(),
    OpEntry::of::<SoftmaxCrossEntropyLoss>(),
];
