//! `Asinh`: `y = asinh(x) = ln(x + sqrt(x^2 + 1))`.
//! <https://onnx.ai/onnx/operators/onnx__Asinh.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Asinh` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Asinh;

impl Operator for Asinh {
    const SIGNATURE: Signature = Signature::onnx("Asinh", &[9, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let x = cx.input(0);
        cx.give(0, cx.dy() / (x * x + 1.0).sqrt());
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, f64::asinh)
    }
}
