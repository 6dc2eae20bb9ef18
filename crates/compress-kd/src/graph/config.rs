//! Distillation as data.

use super::error::DistillError;
use crate::KdError;
use crate::check;
use crate::features::{AttentionDistance, AttentionTransfer};
use crate::logits::{CrossEntropy, DecoupledKd, KdLoss};
use compress_train::trainer::TrainerConfig;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What a student learns from, and how.
///
/// # Examples
/// Logits and a hidden layer, whose teacher has more channels (a projection is trained along):
/// ```
/// use compress_kd::graph::{KdConfig, KdTerm, LossTerm};
/// let mut config = KdConfig::new([LossTerm::new(KdTerm::kd(0.9, 4.0))]);
/// config.losses.push(LossTerm::new(KdTerm::Hint {}).weighted(0.1).with_tap("relu3", "relu7"));
/// config.trainer.epochs = 20;
/// assert_eq!(config.losses[1].taps[0].to_string(), "relu3=relu7");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct KdConfig {
    /// The terms of the loss, which is their weighted sum.
    pub losses: Vec<LossTerm>,
    /// When the teachers run.
    pub teacher_runs: TeacherRuns,
    /// How the logits of several teachers become one's.
    pub ensemble: Ensemble,
    /// The field of the data that says which tokens count (1) and which do not (0), as the attention mask of a sentence; all unless given.
    pub mask: Option<String>,
    /// The field that holds the labels; the first one that feeds no input unless given.
    pub labels: Option<String>,
    /// Settings of the run.
    pub trainer: TrainerConfig,
}

impl Default for KdConfig {
    /// The mixed loss of labels and logits.
    fn default() -> Self {
        Self::new([LossTerm::default()])
    }
}

impl KdConfig {
    /// With these terms.
    pub fn new(losses: impl IntoIterator<Item = LossTerm>) -> Self {
        Self {
            losses: losses.into_iter().collect(),
            teacher_runs: TeacherRuns::default(),
            ensemble: Ensemble::default(),
            mask: None,
            labels: None,
            trainer: TrainerConfig::default(),
        }
    }
}

/// One term of the loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct LossTerm {
    /// What it is.
    pub loss: KdTerm,
    /// What it is multiplied with; 1 unless given.
    pub weight: Weight,
    /// The tensors of student and teacher that it looks at, by name; their first outputs unless given. The term is the sum over the pairs. A
    /// last softmax is looked through on both sides.
    pub taps: Vec<Tap>,
    /// How tokens become one vector for each sample first.
    pub pool: Pooling,
    /// The teacher that features are taken of, from 0; losses on logits look at all.
    pub teacher: usize,
}

/// A factor, 1 by default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(pub f64);

impl Default for Weight {
    fn default() -> Self {
        Self(1.0)
    }
}

impl LossTerm {
    /// With weight 1, on the outputs.
    pub fn new(loss: KdTerm) -> Self {
        Self {
            loss,
            ..Self::default()
        }
    }

    /// The same with a weight.
    #[must_use]
    pub fn weighted(mut self, weight: f64) -> Self {
        self.weight = Weight(weight);
        self
    }

    /// The same on one more pair of tensors.
    #[must_use]
    pub fn with_tap(mut self, student: impl Into<String>, teacher: impl Into<String>) -> Self {
        self.taps.push(Tap {
            student: student.into(),
            teacher: teacher.into(),
        });
        self
    }

    /// The same on the means of the tokens that count.
    #[must_use]
    pub fn pooled(mut self) -> Self {
        self.pool = Pooling::Mean;
        self
    }
}

/// A tensor of the student and one of the teacher, as `student=teacher`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tap {
    /// The student's tensor.
    pub student: String,
    /// The teacher's.
    pub teacher: String,
}

impl fmt::Display for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.student, self.teacher)
    }
}

impl From<Tap> for String {
    fn from(tap: Tap) -> Self {
        tap.to_string()
    }
}

impl FromStr for Tap {
    type Err = DistillError;

    fn from_str(text: &str) -> Result<Self, DistillError> {
        match text.split_once('=') {
            Some((student, teacher)) if !student.is_empty() && !teacher.is_empty() => Ok(Self {
                student: student.to_owned(),
                teacher: teacher.to_owned(),
            }),
            _ => Err(DistillError::TapText {
                text: text.to_owned(),
            }),
        }
    }
}

impl TryFrom<String> for Tap {
    type Error = DistillError;

    fn try_from(text: String) -> Result<Self, DistillError> {
        text.parse()
    }
}

/// How the tokens `[n, l, d]` of a sample become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Pooling {
    /// They stay.
    #[default]
    None,
    /// The mean of those that count, as sentence encoders have it.
    Mean,
}

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

    /// The name, as recipes have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CrossEntropy { .. } => "cross-entropy",
            Self::Kd { .. } => "kd",
            Self::Kl { .. } => "kl",
            Self::ReverseKl { .. } => "reverse-kl",
            Self::Regression {} => "regression",
            Self::Dkd { .. } => "dkd",
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
                | Self::Regression {}
        )
    }

    /// Whether the student's features go through a learned projection where the teacher's are wider.
    pub(super) fn projects(&self) -> bool {
        matches!(self, Self::Hint {} | Self::HiddenState {})
    }
}

/// When the teachers run.
///
/// Once, and what they say is kept, or again for each batch, which augmentation needs: the teacher then sees the image as it was
/// changed. Both are the same function of the sample, but a kernel may round a batch of another size in another way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum TeacherRuns {
    /// Once, in memory, where nothing changes the samples from epoch to epoch and all fits; again for each batch where not. The report says
    /// which, and why.
    Auto {
        /// The most bytes to keep; 1 GiB unless given.
        #[serde(default = "gibibyte")]
        bytes: u64,
    },
    /// For each batch, beside the computation.
    OnTheFly {},
    /// Once, in memory.
    Memory {
        /// The most bytes to keep; 1 GiB unless given.
        #[serde(default = "gibibyte")]
        bytes: u64,
    },
    /// Once, in `.npy` files that are mapped; they are written anew by each run.
    Folder {
        /// The folder, which is made where it is not there.
        path: PathBuf,
    },
}

fn gibibyte() -> u64 {
    1 << 30
}

impl Default for TeacherRuns {
    fn default() -> Self {
        Self::Auto { bytes: gibibyte() }
    }
}

/// How the logits of several teachers become one's: [`ensemble`](crate::teachers::ensemble).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Ensemble {
    /// Whether the logits are averaged, not the distributions.
    pub geometric: bool,
    /// One weight for each teacher; equal ones unless given.
    pub weights: Option<Vec<f64>>,
}
