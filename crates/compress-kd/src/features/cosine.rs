//! The angle between the features of student and teacher.

use super::{STUDENT, TEACHER};
use crate::KdError;
use crate::check;
use crate::element::shaped_like;
use crate::rows;
use ndarray::{Array, Array2, ArrayRef, ArrayRef1, ArrayRef2, Dimension};
use num_traits::Float;

/// `1/n · Σ (1 - cos(f_S, f_T))`.
///
/// The loss on hidden states of DistilBERT (Sanh et al. 2019, arXiv:1910.01108, sec. 2) and `CosineEmbeddingLoss` of PyTorch
/// where every pair belongs together; mean over the batch. With `u = f_S/‖f_S‖`, `v = f_T/‖f_T‖` the gradient by `f_S` is
/// `-(v - cos · u) / (n ‖f_S‖)`. The cosine with a vector of zeros is 0, and so is its gradient.
///
/// # Shapes
/// `student`, `teacher`: one shape `[n, …]` with all other axes taken as one vector (tokens are brought to `[n·t, d]` first); finite.
///
/// # Errors
/// [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Rank`], [`KdError::Overflow`].
pub fn cosine_embedding<F: Float, D: Dimension>(
    student: &ArrayRef<F, D>,
    teacher: &ArrayRef<F, D>,
) -> Result<(f64, Array<F, D>), KdError> {
    check::shape(TEACHER, teacher.shape(), STUDENT, student.shape())?;
    let pairs = Pairs::of(student, teacher)?;
    let slopes = vec![-1.0; pairs.cosines.len()];
    let sum = pairs.cosines.iter().map(|cos| 1.0 - cos).sum();
    pairs.finish(student, sum, slopes)
}

/// Pairs that belong together or apart.
///
/// `1/n · Σ l` with `l = 1 - cos(f_S, f_T)` for a pair that belongs together (label 1) and `l = max(0, cos - margin)` for one
/// that does not (label -1), as PyTorch's `CosineEmbeddingLoss`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CosineEmbedding {
    /// The cosine up to which pairs that do not belong together cost nothing; -1 to 1.
    pub margin: f64,
}

impl CosineEmbedding {
    /// With this margin.
    pub fn new(margin: f64) -> Self {
        Self { margin }
    }

    /// Value and gradient by `student`.
    ///
    /// # Shapes
    /// `student`, `teacher` `[n, d]`, finite; `labels` `[n]` of 1 and -1.
    ///
    /// # Errors
    /// Those of [`cosine_embedding`]; [`KdError::Setting`] for a margin outside of [-1, 1] or another label.
    pub fn loss<F: Float>(
        &self,
        student: &ArrayRef2<F>,
        teacher: &ArrayRef2<F>,
        labels: &ArrayRef1<i64>,
    ) -> Result<(f64, Array2<F>), KdError> {
        let holds = |m: f64| (-1.0..=1.0).contains(&m);
        check::setting("the margin", self.margin, holds, "it must lie in [-1, 1]")?;
        check::shape(TEACHER, teacher.shape(), STUDENT, student.shape())?;
        check::shape("the labels", labels.shape(), STUDENT, &[student.nrows()])?;
        let pairs = Pairs::of(student, teacher)?;
        let mut value = 0.0;
        let mut slopes = Vec::with_capacity(labels.len());
        for (&label, &cos) in labels.iter().zip(&pairs.cosines) {
            let (term, slope) = match label {
                1 => (1.0 - cos, -1.0),
                -1 if cos > self.margin => (cos - self.margin, 1.0),
                -1 => (0.0, 0.0),
                _ => {
                    return Err(KdError::Setting {
                        setting: "the label of a pair",
                        found: label as f64,
                        rule: "it must be 1 or -1",
                    });
                }
            };
            value += term;
            slopes.push(slope);
        }
        pairs.finish(student, value, slopes)
    }
}

struct Pairs {
    student: Array2<f64>,
    lengths: Vec<f64>,
    teacher: Array2<f64>,
    cosines: Vec<f64>,
}

impl Pairs {
    fn of<F: Float, D: Dimension>(
        student: &ArrayRef<F, D>,
        teacher: &ArrayRef<F, D>,
    ) -> Result<Self, KdError> {
        let (student, lengths) = rows::unit(rows::samples(STUDENT, student)?);
        let (teacher, _) = rows::unit(rows::samples(TEACHER, teacher)?);
        let pairs = student.rows().into_iter().zip(teacher.rows());
        let cosines = pairs.map(|(u, v)| u.dot(&v).clamp(-1.0, 1.0)).collect();
        Ok(Self {
            student,
            lengths,
            teacher,
            cosines,
        })
    }

    /// The mean over the pairs, and its gradient from the slope of each pair by its cosine.
    fn finish<F: Float, D: Dimension>(
        mut self,
        student: &ArrayRef<F, D>,
        sum: f64,
        slopes: Vec<f64>,
    ) -> Result<(f64, Array<F, D>), KdError> {
        let n = slopes.len() as f64;
        for (mut row, slope) in self.teacher.rows_mut().into_iter().zip(slopes) {
            row.mapv_inplace(|v| v * slope / n);
        }
        rows::through_unit(&self.student, &self.lengths, &mut self.teacher);
        let gradient = shaped_like(student, &self.teacher);
        Ok((check::value(sum / n)?, check::gradient(gradient)?))
    }
}
