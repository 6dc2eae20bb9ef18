//! `HardSigmoid`: `y = max(0, min(1, alpha * x + beta))`.
//! <https://onnx.ai/onnx/operators/onnx__HardSigmoid.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// The attributes of `HardSigmoid`.
#[derive(Clone, Debug, PartialEq)]
pub struct HardSigmoid {
    /// Slope.
    pub alpha: f32,
    /// Value at 0.
    pub beta: f32,
}

impl Operator for HardSigmoid {
    const SIGNATURE: Signature = Signature::onnx("HardSigmoid", &[1, 6, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let y = cx.output(0);
        let inside = y.greater(0.0).and(y.less(1.0));
        cx.give(0, inside.choose(cx.dy() * f64::from(op.alpha), 0.0));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        Ok(Self {
            alpha: attrs.f32_or("alpha", 0.2)?,
            beta: attrs.f32_or("beta", 0.5)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        unary::float(cx, |x| (alpha * x + beta).clamp(0.0, 1.0))
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FixedOutput { min: 0.0, max: 1.0 }
    }
}
