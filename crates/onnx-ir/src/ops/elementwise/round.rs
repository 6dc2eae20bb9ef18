//! `Round`: `y` is the integer nearest to `x`, of two equally near ones the even one.
//! <https://onnx.ai/onnx/operators/onnx__Round.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Round` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Round;

impl Operator for Round {
    const SIGNATURE: Signature = Signature::onnx("Round", &[11, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, f64::round_ties_even)
    }
}
