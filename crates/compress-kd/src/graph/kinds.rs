//! The losses by name, with their settings.

use crate::KdError;
use crate::check;
use crate::contrast::CrdConfig;
use crate::features::{AttentionDistance, AttentionTransfer};
use crate::logits::{BinaryKdLoss, CrossEntropy, DecoupledKd, KdLoss};
use serde::{Deserialize, Serialize};

/// The losses, by the names of the array level; see there for formulas and papers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum KdTerm {
    /// Cross-entropy of the labels alone, to go with losses on features.
    #[serde(rename_all = "kebab-case")]
    CrossEntropy {
        /// `ε`, of `[0, 1]`.
        #[serde(default)]
        label_smoothing: f64,
    },
    /// [`KdLoss`](crate::logits::KdLoss); without labels the divergence alone.
    #[serde(rename_all = "kebab-case")]
    Kd {
        /// `α`, the teacher's share.
        #[serde(default = "alpha")]
        alpha: f64,
        /// `T`.
        #[serde(default = "four")]
        temperature: f64,
        /// `ε`, of `[0, 1]`.
        #[serde(default)]
        label_smoothing: f64,
    },
    /// [`kl_divergence`](crate::logits::kl_divergence).
    Kl {
        /// `T`.
        #[serde(default = "four")]
        temperature: f64,
    },
    /// [`reverse_kl_divergence`](crate::logits::reverse_kl_divergence).
    ReverseKl {
        /// `T`.
        #[serde(default = "four")]
        temperature: f64,
    },
    /// [`logit_regression`](crate::logits::logit_regression), also of embeddings `[n, d]`.
    Regression {},
    /// [`DecoupledKd`](crate::logits::DecoupledKd).
    Dkd {
        /// `α`.
        #[serde(default = "unit")]
        alpha: f64,
        /// `β`.
        #[serde(default = "eight")]
        beta: f64,
        /// `T`.
        #[serde(default = "four")]
        temperature: f64,
    },
    /// [`BinaryKdLoss`](crate::logits::BinaryKdLoss) of labels that do not exclude one another, `[n, c]` of 0 and 1; without labels the
    /// divergence alone. A last sigmoid is looked through, and no loss of classes goes beside it.
    #[serde(rename_all = "kebab-case")]
    BinaryKd {
        /// `α`, the teacher's share.
        #[serde(default = "half")]
        alpha: f64,
        /// `T`.
        #[serde(default = "unit")]
        temperature: f64,
        /// `v`, one for each label; 1 unless given.
        #[serde(default)]
        positive_weights: Option<Vec<f64>>,
    },
    /// [`Crd`](crate::contrast::Crd) of samples by their place in the data that are learned from. Features of both networks, vectors or the
    /// means of images over their places, go through linear layers of their own, which are trained along and left behind. Negatives are of
    /// other classes where the labels are classes, and all other samples where there are none. Held-out samples have no memory: on them
    /// the term is 0.
    Crd {
        /// `d`, numbers of an embedding.
        #[serde(default = "embedding")]
        dimensions: usize,
        /// `N`, but no more than there are samples.
        #[serde(default = "negatives")]
        negatives: usize,
        /// `τ`.
        #[serde(default = "sharp")]
        temperature: f64,
        /// `m`, how much of a memory stays in each step.
        #[serde(default = "half")]
        momentum: f64,
    },
    /// [`hint`](crate::features::hint) (FitNets), through a learned projection where the channels are not as many.
    Hint {},
    /// [`AttentionTransfer`](crate::features::AttentionTransfer) of images.
    Attention {
        /// `p` of the map.
        #[serde(default = "two")]
        power: f64,
    },
    /// [`cosine_embedding`](crate::features::cosine_embedding) of vectors, or of the tokens that count.
    Cosine {},
    /// [`rkd_distance`](crate::relations::rkd_distance).
    RkdDistance {},
    /// [`rkd_angle`](crate::relations::rkd_angle).
    RkdAngle {},
    /// [`similarity_preserving`](crate::relations::similarity_preserving).
    Similarity {},
    /// [`CorrelationCongruence`](crate::relations::CorrelationCongruence).
    Correlation {
        /// `γ` of the Gaussian kernel; 0 for the bilinear one.
        #[serde(default = "gamma")]
        gamma: f64,
    },
    /// [`probabilistic_transfer`](crate::relations::probabilistic_transfer).
    Pkt {},
    /// [`Relations::attention`](crate::transformer::Relations::attention) of queries and keys (MiniLM): taps in pairs.
    QueryKey {
        /// `A`.
        heads: usize,
    },
    /// [`Relations::within`](crate::transformer::Relations::within) of values, or of queries or keys with themselves (MiniLMv2).
    Relation {
        /// `A`.
        heads: usize,
    },
    /// [`attention_divergence`](crate::transformer::attention_divergence) of scores before their softmax.
    AttentionDivergence {},
    /// [`attention_regression`](crate::transformer::attention_regression) of such scores (TinyBERT).
    AttentionRegression {},
    /// [`hidden_state`](crate::transformer::hidden_state) (TinyBERT), through a learned projection where the widths differ.
    HiddenState {},
    /// [`SelfDistillation`](crate::teachers::SelfDistillation): outputs of the student, the deepest last, teach one another.
    #[serde(rename_all = "kebab-case")]
    Exits {
        /// The outputs, shallow to deep.
        outputs: Vec<String>,
        /// `α`.
        #[serde(default = "alpha")]
        alpha: f64,
        /// `T`.
        #[serde(default = "four")]
        temperature: f64,
        /// One weight for each; 1 unless given.
        #[serde(default)]
        weights: Option<Vec<f64>>,
    },
}

