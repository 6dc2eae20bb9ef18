//! `IsInf`: whether `x` is infinite, of one sign only if so asked.
//! <https://onnx.ai/onnx/operators/onnx__IsInf.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::unary;
use crate::ops::number::Number;

/// The attributes of `IsInf`.
#[derive(Clone, Debug, PartialEq)]
pub struct IsInf {
    /// Whether minus infinity counts.
    pub detect_negative: bool,
    /// Whether plus infinity counts.
    pub detect_positive: bool,
}

impl Operator for IsInf {
    const SIGNATURE: Signature = Signature::onnx("IsInf", &[10, 20]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            detect_negative: attrs.flag_or("detect_negative", true)?,
            detect_positive: attrs.flag_or("detect_positive", true)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer_as(cx, Some(DType::Bool))
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let wide = unary::widened_float8(x)?;
        let x = wide.as_ref().unwrap_or(x);
        let detect = |v: f64| {
            v == f64::INFINITY && self.detect_positive
                || v == f64::NEG_INFINITY && self.detect_negative
        };
        let y = dispatch!(x.dtype(), T in floats => unary::map(x, |v: T| detect(v.to_f64())))?;
        Ok(vec![y.into()])
    }
}
