//! `ThresholdedRelu`: `y = x` where `x > alpha`, else 0. Before opset 10 it was experimental, and the same.
//! <https://onnx.ai/onnx/operators/onnx__ThresholdedRelu.html>; Konda et al., arXiv:1402.3337.

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// The attributes of `ThresholdedRelu`.
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdedRelu {
    /// The threshold.
    pub alpha: f32,
}

impl Operator for ThresholdedRelu {
    const SIGNATURE: Signature = Signature::onnx("ThresholdedRelu", &[1, 10, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        cx.give(
            0,
            cx.input(0)
                .greater(f64::from(op.alpha))
                .choose(cx.dy(), 0.0),
        );
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
        unary::float(cx, |x| if x > alpha { x } else { 0.0 })
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
