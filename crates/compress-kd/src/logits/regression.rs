//! Regression on logits.

use super::{STUDENT, TEACHER};
use crate::KdError;
use crate::check;
use crate::element::{narrow, wide};
use ndarray::{Array2, ArrayRef2, Zip};
use num_traits::Float;

/// `1/(2n) · Σ ‖z_S - z_T‖²`: the student's logits become the teacher's.
///
/// Ba, Caruana 2014, "Do deep nets really need to be deep?" (arXiv:1312.6184), sec. 2: sum over the classes, mean over the
/// batch, halved. The gradient by `z_S` is `(z_S - z_T)/n`. `2/c` times the value is the mean squared error over all elements.
///
/// # Shapes
/// `student`, `teacher`: `[n, c]`, finite.
///
/// # Errors
/// [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Overflow`].
pub fn logit_regression<F: Float>(
    student: &ArrayRef2<F>,
    teacher: &ArrayRef2<F>,
) -> Result<(f64, Array2<F>), KdError> {
    check::alike((STUDENT, student), (TEACHER, teacher))?;
    let n = student.nrows() as f64;
    let mut sum = 0.0;
    let gradient = Zip::from(student).and(teacher).map_collect(|&s, &t| {
        let difference = wide(s) - wide(t);
        sum += difference * difference;
        narrow(difference / n)
    });
    Ok((check::value(sum / (2.0 * n))?, check::gradient(gradient)?))
}
