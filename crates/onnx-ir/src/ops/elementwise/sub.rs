//! `Sub`: `c = a - b`, broadcast; integers wrap around.
//! <https://onnx.ai/onnx/operators/onnx__Sub.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::binary::{self, Broadcasting};
use crate::ops::number::Number;

/// The attributes of `Sub`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sub {
    /// How the second operand meets the first.
    pub broadcasting: Broadcasting,
}

impl Operator for Sub {
    const SIGNATURE: Signature = Signature::onnx("Sub", &[1, 6, 7, 13, 14]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_broadcast(0, cx.dy());
        cx.give_broadcast(1, -cx.dy());
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            broadcasting: Broadcasting::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        binary::infer_elements(cx, &self.broadcasting, |a, b| a.clone() - b.clone())
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let operands = self.broadcasting.operands(cx)?;
        dispatch!(operands[0].dtype(), T in numbers =>
            binary::map(cx, &operands, |a: T, b: T| a.minus(b)))
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
