//! `Or`: whether either is true, broadcast.
//! <https://onnx.ai/onnx/operators/onnx__Or.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::binary::{self, Broadcasting};

/// The attributes of `Or`.
#[derive(Clone, Debug, PartialEq)]
pub struct Or {
    /// How the second operand meets the first.
    pub broadcasting: Broadcasting,
}

impl Operator for Or {
    const SIGNATURE: Signature = Signature::onnx("Or", &[1, 7]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            broadcasting: Broadcasting::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        binary::infer_elements(cx, &self.broadcasting, Dim::max)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let operands = self.broadcasting.operands(cx)?;
        binary::map(cx, &operands, |a: bool, b: bool| a | b)
    }
}
