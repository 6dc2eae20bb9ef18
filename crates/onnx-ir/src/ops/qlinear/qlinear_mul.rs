//! `QLinearMul`: `c = a * b` of quantized tensors, broadcast.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearMul>
//!
//! The product `(a - z_a) * (b - z_b)` is an exact integer; `c = round_ties_even(product * r + z_c)` with
//! `r = s_a * s_b / s_c` in binary32, each operation rounded.

use super::binary;
use crate::operator::prelude::*;

/// `QLinearMul` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct QLinearMul;

impl Operator for QLinearMul {
    const SIGNATURE: Signature = Signature::microsoft("QLinearMul");

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        binary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        binary::eval(cx, |scales| {
            let (a, b, c) = (scales.a, scales.b, scales.c);
            let ratio = a.scale * b.scale / c.scale;
            let zero = c.zero_point as f32;
            move |x, y| ((x - a.zero_point) * (y - b.zero_point)) as f32 * ratio + zero
        })
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}
