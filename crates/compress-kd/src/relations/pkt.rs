//! Probabilistic knowledge transfer.

use super::{Batch, graded};
use crate::KdError;
use crate::rows;
use ndarray::{Array, Array2, ArrayRef, Dimension};
use num_traits::Float;

/// `1/n · Σ_i KL(p_T(·|i) ‖ p_S(·|i))`: which samples are neighbours.
///
/// Passalis, Tefas 2018, "Learning deep representations with probabilistic knowledge transfer" (arXiv:1803.10837),
/// with the cosine kernel: `p(j|i) = K_ij / Σ_(k≠i) K_ik`, `K_ij = (cos(x_i, x_j) + 1)/2 + ε`, over the samples `j ≠ i`; mean over
/// the batch. `ε = 1e-7` keeps the divergence finite where two samples are opposite. Rotating the features and scaling each
/// sample change nothing. The cosine with a sample of zeros is 0, and so is its gradient.
///
/// # Shapes
/// `student` `[n, …]`, `teacher` `[n, …]`, finite.
///
/// # Errors
/// [`KdError::Shape`], [`KdError::Rank`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Overflow`].
pub fn probabilistic_transfer<F: Float, D: Dimension, E: Dimension>(
    student: &ArrayRef<F, D>,
    teacher: &ArrayRef<F, E>,
) -> Result<(f64, Array<F, D>), KdError> {
    let batch = Batch::of(student, teacher)?;
    let n = batch.student.nrows();
    let (ours, lengths) = rows::unit(batch.student);
    let (theirs, _) = rows::unit(batch.teacher);
    let mut kernel = neighbourhood(&ours);
    let targets = neighbourhood(&theirs);
    let mut value = 0.0;
    for (i, (mut k, t)) in kernel
        .rows_mut()
        .into_iter()
        .zip(targets.rows())
        .enumerate()
    {
        let (sum_k, sum_t) = (k.sum(), t.sum());
        for (j, (k, &t)) in k.iter_mut().zip(t).enumerate() {
            if j == i {
                continue;
            }
            let (q, p) = (*k / sum_k, t / sum_t);
            value += p * (p / q).ln() / n as f64;
            // ∂KL/∂K_ij = (1 - p/q) / Σ K, and half of it by the cosine.
            *k = 0.5 * (1.0 - p / q) / (sum_k * n as f64);
        }
    }
    let both = &kernel + &kernel.t();
    let mut gradient = both.dot(&ours);
    rows::through_unit(&ours, &lengths, &mut gradient);
    graded(student, value.max(0.0), &gradient)
}

/// `K` of directions, with zeros on the diagonal.
fn neighbourhood(units: &Array2<f64>) -> Array2<f64> {
    const EPSILON: f64 = 1e-7;
    let mut kernel = units.dot(&units.t());
    kernel.mapv_inplace(|cos| (cos.clamp(-1.0, 1.0) + 1.0) / 2.0 + EPSILON);
    kernel.diag_mut().fill(0.0);
    kernel
}
