//! `GlobalLpPool`: the p-norm of each plane, `(sum |x|^p)^(1/p)`.
//! <https://onnx.ai/onnx/operators/onnx__GlobalLpPool.html>. Opset 2 makes `p` an integer, 22 adds
//! bfloat16.

use super::global;
use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;

/// The attributes of `GlobalLpPool`.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalLpPool {
    /// The norm's exponent.
    pub p: f64,
}

/// Reads `p`: a float in opset 1, an integer since.
pub(super) fn parse_p(attrs: &mut Attrs<'_>) -> Result<f64, AttrError> {
    let p = if attrs.version() < 2 {
        attrs.f32_or("p", 2.0)?.into()
    } else {
        attrs.int_or("p", 2)? as f64
    };
    if p > 0.0 {
        return Ok(p);
    }
    Err(AttrError::Invalid {
        name: "p",
        found: p.to_string(),
        rule: "it must be positive",
    })
}

impl Operator for GlobalLpPool {
    const SIGNATURE: Signature = Signature::onnx("GlobalLpPool", &[1, 2, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let (x, y) = (cx.input(0), cx.output(0));
        let share = cx.dy() * x.sign() * (x.abs() / y).pow(op.p - 1.0);
        cx.give(0, y.equals(0.0).choose(0.0, share));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self { p: parse_p(attrs)? })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        global::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        dispatch!(cx.tensor(0)?.dtype(), T in floats => global::pool::<T>(cx, |plane| {
            let sum: f64 = plane.map(|v| v.abs().powf(self.p)).sum();
            sum.powf(1.0 / self.p)
        }))
    }
}
