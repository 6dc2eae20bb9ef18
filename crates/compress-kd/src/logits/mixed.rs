//! The mixed loss of labels and a teacher.

use super::cross_entropy::{Targets, weighted};
use super::{CrossEntropy, STUDENT, TEACHER, sum_of_rows};
use crate::KdError;
use crate::check;
use crate::softmax::{self, Distribution};
use ndarray::{Array2, ArrayRef1, ArrayRef2};
use num_traits::Float;

/// `L = (1-α) · CE(z_S, y) + α · T² · KL(σ(z_T/T) ‖ σ(z_S/T))`.
///
/// Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network" (arXiv:1503.02531), sec. 2. `CE` is
/// [`CrossEntropy`] with its own reduction; the divergence is the mean over the batch, also over samples whose label is ignored,
/// so that samples without labels can take part. The gradient by `z_S` is
/// `(1-α) · ∂CE/∂z_S + α · T/n · (σ(z_S/T) - σ(z_T/T))`. `α = 0` is the cross-entropy alone, `α = 1` the divergence alone.
///
/// # Examples
/// ```
/// use compress_kd::logits::KdLoss;
/// use ndarray::{arr1, arr2};
/// let student = arr2(&[[0.1f32, 0.4, -0.2], [1.0, -1.0, 0.3]]);
/// let teacher = arr2(&[[0.0f32, 3.0, -1.0], [2.0, -1.5, 0.5]]);
/// let (value, gradient) = KdLoss::new(0.9, 4.0).loss(&student, &teacher, &arr1(&[1, 0]))?;
/// assert!(value > 0.0);
/// // The teacher and the label of the first sample ask for more of class 1.
/// assert!(gradient[[0, 1]] < 0.0 && gradient[[0, 0]] > 0.0);
/// # Ok::<(), compress_kd::KdError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KdLoss {
    /// `α`: the teacher's share; 0 to 1.
    pub alpha: f64,
    /// `T`: positive; higher ones tell more of the classes that the teacher ranks low.
    pub temperature: f64,
    /// How the labels are read.
    pub cross_entropy: CrossEntropy,
}

impl Default for KdLoss {
    /// `α = 0.9`, `T = 4` and plain cross-entropy.
    fn default() -> Self {
        Self::new(0.9, 4.0)
    }
}

impl KdLoss {
    /// With plain cross-entropy.
    pub fn new(alpha: f64, temperature: f64) -> Self {
        Self {
            alpha,
            temperature,
            cross_entropy: CrossEntropy::default(),
        }
    }

    /// With this way to read the labels.
    #[must_use]
    pub fn with_cross_entropy(mut self, cross_entropy: CrossEntropy) -> Self {
        self.cross_entropy = cross_entropy;
        self
    }

    /// Checks the settings for `classes` classes.
    ///
    /// # Errors
    /// [`KdError::Setting`] for an `α` outside of [0, 1] or a temperature that is not positive; those of
    /// [`CrossEntropy::validate`].
    pub fn validate(&self, classes: usize) -> Result<(), KdError> {
        check::share("alpha", self.alpha)?;
        check::temperature(self.temperature)?;
        self.cross_entropy.validate(classes)
    }

    /// Value and gradient with labels.
    ///
    /// # Shapes
    /// `student`, `teacher` `[n, c]`, finite; `labels` `[n]`, each below `c` or the ignored one.
    ///
    /// # Errors
    /// Those of [`KdLoss::validate`] and of [`CrossEntropy::loss`].
    pub fn loss<F: Float>(
        &self,
        student: &ArrayRef2<F>,
        teacher: &ArrayRef2<F>,
        labels: &ArrayRef1<i64>,
    ) -> Result<(f64, Array2<F>), KdError> {
        self.check(student, teacher)?;
        let targets = Targets::labels(&self.cross_entropy, labels, student.dim())?;
        self.of_rows(student, teacher, &targets)
    }

    /// Value and gradient with probabilities as targets, as mixup and label averaging make them.
    ///
    /// # Shapes
    /// `student`, `teacher` `[n, c]`, finite; `targets` `[n, c]` in [0, 1].
    ///
    /// # Errors
    /// Those of [`KdLoss::validate`] and of [`CrossEntropy::loss_soft`].
    pub fn loss_soft<F: Float>(
        &self,
        student: &ArrayRef2<F>,
        teacher: &ArrayRef2<F>,
        targets: &ArrayRef2<F>,
    ) -> Result<(f64, Array2<F>), KdError> {
        self.check(student, teacher)?;
        let targets = Targets::probabilities(&self.cross_entropy, targets, student.dim())?;
        self.of_rows(student, teacher, &targets)
    }

    fn check<F: Float>(
        &self,
        student: &ArrayRef2<F>,
        teacher: &ArrayRef2<F>,
    ) -> Result<(), KdError> {
        check::alike((STUDENT, student), (TEACHER, teacher))?;
        self.validate(student.ncols())
    }

    fn of_rows<F: Float>(
        &self,
        student: &ArrayRef2<F>,
        teacher: &ArrayRef2<F>,
        targets: &Targets<'_, F>,
    ) -> Result<(f64, Array2<F>), KdError> {
        let (n, c) = student.dim();
        let t = self.temperature;
        let per_sample = self.alpha * t * t / n as f64;
        let (mut q, mut p) = (Distribution::default(), Distribution::default());
        let mut weights = vec![0.0; c];
        sum_of_rows(student, |index, row, gradient| {
            q.fill(row, 1.0);
            targets.weights_of(index, &mut weights);
            for a in &mut weights {
                *a *= 1.0 - self.alpha;
            }
            let hard = weighted(&q, &weights, gradient);
            q.fill(row, t);
            p.fill(teacher.row(index), t);
            hard + per_sample * softmax::forward_kl(&q, &p, per_sample / t, gradient)
        })
    }
}
