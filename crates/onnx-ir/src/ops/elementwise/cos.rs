//! `Cos`: `y = cos(x)`, x in radians.
//! <https://onnx.ai/onnx/operators/onnx__Cos.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Cos` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Cos;

impl Operator for Cos {
    const SIGNATURE: Signature = Signature::onnx("Cos", &[7, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_slope(-cx.input(0).unary("Sin"));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, f64::cos)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FixedOutput {
            min: -1.0,
            max: 1.0,
        }
    }
}
