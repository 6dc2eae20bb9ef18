//! Losses on logits.
//!
//! Logits are `[n, c]`: `n` samples, `c` classes. Longer arrays (`[n, c, h, w]`, `[n, t, c]`) are brought to this shape by
//! their caller. Every loss costs O(n·c) and holds a few rows beside its gradient. `σ` is the softmax over the classes, `z_S`
//! and `z_T` (`student`, `teacher`) are logits, `T` is the temperature.

mod binary;
mod cross_entropy;
mod decoupled;
mod divergence;
mod mixed;
mod probabilities;
mod regression;

pub use binary::BinaryKdLoss;
pub use cross_entropy::CrossEntropy;
pub use decoupled::DecoupledKd;
pub use divergence::{kl_divergence, reverse_kl_divergence};
pub use mixed::KdLoss;
pub use probabilities::{log_softmax, softmax};
pub use regression::logit_regression;

use crate::KdError;
use crate::check;
use crate::element::narrow;
use ndarray::{Array2, ArrayRef2, ArrayView1};
use num_traits::Float;

/// The logits of the student, as errors name them.
pub(crate) const STUDENT: &str = "the student's logits";
/// The logits of the teacher, as errors name them.
pub(crate) const TEACHER: &str = "the teacher's logits";

/// Sums the terms of all rows. `term` gets a row's number, the row, and a row of zeros for its gradient.
pub(crate) fn sum_of_rows<F: Float>(
    logits: &ArrayRef2<F>,
    mut term: impl FnMut(usize, ArrayView1<'_, F>, &mut [f64]) -> f64,
) -> Result<(f64, Array2<F>), KdError> {
    let mut gradient = Array2::zeros(logits.raw_dim());
    let mut by_row = vec![0.0; logits.ncols()];
    let mut value = 0.0;
    let rows = logits.rows().into_iter().zip(gradient.rows_mut());
    for (index, (row, mut out)) in rows.enumerate() {
        by_row.fill(0.0);
        value += term(index, row, &mut by_row);
        for (out, &g) in out.iter_mut().zip(&by_row) {
            *out = narrow(g);
        }
    }
    Ok((check::value(value)?, check::gradient(gradient)?))
}
