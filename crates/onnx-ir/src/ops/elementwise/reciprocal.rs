//! `Reciprocal`: `y = 1 / x`.
//! <https://onnx.ai/onnx/operators/onnx__Reciprocal.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Reciprocal` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Reciprocal;

impl Operator for Reciprocal {
    const SIGNATURE: Signature = Signature::onnx("Reciprocal", &[1, 6, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let y = cx.output(0);
        cx.give_slope(-(y * y));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, f64::recip)
    }
}
