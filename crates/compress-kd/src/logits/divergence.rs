//! KL divergence of softened distributions, in both directions.

use super::{STUDENT, TEACHER, sum_of_rows};
use crate::KdError;
use crate::check;
use crate::softmax::{self, Distribution};
use ndarray::{Array2, ArrayRef2};
use num_traits::Float;

/// `T²/n · Σ KL(σ(z_T/T) ‖ σ(z_S/T))`: the student covers what the teacher gives weight to.
///
/// Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network" (arXiv:1503.02531), sec. 2; mean over the
/// batch, times `T²`, which keeps the gradient of one size over temperatures. The gradient by `z_S` is
/// `T/n · (σ(z_S/T) - σ(z_T/T))`. Constants added to the logits of a sample change nothing. As `T` grows the loss becomes
/// that of matched logits, `1/(2nc) · Σ ((z_S - mean z_S) - (z_T - mean z_T))²` (sec. 2.1 there).
///
/// # Shapes
/// `student`, `teacher`: `[n, c]`, finite.
///
/// # Errors
/// [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Setting`] for a temperature that is not positive,
/// [`KdError::Overflow`].
///
/// # Examples
/// ```
/// use compress_kd::logits::kl_divergence;
/// use ndarray::arr2;
/// let student = arr2(&[[0.0, 0.0]]); // both classes at 1/2
/// let teacher = arr2(&[[3f64.ln(), 0.0]]); // 3/4 and 1/4
/// let (value, gradient) = kl_divergence(&student, &teacher, 1.0)?;
/// assert!((value - (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln())).abs() < 1e-15);
/// assert!((gradient[[0, 0]] + 0.25).abs() < 1e-15 && (gradient[[0, 1]] - 0.25).abs() < 1e-15);
/// # Ok::<(), compress_kd::KdError>(())
/// ```
pub fn kl_divergence<F: Float>(
    student: &ArrayRef2<F>,
    teacher: &ArrayRef2<F>,
    temperature: f64,
) -> Result<(f64, Array2<F>), KdError> {
    of_rows(student, teacher, temperature, softmax::forward_kl)
}

/// `T²/n · Σ KL(σ(z_S/T) ‖ σ(z_T/T))`: the student gives weight only to what the teacher does.
///
/// The reverse of [`kl_divergence`], used where a student is too small to cover its teacher (Gu et al. 2023, "MiniLLM",
/// arXiv:2306.08543, sec. 2.1); mean over the batch, times `T²` as there. With `q = σ(z_S/T)`, `p = σ(z_T/T)` the gradient by
/// `z_S` is `T/n · q (log q - log p - KL(q ‖ p))`.
///
/// Shapes and errors as for [`kl_divergence`].
///
/// # Errors
/// Those of [`kl_divergence`].
pub fn reverse_kl_divergence<F: Float>(
    student: &ArrayRef2<F>,
    teacher: &ArrayRef2<F>,
    temperature: f64,
) -> Result<(f64, Array2<F>), KdError> {
    of_rows(student, teacher, temperature, softmax::reverse_kl)
}

fn of_rows<F: Float>(
    student: &ArrayRef2<F>,
    teacher: &ArrayRef2<F>,
    temperature: f64,
    divergence: fn(&Distribution, &Distribution, f64, &mut [f64]) -> f64,
) -> Result<(f64, Array2<F>), KdError> {
    check::temperature(temperature)?;
    check::alike((STUDENT, student), (TEACHER, teacher))?;
    let per_sample = temperature * temperature / student.nrows() as f64;
    let (mut q, mut p) = (Distribution::default(), Distribution::default());
    sum_of_rows(student, |index, row, gradient| {
        q.fill(row, temperature);
        p.fill(teacher.row(index), temperature);
        per_sample * divergence(&q, &p, per_sample / temperature, gradient)
    })
}
