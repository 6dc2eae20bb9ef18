//! Decoupled knowledge distillation.

use super::binary::bernoulli_kl;
use super::{CrossEntropy, STUDENT, TEACHER, sum_of_rows};
use crate::KdError;
use crate::check;
use crate::logits::cross_entropy::Targets;
use crate::softmax::{self, log_sum_exp, sigmoid};
use ndarray::{Array2, ArrayRef1, ArrayRef2};
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
        let (mut s, mut t) = (vec![0.0; c], vec![0.0; c]);
        let mut others = Others::new(c);
        sum_of_rows(student, |index, row, gradient| {
            softmax::soften(row, self.temperature, &mut s);
            softmax::soften(teacher.row(index), self.temperature, &mut t);
            let label = labels[index] as usize;
            per_sample * self.of_row(&s, &t, label, per_sample, &mut others, gradient)
        })
    }

    fn of_row(
        &self,
        student: &[f64],
        teacher: &[f64],
        label: usize,
        per_sample: f64,
        others: &mut Others,
        gradient: &mut [f64],
    ) -> f64 {
        let scale = per_sample / self.temperature;
        let odds_q = others.student.fill(student, label);
        let odds_p = others.teacher.fill(teacher, label);
        others.gradient.fill(0.0);
        let (q, p) = (&others.student.0, &others.teacher.0);
        let of_others = softmax::forward_kl(q, p, self.beta * scale, &mut others.gradient);
        // By the log-odds of the label, and through them by each logit.
        let by_odds = self.alpha * scale * (sigmoid(odds_q) - sigmoid(odds_p));
        gradient[label] = by_odds;
        let places = (0..student.len()).filter(|&class| class != label);
        for (class, (g, lq)) in places.zip(others.gradient.iter().zip(q)) {
            gradient[class] = g - by_odds * lq.exp();
        }
        self.alpha * bernoulli_kl(odds_p, odds_q) + self.beta * of_others
    }
}

/// The classes beside the label's.
struct Others {
    student: Distribution,
    teacher: Distribution,
    gradient: Vec<f64>,
}

impl Others {
    fn new(classes: usize) -> Self {
        Self {
            student: Distribution(vec![0.0; classes - 1]),
            teacher: Distribution(vec![0.0; classes - 1]),
            gradient: vec![0.0; classes - 1],
        }
    }
}

/// `log p̂` of the classes beside the label's.
struct Distribution(Vec<f64>);

impl Distribution {
    /// Takes over a row of softened logits and gives back the log-odds of the label, `z_t - log Σ_(i≠t) exp(z_i)`.
    fn fill(&mut self, z: &[f64], label: usize) -> f64 {
        let (before, after) = (&z[..label], &z[label + 1..]);
        self.0[..label].copy_from_slice(before);
        self.0[label..].copy_from_slice(after);
        let sum = log_sum_exp(&self.0);
        softmax::normalize(&mut self.0);
        z[label] - sum
    }
}
