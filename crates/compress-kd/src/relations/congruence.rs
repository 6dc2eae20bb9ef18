//! Correlation congruence.

use super::{Batch, graded};
use crate::KdError;
use crate::check;
use ndarray::{Array, Array2, ArrayRef, Axis, Dimension};
use num_traits::Float;

/// How two samples are correlated.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum CorrelationKernel {
    /// `k(x, y) = x'y`.
    Bilinear,
    /// `k(x, y) = exp(-γ ‖x - y‖²)` with this `γ`, positive.
    Gaussian(f64),
}

/// `1/n² · Σ_(i,j) (k(f_S,i, f_S,j) - k(f_T,i, f_T,j))²`: the correlations of the samples are the same for both.
///
/// Peng et al. 2019, "Correlation congruence for knowledge distillation" (arXiv:1904.01802), sec. 3; mean over the `n²`
/// pairs. The Gaussian kernel is computed as it stands, not by the paper's Taylor series, which holds for features of length 1
/// only.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CorrelationCongruence {
    /// `k`.
    pub kernel: CorrelationKernel,
}

impl Default for CorrelationCongruence {
    /// The Gaussian kernel with `γ = 0.4`.
    fn default() -> Self {
        Self::new(CorrelationKernel::Gaussian(0.4))
    }
}

impl CorrelationCongruence {
    /// With this kernel.
    pub fn new(kernel: CorrelationKernel) -> Self {
        Self { kernel }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`KdError::Setting`].
    pub fn validate(&self) -> Result<(), KdError> {
        match self.kernel {
            CorrelationKernel::Bilinear => Ok(()),
            CorrelationKernel::Gaussian(gamma) => {
                let holds = |g: f64| g > 0.0 && g.is_finite();
                check::setting("gamma", gamma, holds, "it must be positive and finite")
            }
        }
    }

    /// Value and gradient.
    ///
    /// # Shapes
    /// `student` `[n, …]`, `teacher` `[n, …]`, finite.
    ///
    /// # Errors
    /// [`KdError::Shape`], [`KdError::Rank`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Setting`],
    /// [`KdError::Overflow`].
    pub fn loss<F: Float, D: Dimension, E: Dimension>(
        &self,
        student: &ArrayRef<F, D>,
        teacher: &ArrayRef<F, E>,
    ) -> Result<(f64, Array<F, D>), KdError> {
        self.validate()?;
        let batch = Batch::of(student, teacher)?;
        let pairs = (batch.student.nrows() * batch.student.nrows()) as f64;
        let x = &batch.student;
        let ours = self.correlations(x);
        let mut by_kernel = &ours - &self.correlations(&batch.teacher);
        let value = by_kernel.iter().map(|d| d * d).sum::<f64>() / pairs;
        by_kernel.mapv_inplace(|d| 2.0 * d / pairs);
        let gradient = match self.kernel {
            CorrelationKernel::Bilinear => 2.0 * by_kernel.dot(x),
            CorrelationKernel::Gaussian(gamma) => {
                // ∂k/∂x = -2γ k (x - y), once as x and once as y.
                let weights = -4.0 * gamma * by_kernel * &ours;
                let sums = weights.sum_axis(Axis(1)).insert_axis(Axis(1));
                x * &sums - weights.dot(x)
            }
        };
        graded(student, value, &gradient)
    }

    fn correlations(&self, x: &Array2<f64>) -> Array2<f64> {
        match self.kernel {
            CorrelationKernel::Bilinear => x.dot(&x.t()),
            CorrelationKernel::Gaussian(gamma) => {
                let n = x.nrows();
                let squared = |i: usize, j: usize| {
                    let both = x.row(i).into_iter().zip(x.row(j));
                    both.map(|(a, b)| (a - b) * (a - b)).sum::<f64>()
                };
                Array2::from_shape_fn((n, n), |(i, j)| (-gamma * squared(i, j)).exp())
            }
        }
    }
}
