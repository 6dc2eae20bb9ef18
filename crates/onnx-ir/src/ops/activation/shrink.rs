//! `Shrink`: `y = x + bias` where `x < -lambd`, `x - bias` where `x > lambd`, else 0.
//! <https://onnx.ai/onnx/operators/onnx__Shrink.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::unary;
use crate::ops::number::Number;

/// The attributes of `Shrink`.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrink {
    /// What large values are moved towards 0 by.
    pub bias: f32,
    /// The half width of what becomes 0.
    pub lambd: f32,
}

impl Operator for Shrink {
    const SIGNATURE: Signature = Signature::onnx("Shrink", &[9]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        cx.give(
            0,
            cx.input(0)
                .abs()
                .greater(f64::from(op.lambd))
                .choose(cx.dy(), 0.0),
        );
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            bias: attrs.f32_or("bias", 0.0)?,
            lambd: attrs.f32_or("lambd", 0.5)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let (bias, lambd) = (f64::from(self.bias), f64::from(self.lambd));
        let shrink = |v: f64| match v {
            v if v < -lambd => v + bias,
            v if v > lambd => v - bias,
            _ => 0.0,
        };
        let y = dispatch!(x.dtype(), T in numbers =>
            unary::map(x, |v: T| T::from_f64(shrink(v.to_f64()))))?;
        Ok(vec![y.into()])
    }
}
