//! `Softplus`: `y = ln(1 + e^x)`.
//! <https://onnx.ai/onnx/operators/onnx__Softplus.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Softplus` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Softplus;

impl Operator for Softplus {
    const SIGNATURE: Signature = Signature::onnx("Softplus", &[1, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_slope(cx.input(0).sigmoid());
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, softplus)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}

/// `ln(1 + e^x)` without overflow: `max(x, 0) + ln(1 + e^-|x|)`.
pub(crate) fn softplus(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
