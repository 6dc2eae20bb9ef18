//! `Sigmoid`: `y = 1 / (1 + e^-x)`.
//! <https://onnx.ai/onnx/operators/onnx__Sigmoid.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Sigmoid` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Sigmoid;

impl Operator for Sigmoid {
    const SIGNATURE: Signature = Signature::onnx("Sigmoid", &[1, 6, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let y = cx.output(0);
        cx.give_slope(y * (1.0 - y));
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
        unary::float(cx, sigmoid)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FixedOutput { min: 0.0, max: 1.0 }
    }
}

/// `1 / (1 + e^-x)`.
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
