//! Hints: features of a hidden layer.

use super::{Projected, Projection, Residual};
use crate::KdError;
use ndarray::{ArrayRef, Axis, Dimension};
use num_traits::Float;

/// `1/(2n) · Σ ‖r(v_S) - v_T‖²`: a hidden layer of the student, through a regressor `r`, becomes the teacher's.
///
/// Romero et al. 2015, "FitNets: hints for thin deep nets" (arXiv:1412.6550), eq. 3: sum over channels and places, mean over the
/// batch, halved. `r` is a [`Projection`] that is trained too, or nothing. Divide by half the elements of a teacher's sample
/// for the mean squared error that much code uses instead.
///
/// # Shapes
/// `student` `[n, …, d_S, …]` with the channels on `channel_axis` (1 for images, the last for tokens), `teacher` the same with `d_T`;
/// `projection` from `d_S` to `d_T`, or none where they are the same. All finite.
///
/// # Errors
/// [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::ChannelAxis`], [`KdError::Overflow`].
///
/// # Examples
/// ```
/// use compress_kd::features::{Projection, hint};
/// use ndarray::{Array4, Axis};
/// let student = Array4::from_elem((2, 3, 4, 4), 0.5f32);
/// let teacher = Array4::from_elem((2, 8, 4, 4), 1.0f32);
/// let regressor = Projection::random(3, 8, 0)?;
/// let (value, gradients) = hint(&student, &teacher, Axis(1), Some(&regressor))?;
/// assert!(value > 0.0);
/// assert_eq!(gradients.student.shape(), student.shape());
/// assert_eq!(gradients.projection.unwrap().weight.shape(), [8, 3]);
/// # Ok::<(), compress_kd::KdError>(())
/// ```
pub fn hint<F: Float, D: Dimension>(
    student: &ArrayRef<F, D>,
    teacher: &ArrayRef<F, D>,
    channel_axis: Axis,
    projection: Option<&Projection<F>>,
) -> Result<(f64, Projected<F, D>), KdError> {
    let residual = Residual::of(student, teacher, channel_axis, projection)?;
    residual.squares(0.5 / student.shape()[0] as f64)
}
