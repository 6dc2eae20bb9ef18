//! `Greater`: `c = a > b`, broadcast; false where either is NaN.
//! <https://onnx.ai/onnx/operators/onnx__Greater.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::binary::{self, Broadcasting};

/// The attributes of `Greater`.
#[derive(Clone, Debug, PartialEq)]
pub struct Greater {
    /// How the second operand meets the first.
    pub broadcasting: Broadcasting,
}

impl Operator for Greater {
    const SIGNATURE: Signature = Signature::onnx("Greater", &[1, 7, 9, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            broadcasting: Broadcasting::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        binary::infer_truth(cx, &self.broadcasting, |a, b| {
            match (a.as_known(), b.as_known()) {
                (Some(a), Some(b)) => Dim::Known((a > b).into()),
                _ => Dim::Unknown,
            }
        })
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let operands = self.broadcasting.operands(cx)?;
        dispatch!(operands[0].dtype(), T in numbers =>
            binary::map(cx, &operands, |a: T, b: T| a > b))
    }
}
