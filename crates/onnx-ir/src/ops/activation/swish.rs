//! `Swish`: `y = x / (1 + e^(-alpha * x))`; `SiLU` where alpha is 1.
//! <https://onnx.ai/onnx/operators/onnx__Swish.html>; Ramachandran et al., arXiv:1710.05941.

use crate::operator::prelude::*;
use crate::ops::activation::sigmoid::sigmoid;
use crate::ops::elementwise::unary;

/// The attributes of `Swish`.
#[derive(Clone, Debug, PartialEq)]
pub struct Swish {
    /// Factor of the input of the sigmoid.
    pub alpha: f32,
}

impl Operator for Swish {
    const SIGNATURE: Signature = Signature::onnx("Swish", &[24]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        cx.give_slope(slope(cx.input(0), op.alpha));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            alpha: attrs.f32_or("alpha", 1.0)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let alpha = f64::from(self.alpha);
        unary::float(cx, |x| x * sigmoid(alpha * x))
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}

/// `dy / dx = s * (1 + alpha * x * (1 - s))` with `s = sigmoid(alpha * x)`.
pub(in crate::ops) fn slope(x: Var<'_>, alpha: f32) -> Var<'_> {
    let scaled = x * f64::from(alpha);
    let s = scaled.sigmoid();
    s * (1.0 + scaled * (1.0 - s))
}
