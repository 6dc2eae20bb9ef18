//! `Mish`: `y = x * tanh(ln(1 + e^x))`.
//! <https://onnx.ai/onnx/operators/onnx__Mish.html>; Misra, arXiv:1908.08681.

use crate::operator::prelude::*;
use crate::ops::activation::softplus::softplus;
use crate::ops::elementwise::unary;

/// `Mish` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Mish;

impl Operator for Mish {
    const SIGNATURE: Signature = Signature::onnx("Mish", &[18, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let x = cx.input(0);
        let t = x.unary("Softplus").tanh();
        cx.give_slope(t + x * x.sigmoid() * (1.0 - t * t));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, |x| x * softplus(x).tanh())
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
