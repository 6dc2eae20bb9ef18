//! `Add`: `c = a + b`, broadcast; integers wrap around.
//! <https://onnx.ai/onnx/operators/onnx__Add.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::binary::{self, Broadcasting};
use crate::ops::number::Number;

/// The attributes of `Add`.
#[derive(Clone, Debug, PartialEq)]
pub struct Add {
    /// How the second operand meets the first.
    pub broadcasting: Broadcasting,
}

impl Operator for Add {
    const SIGNATURE: Signature = Signature::onnx("Add", &[1, 6, 7, 13, 14]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_broadcast(0, cx.dy());
        cx.give_broadcast(1, cx.dy());
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            broadcasting: Broadcasting::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        binary::infer_elements(cx, &self.broadcasting, |a, b| a.clone() + b.clone())
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let operands = self.broadcasting.operands(cx)?;
        dispatch!(operands[0].dtype(), T in numbers =>
            binary::map(cx, &operands, |a: T, b: T| a.plus(b)))
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
