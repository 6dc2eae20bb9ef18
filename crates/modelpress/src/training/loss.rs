//! Losses and metrics as data.

use crate::train::loss::{
    BinaryCrossEntropy, CrossEntropy, Huber, L1, Loss, Mse, Reduction, SmoothL1,
};
use serde::{Deserialize, Serialize};

/// What becomes small, on the model's first output and the first labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields,
    expecting = "a table with a `kind` of loss"
)]
#[non_exhaustive]
pub enum LossSpec {
    /// Cross-entropy of classes; a last `Softmax` of the model is looked through.
    CrossEntropy {
        /// `ε`, of `[0, 1]`.
        #[serde(default, alias = "label_smoothing")]
        label_smoothing: f64,
        /// A weight for each class.
        #[serde(default, alias = "class_weights")]
        class_weights: Option<Vec<f64>>,
        /// Samples of this class are left out.
        #[serde(default, alias = "ignored_class")]
        ignored_class: Option<i64>,
    },
    /// Binary cross-entropy of shares; a last `Sigmoid` of the model is looked through.
    BinaryCrossEntropy {
        /// Above 1 for positives that are rare.
        #[serde(default = "one", alias = "positive_weight")]
        positive_weight: f64,
        /// `ε`, of `[0, 1]`.
        #[serde(default, alias = "label_smoothing")]
        label_smoothing: f64,
    },
    // Braces, since serde passes over unknown keys of variants without them.
    /// Mean squared difference.
    Mse {},
    /// Mean absolute difference.
    L1 {},
    /// Huber's.
    Huber {
        /// Where the parabola ends.
        #[serde(default = "one")]
        delta: f64,
    },
    /// The smooth absolute difference.
    SmoothL1 {
        /// Where the parabola ends.
        #[serde(default = "one")]
        beta: f64,
    },
}

fn one() -> f64 {
    1.0
}

impl Default for LossSpec {
    fn default() -> Self {
        Self::CrossEntropy {
            label_smoothing: 0.0,
            class_weights: None,
            ignored_class: None,
        }
    }
}

impl LossSpec {
    /// The loss.
    pub fn build(&self) -> Box<dyn Loss> {
        let reduction = Reduction::Mean;
        match self {
            Self::CrossEntropy {
                label_smoothing,
                class_weights,
                ignored_class,
            } => {
                let mut loss = CrossEntropy::default();
                loss.label_smoothing = *label_smoothing;
                loss.class_weights.clone_from(class_weights);
                loss.ignored_class = *ignored_class;
                Box::new(loss)
            }
            Self::BinaryCrossEntropy {
                positive_weight,
                label_smoothing,
            } => Box::new(BinaryCrossEntropy {
                positive_weight: *positive_weight,
                label_smoothing: *label_smoothing,
                reduction,
            }),
            Self::Mse {} => Box::new(Mse { reduction }),
            Self::L1 {} => Box::new(L1 { reduction }),
            Self::Huber { delta } => Box::new(Huber {
                delta: *delta,
                reduction,
            }),
            Self::SmoothL1 { beta } => Box::new(SmoothL1 {
                beta: *beta,
                reduction,
            }),
        }
    }

    /// Whether all labels are classes, so that there is an accuracy.
    pub fn is_classification(&self) -> bool {
        matches!(
            self,
            Self::CrossEntropy {
                ignored_class: None,
                ..
            }
        )
    }
}
