//! `Tanh`: `y = tanh(x)`.
//! <https://onnx.ai/onnx/operators/onnx__Tanh.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Tanh` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tanh;

impl Operator for Tanh {
    const SIGNATURE: Signature = Signature::onnx("Tanh", &[1, 6, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let y = cx.output(0);
        cx.give_slope(1.0 - y * y);
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
        unary::float(cx, f64::tanh)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FixedOutput {
            min: -1.0,
            max: 1.0,
        }
    }
}
