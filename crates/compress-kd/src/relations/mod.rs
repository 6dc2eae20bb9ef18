//! Losses on what holds between the samples of a batch.
//!
//! Features are `[n, …]`, at least two axes, all behind the first taken as one vector; student and teacher may differ in all but
//! `n`. Pairwise losses cost O(n²·d) and hold O(n² + n·d) numbers, RKD's angles cost O(n³·d). A batch of one sample has no
//! relations: value and gradient are 0.

mod angle;
mod congruence;
mod distance;
mod pkt;
mod similarity;

pub use angle::rkd_angle;
pub use congruence::{CorrelationCongruence, CorrelationKernel};
pub use distance::rkd_distance;
pub use pkt::probabilistic_transfer;
pub use similarity::similarity_preserving;

use crate::KdError;
use crate::check;
use crate::element::shaped_like;
use crate::features::{STUDENT, TEACHER};
use crate::rows;
use ndarray::{Array, Array2, ArrayRef, Dimension};
use num_traits::Float;

/// Features of student and teacher, a row for each sample.
struct Batch {
    student: Array2<f64>,
    teacher: Array2<f64>,
}

impl Batch {
    fn of<F: Float, D: Dimension, E: Dimension>(
        student: &ArrayRef<F, D>,
        teacher: &ArrayRef<F, E>,
    ) -> Result<Self, KdError> {
        let rows_of_student = rows::samples(STUDENT, student)?;
        let rows_of_teacher = rows::samples(TEACHER, teacher)?;
        let mut expected = teacher.shape().to_vec();
        expected[0] = rows_of_student.nrows();
        check::shape(TEACHER, teacher.shape(), STUDENT, &expected)?;
        Ok(Self {
            student: rows_of_student,
            teacher: rows_of_teacher,
        })
    }
}

/// A value and its gradient in the shape of the student's features.
fn graded<F: Float, D: Dimension>(
    student: &ArrayRef<F, D>,
    value: f64,
    gradient: &Array2<f64>,
) -> Result<(f64, Array<F, D>), KdError> {
    let gradient = shaped_like(student, gradient);
    Ok((check::value(value)?, check::gradient(gradient)?))
}

/// Huber's function with threshold 1, and its derivative: `½x²` up to 1, `|x| - ½` beyond.
fn huber(x: f64) -> (f64, f64) {
    if x.abs() <= 1.0 {
        (0.5 * x * x, x)
    } else {
        (x.abs() - 0.5, x.signum())
    }
}
