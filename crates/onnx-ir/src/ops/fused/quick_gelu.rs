//! `QuickGelu`: `y = x * sigmoid(alpha * x)`.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QuickGelu>

use crate::operator::prelude::*;
use crate::ops::activation::swish::slope;
use crate::ops::elementwise::unary;

/// The attributes of `QuickGelu`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuickGelu {
    /// Slope of the sigmoid's argument.
    pub alpha: f32,
}

impl Operator for QuickGelu {
    const SIGNATURE: Signature = Signature::microsoft("QuickGelu");
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        cx.give_slope(slope(cx.input(0), op.alpha));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            alpha: attrs.f32_or("alpha", 1.702)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let alpha = f64::from(self.alpha);
        unary::float(cx, |x| x / (1.0 + (-alpha * x).exp()))
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
