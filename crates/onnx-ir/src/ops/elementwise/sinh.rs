//! `Sinh`: `y = sinh(x) = (e^x - e^-x) / 2`.
//! <https://onnx.ai/onnx/operators/onnx__Sinh.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Sinh` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Sinh;

impl Operator for Sinh {
    const SIGNATURE: Signature = Signature::onnx("Sinh", &[9, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_slope(cx.input(0).unary("Cosh"));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, f64::sinh)
    }
}
