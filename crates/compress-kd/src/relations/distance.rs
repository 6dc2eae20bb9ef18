//! RKD: the distances between samples.

use super::{Batch, graded, huber};
use crate::KdError;
use ndarray::{Array, Array2, ArrayRef, Dimension};
use num_traits::Float;

/// `1/n² · Σ_(i,j) l_δ(ψ_D(t_i, t_j), ψ_D(s_i, s_j))`: distances between the samples, relative to their mean.
///
/// Park et al. 2019, "Relational knowledge distillation" (arXiv:1904.05068), sec. 3.2: `ψ_D(x, y) = ‖x - y‖₂ / μ` with `μ` the
/// mean of the distances that are not zero, for the teacher and for the student; `l_δ` is Huber's loss with threshold 1. Mean
/// over all `n²` pairs, each sample with itself included, as in the authors' code. Rotating, moving and scaling the
/// features changes nothing. If no two samples differ, all relative distances are 0. The gradient of a distance of zero is zero.
///
/// # Shapes
/// `student` `[n, …]`, `teacher` `[n, …]`, finite.
///
/// # Errors
/// [`KdError::Shape`], [`KdError::Rank`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Overflow`].
pub fn rkd_distance<F: Float, D: Dimension, E: Dimension>(
    student: &ArrayRef<F, D>,
    teacher: &ArrayRef<F, E>,
) -> Result<(f64, Array<F, D>), KdError> {
    let batch = Batch::of(student, teacher)?;
    let n = batch.student.nrows();
    let ours = Distances::of(&batch.student);
    let theirs = Distances::of(&batch.teacher);
    // Each pair stands for two.
    let share = 2.0 / (n * n) as f64;
    let mut value = 0.0;
    let mut slopes = Vec::with_capacity(ours.pairs.len());
    for (s, t) in ours.pairs.iter().zip(&theirs.pairs) {
        let (term, slope) = huber(ours.relative(*s) - theirs.relative(*t));
        value += share * term;
        slopes.push(share * slope);
    }
    graded(student, value, &ours.back(&batch.student, &slopes))
}

/// The distances of all pairs `i < j`, row by row.
struct Distances {
    pairs: Vec<f64>,
    /// The mean of those that are not zero; 0 if there are none.
    mean: f64,
    /// How many are not zero.
    count: f64,
}

impl Distances {
    fn of(rows: &Array2<f64>) -> Self {
        let n = rows.nrows();
        let mut pairs = Vec::with_capacity(n * n.saturating_sub(1) / 2);
        for i in 0..n {
            for j in i + 1..n {
                // From differences, not from products: features far from zero lose nothing.
                let both = rows.row(i).into_iter().zip(rows.row(j));
                pairs.push(both.map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt());
            }
        }
        let count = pairs.iter().filter(|&&d| d > 0.0).count() as f64;
        let sum: f64 = pairs.iter().sum();
        let mean = if count > 0.0 { sum / count } else { 0.0 };
        Self { pairs, mean, count }
    }

    fn relative(&self, distance: f64) -> f64 {
        if self.mean > 0.0 {
            distance / self.mean
        } else {
            0.0
        }
    }

    /// The gradient by the rows from the slope of each pair by its relative distance.
    fn back(&self, rows: &Array2<f64>, slopes: &[f64]) -> Array2<f64> {
        let n = rows.nrows();
        let mut gradient = Array2::zeros(rows.raw_dim());
        if self.mean == 0.0 {
            return gradient;
        }
        let weighted: f64 = slopes.iter().zip(&self.pairs).map(|(g, d)| g * d).sum();
        let through_mean = weighted / (self.count * self.mean * self.mean);
        let mut pairs = slopes.iter().zip(&self.pairs);
        for i in 0..n {
            for j in i + 1..n {
                let Some((slope, &distance)) = pairs.next() else {
                    return gradient;
                };
                if distance == 0.0 {
                    continue;
                }
                let along = (slope / self.mean - through_mean) / distance;
                for k in 0..rows.ncols() {
                    let g = along * (rows[[i, k]] - rows[[j, k]]);
                    gradient[[i, k]] += g;
                    gradient[[j, k]] -= g;
                }
            }
        }
        gradient
    }
}
