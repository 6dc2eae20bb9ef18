//! Probabilities of logits.

use crate::KdError;
use crate::check;
use crate::element::narrow;
use crate::softmax;
use ndarray::{Array2, ArrayRef2};
use num_traits::Float;

/// `σ(z/T)`, row by row: `exp(z_i/T) / Σ_j exp(z_j/T)`.
///
/// # Shapes
/// `logits` `[n, c]`, finite; the result has the same shape and rows that sum to 1.
///
/// # Errors
/// [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Setting`] for a temperature that is not positive.
pub fn softmax<F: Float>(logits: &ArrayRef2<F>, temperature: f64) -> Result<Array2<F>, KdError> {
    rows(logits, temperature, f64::exp)
}

/// `log σ(z/T)`, row by row: `z_i/T - log Σ_j exp(z_j/T)`, finite also where the probability is rounded to zero.
///
/// Shapes and errors as for [`softmax`].
///
/// # Errors
/// Those of [`softmax`].
pub fn log_softmax<F: Float>(
    logits: &ArrayRef2<F>,
    temperature: f64,
) -> Result<Array2<F>, KdError> {
    rows(logits, temperature, |x| x)
}

fn rows<F: Float>(
    logits: &ArrayRef2<F>,
    temperature: f64,
    of_log: impl Fn(f64) -> f64,
) -> Result<Array2<F>, KdError> {
    check::readable("the logits", logits)?;
    check::temperature(temperature)?;
    let mut result = Array2::zeros(logits.raw_dim());
    let mut row = vec![0.0; logits.ncols()];
    for (z, mut out) in logits.rows().into_iter().zip(result.rows_mut()) {
        softmax::log_softmax(z, temperature, &mut row);
        for (out, &x) in out.iter_mut().zip(&row) {
            *out = narrow(of_log(x));
        }
    }
    check::result("the softmax", result)
}
