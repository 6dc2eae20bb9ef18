//! `And`: whether both are true, broadcast.
//! <https://onnx.ai/onnx/operators/onnx__And.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::binary::{self, Broadcasting};

/// The attributes of `And`.
#[derive(Clone, Debug, PartialEq)]
pub struct And {
    /// How the second operand meets the first.
    pub broadcasting: Broadcasting,
}

impl Operator for And {
    const SIGNATURE: Signature = Signature::onnx("And", &[1, 7]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            broadcasting: Broadcasting::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        binary::infer_elements(cx, &self.broadcasting, Dim::min)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let operands = self.broadcasting.operands(cx)?;
        binary::map(cx, &operands, |a: bool, b: bool| a & b)
    }
}
