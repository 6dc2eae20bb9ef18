//! `HardSwish`: `y = x * max(0, min(1, x / 6 + 1/2))`.
//! <https://onnx.ai/onnx/operators/onnx__HardSwish.html>; Howard et al., MobileNetV3, arXiv:1905.02244.

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `HardSwish` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct HardSwish;

impl Operator for HardSwish {
    const SIGNATURE: Signature = Signature::onnx("HardSwish", &[14, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let x = cx.input(0);
        let inside = x.abs().less(3.0);
        let outside = x.greater(0.0).choose(cx.dy(), 0.0);
        cx.give(0, inside.choose(cx.dy() * (x * (1.0 / 3.0) + 0.5), outside));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0))
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
