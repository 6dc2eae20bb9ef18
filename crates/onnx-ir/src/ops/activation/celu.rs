//! `Celu`: `y = max(0, x) + min(0, alpha * (e^(x / alpha) - 1))`.
//! <https://onnx.ai/onnx/operators/onnx__Celu.html>; Barron, arXiv:1704.07483.

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// The attributes of `Celu`.
#[derive(Clone, Debug, PartialEq)]
pub struct Celu {
    /// Scale of the exponential; not 0.
    pub alpha: f32,
}

impl Operator for Celu {
    const SIGNATURE: Signature = Signature::onnx("Celu", &[12, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let x = cx.input(0);
        let rising = (x * (1.0 / f64::from(op.alpha))).exp();
        cx.give(0, x.less(0.0).choose(cx.dy() * rising, cx.dy()));
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
        unary::float(cx, |x| x.max(0.0) + (alpha * (x / alpha).exp_m1()).min(0.0))
    }
}
