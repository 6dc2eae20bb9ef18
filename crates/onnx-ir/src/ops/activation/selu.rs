//! `Selu`: `y = gamma * x` where `x > 0`, else `gamma * alpha * (e^x - 1)`.
//! <https://onnx.ai/onnx/operators/onnx__Selu.html>; Klambauer et al., arXiv:1706.02515.

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// The attributes of `Selu`.
#[derive(Clone, Debug, PartialEq)]
pub struct Selu {
    /// Weight of the exponential (1.6732 before opset 6).
    pub alpha: f32,
    /// Scale of the result (1.0507 before opset 6).
    pub gamma: f32,
}

impl Operator for Selu {
    const SIGNATURE: Signature = Signature::onnx("Selu", &[1, 6, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let x = cx.input(0);
        let scaled = cx.dy() * f64::from(op.gamma);
        let rising = x.exp() * f64::from(op.alpha);
        cx.give(0, x.greater(0.0).choose(scaled, scaled * rising));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        let (alpha, gamma) = match attrs.version() {
            1 => (1.6732, 1.0507),
            _ => (1.673_263_2, 1.050_701),
        };
        Ok(Self {
            alpha: attrs.f32_or("alpha", alpha)?,
            gamma: attrs.f32_or("gamma", gamma)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (alpha, gamma) = (f64::from(self.alpha), f64::from(self.gamma));
        unary::float(cx, |x| gamma * if x > 0.0 { x } else { alpha * x.exp_m1() })
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