fn alpha() -> f64 {
    0.9
}

fn unit() -> f64 {
    1.0
}

fn half() -> f64 {
    0.5
}

fn embedding() -> usize {
    128
}

fn negatives() -> usize {
    CrdConfig::default().negatives
}

fn sharp() -> f64 {
    CrdConfig::default().temperature
}

fn two() -> f64 {
    2.0
}

fn four() -> f64 {
    4.0
}

fn eight() -> f64 {
    8.0
}

fn gamma() -> f64 {
    0.4
}

impl Default for KdTerm {
    fn default() -> Self {
        Self::kd(alpha(), four())
    }
}

impl KdTerm {
    /// The mixed loss with these settings.
    pub fn kd(alpha: f64, temperature: f64) -> Self {
        Self::Kd {
            alpha,
            temperature,
            label_smoothing: 0.0,
        }
    }

    /// Contrast with the settings of its authors.
    pub fn crd() -> Self {
        Self::Crd {
            dimensions: embedding(),
            negatives: negatives(),
            temperature: sharp(),
            momentum: half(),
        }
    }

    /// The mixed loss of labels that do not exclude one another, with these settings.
    pub fn binary_kd(alpha: f64, temperature: f64) -> Self {
        Self::BinaryKd {
            alpha,
            temperature,
            positive_weights: None,
        }
    }

