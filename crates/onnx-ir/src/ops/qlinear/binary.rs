//! What the two-operand QLinear operators share: inputs `A, A_scale, A_zero_point, B, B_scale,
//! B_zero_point, C_scale, C_zero_point`, one 8-bit type for all.

use super::table::Affine;
use crate::operator::prelude::*;
use crate::ops::broadcast;
use crate::ops::quantization::rounding::{integers, small_range, small_tensor};

/// The scales and zero points of the operands and the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scales {
    /// Of the first operand.
    pub a: Affine,
    /// Of the second operand.
    pub b: Affine,
    /// Of the result.
    pub c: Affine,
}

impl Scales {
    /// As seen with the operands exchanged.
    #[must_use]
    pub fn exchanged(self) -> Self {
        Self {
            a: self.b,
            b: self.a,
            ..self
        }
    }
}

/// The type of the first operand and the broadcast shape.
///
/// # Errors
/// [`InferError::Rule`] where the shapes do not broadcast.
pub fn infer(cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
    let (a, b) = (cx.tensor(0)?, cx.tensor(3)?);
    let shape = match (&a.shape, &b.shape) {
        (Some(a), Some(b)) => Some(broadcast::infer(&[a, b])?),
        _ => None,
    };
    Ok(vec![
        TensorFact::with_shape(a.dtype.or(b.dtype), shape).into(),
    ])
}

/// `round_ties_even(f(a, b))` of the codes, within the range of the type. `make` gives `f` for the scales;
/// it is asked for them exchanged where A is the operand that stands still along the innermost axis, as ONNX
/// Runtime exchanges the operands there.
///
/// # Errors
/// [`EvalError::Rule`] where the shapes do not broadcast; [`EvalError::DType`] for other than small integers.
pub fn eval<F: Fn(i32, i32) -> f32>(
    cx: &EvalContext<'_>,
    make: impl FnOnce(Scales) -> F,
) -> Result<Vec<Value>, EvalError> {
    let (a, b) = (cx.tensor(0)?, cx.tensor(3)?);
    let scales = Scales {
        a: Affine::at(cx, 1)?,
        b: Affine::at(cx, 4)?,
        c: Affine::at(cx, 6)?,
    };
    let dtype = a.dtype();
    let (min, max) = small_range(dtype)?;
    let shape = broadcast::shape(&[a.shape(), b.shape()])?;
    let mut codes = Vec::with_capacity(cx.check_size(&shape, dtype)?);
    let strides = [a, b].map(|t| broadcast::strides(t.shape(), &shape));
    let inner = shape.iter().rposition(|&d| d != 1);
    let [a_moves, b_moves] = strides.each_ref().map(|s| inner.is_some_and(|i| s[i] > 0));
    let exchange = !a_moves && b_moves;
    let f = make(if exchange { scales.exchanged() } else { scales });
    let (x, y) = (integers(a)?, integers(b)?);
    broadcast::for_each(&shape, [&strides[0], &strides[1]], |[i, j]| {
        let result = if exchange {
            f(y[j], x[i])
        } else {
            f(x[i], y[j])
        };
        codes.push((result.round_ties_even() as i32).clamp(min, max));
    });
    Ok(vec![small_tensor(dtype, &shape, codes.into_iter())?.into()])
}
