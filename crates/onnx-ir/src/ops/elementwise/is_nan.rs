//! `IsNaN`: whether `x` is no number.
//! <https://onnx.ai/onnx/operators/onnx__IsNaN.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::unary;

/// `IsNaN` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct IsNaN;

impl Operator for IsNaN {
    const SIGNATURE: Signature = Signature::onnx("IsNaN", &[9, 13, 20]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer_as(cx, Some(DType::Bool))
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let y = if let Some(wide) = unary::widened_float8(x)? {
            unary::map(&wide, f32::is_nan)?
        } else {
            dispatch!(x.dtype(), T in floats => unary::map(x, T::is_nan))?
        };
        Ok(vec![y.into()])
    }
}
