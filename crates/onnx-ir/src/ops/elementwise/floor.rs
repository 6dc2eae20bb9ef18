//! `Floor`: `y = floor(x)`.
//! <https://onnx.ai/onnx/operators/onnx__Floor.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Floor` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Floor;

impl Operator for Floor {
    const SIGNATURE: Signature = Signature::onnx("Floor", &[1, 6, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, f64::floor)
    }
}
