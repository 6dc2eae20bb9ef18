//! `Sqrt`: `y = sqrt(x)`, NaN below 0.
//! <https://onnx.ai/onnx/operators/onnx__Sqrt.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Sqrt` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Sqrt;

impl Operator for Sqrt {
    const SIGNATURE: Signature = Signature::onnx("Sqrt", &[1, 6, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.dy() * 0.5 / cx.output(0));
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
        unary::float(cx, f64::sqrt)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
