//! `Cosh`: `y = cosh(x) = (e^x + e^-x) / 2`.
//! <https://onnx.ai/onnx/operators/onnx__Cosh.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Cosh` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Cosh;

impl Operator for Cosh {
    const SIGNATURE: Signature = Signature::onnx("Cosh", &[9, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_slope(cx.input(0).unary("Sinh"));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, f64::cosh)
    }
}
