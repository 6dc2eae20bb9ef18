//! `Elu`: `y = x` where `x >= 0`, else `alpha * (e^x - 1)`.
//! <https://onnx.ai/onnx/operators/onnx__Elu.html>; Clevert et al., arXiv:1511.07289.

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// The attributes of `Elu`.
#[derive(Clone, Debug, PartialEq)]
pub struct Elu {
    /// Limit towards minus infinity, turned around.
    pub alpha: f32,
}

impl Operator for Elu {
    const SIGNATURE: Signature = Signature::onnx("Elu", &[1, 6, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let x = cx.input(0);
        let rising = x.exp() * f64::from(op.alpha);
        cx.give(0, x.greater(0.0).choose(cx.dy(), cx.dy() * rising));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        Ok(Self {
            alpha: attrs.f32_or("alpha", 1.0)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let alpha = f64::from(self.alpha);
        unary::float(cx, |x| if x < 0.0 { alpha * x.exp_m1() } else { x })
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
