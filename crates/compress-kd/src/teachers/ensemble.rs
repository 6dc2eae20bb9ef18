//! Several teachers as one.

use crate::KdError;
use crate::check;
use crate::element::narrow;
use crate::logits::TEACHER;
use crate::softmax::{Distribution, log_sum_exp};
use ndarray::{Array2, ArrayView2};
use num_traits::Float;

/// How the distributions of several teachers become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TeacherMean {
    /// `p = Σ_k w_k σ(z_k/T)`.
    #[default]
    Arithmetic,
    /// `p ∝ Π_k σ(z_k/T)^w_k`: the mean of the logits.
    Geometric,
}

/// The logits of one teacher whose softened distribution is the mean of those of several.
///
/// `z` with `σ(z/T) = p`, as `z = T · log p`, so that every loss with a teacher's logits takes an ensemble. Hinton, Vinyals,
/// Dean 2015 (arXiv:1503.02531), sec. 2, name both means; Furlanello et al. 2018, "Born-again neural networks"
/// (arXiv:1805.04770), sec. 3, average the generations of a network. Use the temperature of the loss. Computed from logarithms:
/// no probability is rounded to zero.
///
/// # Shapes
/// `teachers`: at least one, all `[n, c]` and finite; `weights`: one for each, none negative, not all zero (they are divided by their
/// sum), or none for equal weights. Returns `[n, c]`.
///
/// # Errors
/// [`KdError::Length`] if there is no teacher or another number of weights, [`KdError::Shape`], [`KdError::Empty`],
/// [`KdError::NotFinite`], [`KdError::Setting`], [`KdError::Overflow`].
///
/// # Examples
/// ```
/// use compress_kd::{logits::softmax, teachers::{TeacherMean, ensemble}};
/// use ndarray::arr2;
/// let (a, b) = (arr2(&[[3f64.ln(), 0.0]]), arr2(&[[0.0, 0.0]])); // 3/4 and 1/2 for class 0
/// let z = ensemble(&[a.view(), b.view()], None, 1.0, TeacherMean::Arithmetic)?;
/// assert!((softmax(&z, 1.0)?[[0, 0]] - 0.625).abs() < 1e-15);
/// # Ok::<(), compress_kd::KdError>(())
/// ```
pub fn ensemble<F: Float>(
    teachers: &[ArrayView2<'_, F>],
    weights: Option<&[f64]>,
    temperature: f64,
    mean: TeacherMean,
) -> Result<Array2<F>, KdError> {
    check::temperature(temperature)?;
    let Some(first) = teachers.first() else {
        return Err(KdError::Length {
            what: "teachers",
            found: 0,
            expected: 1,
        });
    };
    for teacher in teachers {
        check::shape(TEACHER, teacher.shape(), "the first teacher", first.shape())?;
        check::readable(TEACHER, teacher)?;
    }
    let weights = shares(weights, teachers.len())?;
    let mut result = Array2::zeros(first.raw_dim());
    let mut one = Distribution::default();
    let mut joined = vec![0.0; first.ncols()];
    for (index, mut out) in result.rows_mut().into_iter().enumerate() {
        for (k, (teacher, &w)) in teachers.iter().zip(&weights).enumerate() {
            one.fill(teacher.row(index), temperature);
            for (joined, &lp) in joined.iter_mut().zip(&one.log) {
                *joined = match (mean, k) {
                    (TeacherMean::Arithmetic, 0) => w.ln() + lp,
                    (TeacherMean::Arithmetic, _) => log_sum_exp(&[*joined, w.ln() + lp]),
                    (TeacherMean::Geometric, 0) => w * lp,
                    (TeacherMean::Geometric, _) => *joined + w * lp,
                };
            }
        }
        let sum = log_sum_exp(&joined);
        for (out, &lp) in out.iter_mut().zip(&joined) {
            *out = narrow(temperature * (lp - sum));
        }
    }
    check::result("the ensemble", result)
}

/// The weights divided by their sum.
fn shares(weights: Option<&[f64]>, teachers: usize) -> Result<Vec<f64>, KdError> {
    let Some(weights) = weights else {
        return Ok(vec![1.0 / teachers as f64; teachers]);
    };
    check::length("weights of teachers", weights.len(), teachers)?;
    for &weight in weights {
        check::weight("the weight of a teacher", weight)?;
    }
    let sum: f64 = weights.iter().sum();
    let holds = |s: f64| s > 0.0 && s.is_finite();
    let rule = "it must be positive and finite";
    check::setting("the sum of the teachers' weights", sum, holds, rule)?;
    Ok(weights.iter().map(|w| w / sum).collect())
}
