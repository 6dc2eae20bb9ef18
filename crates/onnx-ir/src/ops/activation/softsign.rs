//! `Softsign`: `y = x / (1 + |x|)`.
//! <https://onnx.ai/onnx/operators/onnx__Softsign.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Softsign` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Softsign;

impl Operator for Softsign {
    const SIGNATURE: Signature = Signature::onnx("Softsign", &[1, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let root = cx.input(0).abs() + 1.0;
        cx.give(0, cx.dy() / (root * root));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, |x| x / (1.0 + x.abs()))
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FixedOutput {
            min: -1.0,
            max: 1.0,
        }
    }
}