    /// The name, as recipes have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CrossEntropy { .. } => "cross-entropy",
            Self::Kd { .. } => "kd",
            Self::Kl { .. } => "kl",
            Self::ReverseKl { .. } => "reverse-kl",
            Self::Regression {} => "regression",
            Self::Dkd { .. } => "dkd",
            Self::BinaryKd { .. } => "binary-kd",
            Self::Crd { .. } => "crd",
            Self::Hint {} => "hint",
            Self::Attention { .. } => "attention",
            Self::Cosine {} => "cosine",
            Self::RkdDistance {} => "rkd-distance",
            Self::RkdAngle {} => "rkd-angle",
            Self::Similarity {} => "similarity",
            Self::Correlation { .. } => "correlation",
            Self::Pkt {} => "pkt",
            Self::QueryKey { .. } => "query-key",
            Self::Relation { .. } => "relation",
            Self::AttentionDivergence {} => "attention-divergence",
            Self::AttentionRegression {} => "attention-regression",
            Self::HiddenState {} => "hidden-state",
            Self::Exits { .. } => "exits",
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`KdError::Setting`], [`KdError::Length`].
    pub fn validate(&self) -> Result<(), KdError> {
        // None of them has settings of single classes.
        const ANY: usize = 1;
        match self {
            Self::CrossEntropy { label_smoothing } => CrossEntropy::default()
                .with_label_smoothing(*label_smoothing)
                .validate(ANY),
            Self::Kd {
                alpha,
                temperature,
                label_smoothing,
            } => {
                let ce = CrossEntropy::default().with_label_smoothing(*label_smoothing);
                let loss = KdLoss::new(*alpha, *temperature).with_cross_entropy(ce);
                loss.validate(ANY)
            }
            Self::Kl { temperature } | Self::ReverseKl { temperature } => {
                check::temperature(*temperature)
            }
            Self::Dkd {
                alpha,
                beta,
                temperature,
            } => DecoupledKd::new(*alpha, *beta, *temperature).validate(),
            Self::BinaryKd {
                alpha,
                temperature,
                positive_weights,
            } => {
                let labels = positive_weights.as_ref().map_or(ANY, Vec::len);
                let mut loss = BinaryKdLoss::new(*alpha, *temperature);
                loss.positive_weights.clone_from(positive_weights);
                loss.validate(labels)
            }
            Self::Crd { dimensions, .. } => {
                let rule = "it must be at least 1";
                let what = "the dimensions of an embedding";
                check::setting(what, *dimensions as f64, |d| d >= 1.0, rule)?;
                self.contrast().validate()
            }
            Self::Attention { power } => {
                let distance = AttentionDistance::SquaredMean;
                AttentionTransfer::new(*power, distance).validate()
            }
            Self::Correlation { gamma } => check::weight("gamma", *gamma),
            Self::QueryKey { heads } | Self::Relation { heads } => check::setting(
                "the number of heads",
                *heads as f64,
                |heads| heads >= 1.0,
                "it must be at least 1",
            ),
            Self::Exits {
                outputs,
                alpha,
                temperature,
                weights,
            } => {
                if let Some(weights) = weights {
                    check::length("weights of exits", weights.len(), outputs.len())?;
                }
                KdLoss::new(*alpha, *temperature).validate(ANY)
            }
            _ => Ok(()),
        }
    }

    /// The settings of contrast.
    pub(super) fn contrast(&self) -> CrdConfig {
        let config = CrdConfig::default();
        match self {
            Self::Crd {
                negatives,
                temperature,
                momentum,
                ..
            } => config
                .with_negatives(*negatives)
                .with_temperature(*temperature)
                .with_momentum(*momentum),
            _ => config,
        }
    }

    /// Whether it looks at labels, where there are some.
    pub(super) fn looks_at_labels(&self) -> bool {
        self.needs_labels() || matches!(self, Self::Kd { .. } | Self::BinaryKd { .. })
    }

    /// Whether it is a loss of classes that exclude one another.
    pub(super) fn is_of_classes(&self) -> bool {
        self.needs_labels()
            || matches!(
                self,
                Self::Kd { .. } | Self::Kl { .. } | Self::ReverseKl { .. }
            )
    }

    /// Whether it cannot do without labels.
    pub(super) fn needs_labels(&self) -> bool {
        matches!(
            self,
            Self::CrossEntropy { .. } | Self::Dkd { .. } | Self::Exits { .. }
        )
    }

    /// Whether it looks at a teacher.
    pub(super) fn has_teacher(&self) -> bool {
        !matches!(self, Self::CrossEntropy { .. } | Self::Exits { .. })
    }

    /// Whether it is a function of logits, so that several teachers become one.
    pub(super) fn is_on_logits(&self) -> bool {
        matches!(
            self,
            Self::Kd { .. }
                | Self::Kl { .. }
                | Self::ReverseKl { .. }
                | Self::Dkd { .. }
                | Self::BinaryKd { .. }
                | Self::Regression {}
        )
    }

    /// Whether it has a value on samples that are held out.
    pub(super) fn is_of_held_out(&self) -> bool {
        !matches!(self, Self::Crd { .. })
    }

    /// Whether the student's features go through a learned projection where the teacher's are wider.
    pub(super) fn projects(&self) -> bool {
        matches!(self, Self::Hint {} | Self::HiddenState {})
    }
}
