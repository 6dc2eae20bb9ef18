//! `BitwiseOr`: `c = a | b`, bit by bit, broadcast.
//! <https://onnx.ai/onnx/operators/onnx__BitwiseOr.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::binary::{self, Broadcasting};

/// The attributes of `BitwiseOr`.
#[derive(Clone, Debug, PartialEq)]
pub struct BitwiseOr {
    /// How the second operand meets the first.
    pub broadcasting: Broadcasting,
}

impl Operator for BitwiseOr {
    const SIGNATURE: Signature = Signature::onnx("BitwiseOr", &[18]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            broadcasting: Broadcasting::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        binary::infer(cx, &self.broadcasting)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let operands = self.broadcasting.operands(cx)?;
        dispatch!(operands[0].dtype(), T in integers =>
            binary::map(cx, &operands, |a: T, b: T| a | b))
    }
}
