//! Probabilities of logits.

use crate::KdError;
use crate::check;
use crate::element::narrow;
use crate::softmax::Distribution;
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
    rows(logits, temperature, |row| &row.p)
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
    rows(logits, temperature, |row| &row.log)
}

fn rows<F: Float>(
    logits: &ArrayRef2<F>,
    temperature: f64,
    part: impl Fn(&Distribution) -> &[f64],
) -> Result<Array2<F>, KdError> {
    check::readable("the logits", logits)?;
    check::temperature(temperature)?;
    let mut result = Array2::zeros(logits.raw_dim());
    let mut row = Distribution::default();
    for (z, mut out) in logits.rows().into_iter().zip(result.rows_mut()) {
        row.fill(z, temperature);
        for (out, &x) in out.iter_mut().zip(part(&row)) {
            *out = narrow(x);
        }
    }
    check::result("the softmax", result)
}
