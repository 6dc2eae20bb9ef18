//! `LeakyRelu`: `y = x` where `x >= 0`, else `alpha * x`.
//! <https://onnx.ai/onnx/operators/onnx__LeakyRelu.html>; Maas et al., ICML WS 2013.

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// The attributes of `LeakyRelu`.
#[derive(Clone, Debug, PartialEq)]
pub struct LeakyRelu {
    /// Slope for negative inputs (unitless).
    pub alpha: f32,
}

impl Operator for LeakyRelu {
    const SIGNATURE: Signature = Signature::onnx("LeakyRelu", &[1, 6, 16]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let x = cx.input(0);
        cx.give(
            0,
            x.greater(0.0)
                .choose(cx.dy(), cx.dy() * f64::from(op.alpha)),
        );
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        Ok(Self {
            alpha: attrs.f32_or("alpha", 0.01)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let alpha = f64::from(self.alpha);
        unary::float(cx, |x| if x >= 0.0 { x } else { alpha * x })
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
