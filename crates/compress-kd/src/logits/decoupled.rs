//! Decoupled knowledge distillation.

use super::binary::bernoulli_kl;
use super::{CrossEntropy, STUDENT, TEACHER, sum_of_rows};
use crate::KdError;
use crate::check;
use crate::element::wide;
use crate::logits::cross_entropy::Targets;
use crate::softmax::{self, Distribution, sigmoid};
use ndarray::{Array2, ArrayRef1, ArrayRef2, ArrayView1};
use num_traits::Float;

/// DKD: `L = T²/n · Σ (α · TCKD + β · NCKD)`.
///
/// Zhao et al. 2022, "Decoupled knowledge distillation" (arXiv:2203.08679), eq. 7. With the label `t`,
/// `TCKD = KL(b_T ‖ b_S)` of the binary distributions `b = (p_t, 1 - p_t)` of the softened probabilities `p = σ(z/T)`, and
/// `NCKD = KL(p̂_T ‖ p̂_S)` of the distributions over the other classes, `p̂_i = p_i / (1 - p_t)`. Plain distillation is
/// `TCKD + (1 - p_t of the teacher) · NCKD`. Mean over the batch, times `T²`. The divergences are computed from the logarithms of
/// the sums over the other classes, not from masked logits, and are exact also for a teacher that is sure.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DecoupledKd {
    /// `α`: the weight of the label's class; not negative.
    pub alpha: f64,
    /// `β`: the weight of the other classes; not negative.
    pub beta: f64,
    /// `T`: positive.
    pub temperature: f64,
}

impl Default for DecoupledKd {
    /// The paper's settings for CIFAR-100: `α = 1`, `β = 8`, `T = 4`.
    fn default() -> Self {
        Self::new(1.0, 8.0, 4.0)
    }
}

impl DecoupledKd {
    /// With these weights and this temperature.
    pub fn new(alpha: f64, beta: f64, temperature: f64) -> Self {
        Self {
            alpha,
            beta,
            temperature,
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`KdError::Setting`].
    pub fn validate(&self) -> Result<(), KdError> {
        check::weight("alpha", self.alpha)?;
        check::weight("beta", self.beta)?;
        check::temperature(self.temperature)
    }

    /// Value and gradient.
    ///
    /// # Shapes
    /// `student`, `teacher` `[n, c]`, `c` at least 2, finite; `labels` `[n]`, each below `c`.
    ///
    /// # Errors
    /// [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::NoSuchClass`], [`KdError::Setting`] also for a
    /// single class, [`KdError::Overflow`].
    pub fn loss<F: Float>(
        &self,
        student: &ArrayRef2<F>,
        teacher: &ArrayRef2<F>,
        labels: &ArrayRef1<i64>,
    ) -> Result<(f64, Array2<F>), KdError> {
        self.validate()?;
        check::alike((STUDENT, student), (TEACHER, teacher))?;
        let (n, c) = student.dim();
        let classes = "the number of classes";
        check::setting(
            classes,
            c as f64,
            |c| c >= 2.0,
            "there must be at least two",
        )?;
        Targets::<F>::labels(&CrossEntropy::default(), labels, (n, c))?;
        let per_sample = self.temperature * self.temperature / n as f64;
        let mut others = Others::default();
        sum_of_rows(student, |index, row, gradient| {
            let label = labels[index] as usize;
            let odds_q = without(label, row, self.temperature, &mut others.student);
            let odds_p = without(
                label,
                teacher.row(index),
                self.temperature,
                &mut others.teacher,
            );
            let scale = per_sample / self.temperature;
            per_sample * self.of_row((odds_q, odds_p), &mut others, label, scale, gradient)
        })
    }

    /// The loss of a sample, from the log-odds of its label for student and teacher and the distributions of the others.
    fn of_row(
        &self,
        (odds_q, odds_p): (f64, f64),
        others: &mut Others,
        label: usize,
        scale: f64,
        gradient: &mut [f64],
    ) -> f64 {
        let (q, p) = (&others.student, &others.teacher);
        others.gradient.clear();
        others.gradient.resize(q.p.len(), 0.0);
        let of_others = softmax::forward_kl(q, p, self.beta * scale, &mut others.gradient);
        // By the log-odds of the label, and through them by each logit.
        let by_odds = self.alpha * scale * (sigmoid(odds_q) - sigmoid(odds_p));
        let mut by_others = others.gradient.iter().zip(&q.p);
        for (class, out) in gradient.iter_mut().enumerate() {
            if class == label {
                *out = by_odds;
            } else if let Some((g, q)) = by_others.next() {
                *out = g - by_odds * q;
            }
        }
        self.alpha * bernoulli_kl(odds_p, odds_q) + self.beta * of_others
    }
}

/// The classes beside the label's.
#[derive(Default)]
struct Others {
    student: Distribution,
    teacher: Distribution,
    gradient: Vec<f64>,
}

/// The distribution over the classes beside the label's, and the log-odds of the label: `z_t - log Σ_(i≠t) exp(z_i)`.
fn without<F: Float>(
    label: usize,
    z: ArrayView1<'_, F>,
    temperature: f64,
    others: &mut Distribution,
) -> f64 {
    let softened = |class: usize| wide(z[class]) / temperature;
    let classes = (0..z.len()).filter(|&class| class != label);
    softened(label) - others.fill_from(classes.map(softened))
}
