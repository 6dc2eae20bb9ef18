//! RKD: the angles between samples.

use super::{Batch, graded, huber};
use crate::KdError;
use crate::rows;
use ndarray::{Array, Array2, ArrayRef, Dimension};
use num_traits::Float;

/// `1/n³ · Σ_(i,j,k) l_δ(ψ_A(t_i, t_j, t_k), ψ_A(s_i, s_j, s_k))`: the angles of all triples.
///
/// Park et al. 2019, "Relational knowledge distillation" (arXiv:1904.05068), sec. 3.2:
/// `ψ_A(x_i, x_j, x_k) = cos ∠ x_i x_j x_k = ⟨e_ij, e_kj⟩` with `e_ij = (x_i - x_j)/‖x_i - x_j‖`; `l_δ` is Huber's loss with
/// threshold 1. Mean over all `n³` triples, as in the authors' code. Rotating, moving and scaling the features changes
/// nothing. Two samples that are the same have `e = 0`, whose gradient is zero.
///
/// Costs O(n³·d), in matrix products, and holds O(n² + n·d) numbers.
///
/// # Shapes
/// `student` `[n, …]`, `teacher` `[n, …]`, finite.
///
/// # Errors
/// [`KdError::Shape`], [`KdError::Rank`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Overflow`].
pub fn rkd_angle<F: Float, D: Dimension, E: Dimension>(
    student: &ArrayRef<F, D>,
    teacher: &ArrayRef<F, E>,
) -> Result<(f64, Array<F, D>), KdError> {
    let batch = Batch::of(student, teacher)?;
    let n = batch.student.nrows();
    let share = 1.0 / (n * n * n) as f64;
    let mut value = 0.0;
    let mut gradient = Array2::zeros(batch.student.raw_dim());
    for vertex in 0..n {
        let (ours, lengths) = directions(&batch.student, vertex);
        let (theirs, _) = directions(&batch.teacher, vertex);
        let mut angles = ours.dot(&ours.t());
        // The angles become the slopes of the loss by them.
        angles.zip_mut_with(&theirs.dot(&theirs.t()), |angle, target| {
            let (term, slope) = huber(*angle - target);
            value += share * term;
            *angle = share * slope;
        });
        // The slopes are symmetric: each direction stands on both sides of its angles.
        let mut by_sample = 2.0 * angles.dot(&ours);
        rows::through_unit(&ours, &lengths, &mut by_sample);
        for g in by_sample.rows() {
            let mut at_vertex = gradient.row_mut(vertex);
            at_vertex -= &g;
        }
        gradient += &by_sample;
    }
    graded(student, value, &gradient)
}

/// `e_ij` of all samples `i` from the vertex `j`, and `‖x_i - x_j‖`.
fn directions(samples: &Array2<f64>, vertex: usize) -> (Array2<f64>, Vec<f64>) {
    rows::unit(samples - &samples.row(vertex))
}
