//! `Div`: `c = a / b`, broadcast; integers are cut off towards zero.
//! <https://onnx.ai/onnx/operators/onnx__Div.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::binary::{self, Broadcasting};
use crate::ops::number::Number;

/// The attributes of `Div`.
#[derive(Clone, Debug, PartialEq)]
pub struct Div {
    /// How the second operand meets the first.
    pub broadcasting: Broadcasting,
}

impl Operator for Div {
    const SIGNATURE: Signature = Signature::onnx("Div", &[1, 6, 7, 13, 14]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let (b, dy) = (cx.input(1), cx.dy());
        cx.give_broadcast(0, dy / b);
        cx.give_broadcast(1, -(dy * cx.output(0) / b));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            broadcasting: Broadcasting::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        binary::infer_elements(cx, &self.broadcasting, |a, b| {
            // Rounding towards zero is rounding down only where the quotient is not negative.
            match a.is_non_negative() && b.is_non_negative() {
                true => a.floor_div(b),
                false => Dim::Unknown,
            }
        })
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let operands = self.broadcasting.operands(cx)?;
        dispatch!(operands[0].dtype(), T in numbers =>
            binary::try_map(cx, &operands, |a: T, b: T| a.divided_by(b).ok_or_else(|| by_zero(a))))
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}

fn by_zero(a: impl std::fmt::Debug) -> EvalError {
    EvalError::rule(
        "an integer cannot be divided by zero",
        format_args!("{a:?} / 0"),
    )
}
