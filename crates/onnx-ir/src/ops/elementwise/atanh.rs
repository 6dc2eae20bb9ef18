//! `Atanh`: `y = atanh(x) = ln((1 + x) / (1 - x)) / 2`.
//! <https://onnx.ai/onnx/operators/onnx__Atanh.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Atanh` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Atanh;

impl Operator for Atanh {
    const SIGNATURE: Signature = Signature::onnx("Atanh", &[9, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let x = cx.input(0);
        cx.give(0, cx.dy() / (1.0 - x * x));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, f64::atanh)
    }
}
