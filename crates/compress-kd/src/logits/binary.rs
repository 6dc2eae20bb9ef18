//! The mixed loss where labels do not exclude one another.

use super::{STUDENT, TEACHER, sum_of_rows};
use crate::KdError;
use crate::check;
use crate::element::wide;
use crate::softmax::{sigmoid, softplus};
use ndarray::{Array2, ArrayRef2};
use num_traits::Float;

/// `L = (1-α) · BCE(z_S, y) + α · T² · KL(B(s(z_T/T)) ‖ B(s(z_S/T)))` with the logistic function `s` and Bernoulli
/// distributions `B`, one for each label.
///
/// The loss of [`KdLoss`](super::KdLoss) with each label a two-class problem of its own (Yang et al. 2023, "Multi-label knowledge
/// distillation", arXiv:2308.06453); mean over all `n·c` elements, as PyTorch's `BCEWithLogitsLoss`.
/// `BCE = -v y log s(z) - (1-y) log(1 - s(z))` with the positive weight `v` of the label. The gradient by `z_S` is
/// `1/(nc) · ((1-α) ((1-y) s(z_S) - v y (1 - s(z_S))) + α T (s(z_S/T) - s(z_T/T)))`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BinaryKdLoss {
    /// `α`: the teacher's share; 0 to 1.
    pub alpha: f64,
    /// `T`: positive.
    pub temperature: f64,
    /// `v`: one weight per label for where it holds, none negative; all 1 if there are none.
    pub positive_weights: Option<Vec<f64>>,
}

impl Default for BinaryKdLoss {
    /// `α = 0.5`, `T = 1`, no weights.
    fn default() -> Self {
        Self::new(0.5, 1.0)
    }
}

impl BinaryKdLoss {
    /// Without positive weights.
    pub fn new(alpha: f64, temperature: f64) -> Self {
        Self {
            alpha,
            temperature,
            positive_weights: None,
        }
    }

    /// With one weight per label for where it holds.
    #[must_use]
    pub fn with_positive_weights(mut self, weights: Vec<f64>) -> Self {
        self.positive_weights = Some(weights);
        self
    }

    /// Checks the settings for `labels` labels.
    ///
    /// # Errors
    /// [`KdError::Setting`], [`KdError::Length`] for another number of weights.
    pub fn validate(&self, labels: usize) -> Result<(), KdError> {
        check::share("alpha", self.alpha)?;
        check::temperature(self.temperature)?;
        if let Some(weights) = &self.positive_weights {
            check::length("positive weights", weights.len(), labels)?;
        }
        let mut weights = self.positive_weights.iter().flatten();
        weights.try_for_each(|&w| check::weight("a positive weight", w))
    }

    /// Value and gradient.
    ///
    /// # Shapes
    /// `student`, `teacher` `[n, c]`, finite; `targets` `[n, c]` in [0, 1].
    ///
    /// # Errors
    /// [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::NotAProbability`], those of
    /// [`BinaryKdLoss::validate`], [`KdError::Overflow`].
    pub fn loss<F: Float>(
        &self,
        student: &ArrayRef2<F>,
        teacher: &ArrayRef2<F>,
        targets: &ArrayRef2<F>,
    ) -> Result<(f64, Array2<F>), KdError> {
        check::alike((STUDENT, student), (TEACHER, teacher))?;
        check::shape("the targets", targets.shape(), STUDENT, student.shape())?;
        check::probabilities("the targets", targets)?;
        self.validate(student.ncols())?;
        let scale = 1.0 / student.len() as f64;
        sum_of_rows(student, |index, row, gradient| {
            let others = teacher.row(index).into_iter().zip(targets.row(index));
            let mut value = 0.0;
            for (label, (&s, (&t, &y))) in row.iter().zip(others).enumerate() {
                let (term, slope) = self.of_element(label, wide(s), wide(t), wide(y));
                value += scale * term;
                gradient[label] = scale * slope;
            }
            value
        })
    }

    fn of_element(&self, label: usize, s: f64, t: f64, y: f64) -> (f64, f64) {
        let positive = self.positive_weights.as_ref().map_or(1.0, |w| w[label]);
        let hard = positive * y * softplus(-s) + (1.0 - y) * softplus(s);
        let hard_slope = (1.0 - y) * sigmoid(s) - positive * y * sigmoid(-s);
        let (s, t) = (s / self.temperature, t / self.temperature);
        let soft = bernoulli_kl(t, s);
        let soft_slope = sigmoid(s) - sigmoid(t);
        let share = self.alpha * self.temperature;
        (
            (1.0 - self.alpha) * hard + share * self.temperature * soft,
            (1.0 - self.alpha) * hard_slope + share * soft_slope,
        )
    }
}

/// `KL(B(s(p)) ‖ B(s(q)))` of logits.
pub(super) fn bernoulli_kl(p: f64, q: f64) -> f64 {
    let yes = sigmoid(p) * (softplus(-q) - softplus(-p));
    let no = sigmoid(-p) * (softplus(q) - softplus(p));
    (yes + no).max(0.0)
}
