//! Distillation as data.

use super::error::DistillError;
use super::kinds::KdTerm;
use compress_train::loss::Scores;
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
    /// What errors call the teachers, as their files; `the teacher`, or `teacher 0` and so on, unless given.
    #[serde(skip)]
    pub teacher_names: Vec<String>,
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
            teacher_names: Vec::new(),
        }
    }

    /// What errors call a teacher of so many.
    pub(super) fn teacher_name(&self, number: usize, count: usize) -> String {
        match self.teacher_names.get(number) {
            Some(name) => name.clone(),
            None if count == 1 => "the teacher".to_owned(),
            None => format!("teacher {number}"),
        }
    }

    /// The scores that the losses look at: those before a sigmoid where labels do not exclude one another.
    pub(super) fn scores(&self) -> Scores {
        let mut terms = self.losses.iter().map(|term| &term.loss);
        match terms.any(|loss| matches!(loss, KdTerm::BinaryKd { .. })) {
            true => Scores::BeforeSigmoid,
            false => Scores::BeforeSoftmax,
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
    /// The tensors of student and teacher that it looks at, by name; their first outputs unless given. The term is the sum over the pairs.
    /// Losses on logits look through a last softmax, and all losses on outputs that are not given do; tensors that are given to losses on
    /// features are taken as they are.
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
