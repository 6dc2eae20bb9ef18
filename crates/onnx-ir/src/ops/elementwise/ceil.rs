//! `Ceil`: `y = ceil(x)`.
//! <https://onnx.ai/onnx/operators/onnx__Ceil.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Ceil` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Ceil;

impl Operator for Ceil {
    const SIGNATURE: Signature = Signature::onnx("Ceil", &[1, 6, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, f64::ceil)
    }
}
