//! An activation of a tensor plus a bias along its last axis.

use crate::operator::prelude::*;
use crate::ops::transformer::heads::real_tensor;

/// `f(x + bias)`.
///
/// # Errors
/// [`EvalError::Rule`] where the bias is not as long as the last axis.
pub fn apply(x: &Tensor, bias: &Tensor, f: impl Fn(f64) -> f64) -> Result<Vec<Value>, EvalError> {
    let mut values = x.to_f64_vec()?;
    let bias = bias.to_f64_vec()?;
    if x.shape().last() != Some(&bias.len()) {
        return Err(EvalError::rule(
            "the bias must be as long as the last axis",
            format_args!("{:?} and {}", x.shape(), bias.len()),
        ));
    }
    for row in values.chunks_exact_mut(bias.len().max(1)) {
        for (v, b) in row.iter_mut().zip(&bias) {
            *v = f(*v + b);
        }
    }
    Ok(vec![real_tensor(x.dtype(), x.shape(), values)?.into()])
}
