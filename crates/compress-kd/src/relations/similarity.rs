//! Similarity-preserving distillation.

use super::{Batch, graded};
use crate::KdError;
use crate::rows;
use ndarray::{Array, ArrayRef, Dimension};
use num_traits::Float;

/// `1/b² · ‖G_T - G_S‖_F²` of the normalized similarities of the batch.
///
/// Tung, Mori 2019, "Similarity-preserving knowledge distillation" (arXiv:1907.09682), sec. 3: `G̃ = Q Q'` of the
/// activations `Q` `[b, chw]`, each row of `G̃` divided by its length; mean over the `b²` pairs. Rotating the features and
/// scaling them all changes nothing. A sample of zeros has a row of zeros, whose gradient is zero.
///
/// # Shapes
/// `student` `[b, …]`, `teacher` `[b, …]`, finite.
///
/// # Errors
/// [`KdError::Shape`], [`KdError::Rank`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Overflow`].
pub fn similarity_preserving<F: Float, D: Dimension, E: Dimension>(
    student: &ArrayRef<F, D>,
    teacher: &ArrayRef<F, E>,
) -> Result<(f64, Array<F, D>), KdError> {
    let batch = Batch::of(student, teacher)?;
    let pairs = (batch.student.nrows() * batch.student.nrows()) as f64;
    let q = &batch.student;
    let (ours, lengths) = rows::unit(q.dot(&q.t()));
    let (theirs, _) = rows::unit(batch.teacher.dot(&batch.teacher.t()));
    let mut by_similarity = &ours - &theirs;
    let value = by_similarity.iter().map(|d| d * d).sum::<f64>() / pairs;
    by_similarity.mapv_inplace(|d| 2.0 * d / pairs);
    rows::through_unit(&ours, &lengths, &mut by_similarity);
    let both = &by_similarity + &by_similarity.t();
    graded(student, value, &both.dot(q))
}
