//! `Sin`: `y = sin(x)`, x in radians.
//! <https://onnx.ai/onnx/operators/onnx__Sin.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Sin` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Sin;

impl Operator for Sin {
    const SIGNATURE: Signature = Signature::onnx("Sin", &[7, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_slope(cx.input(0).unary("Cos"));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, f64::sin)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FixedOutput {
            min: -1.0,
            max: 1.0,
        }
    }
}
