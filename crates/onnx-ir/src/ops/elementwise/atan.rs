//! `Atan`: `y = atan(x)`, in radians.
//! <https://onnx.ai/onnx/operators/onnx__Atan.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Atan` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Atan;

impl Operator for Atan {
    const SIGNATURE: Signature = Signature::onnx("Atan", &[7, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let x = cx.input(0);
        cx.give(0, cx.dy() / (x * x + 1.0));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, f64::atan)
    }
}
