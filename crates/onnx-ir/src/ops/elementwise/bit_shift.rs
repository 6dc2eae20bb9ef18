//! `BitShift`: the bits of `x` moved left or right by `y`, broadcast; right shifts of signed integers keep
//! the sign. Moved by a negative count or by all bits, only the sign is left. Signed integers came with
//! opset 28. <https://onnx.ai/onnx/operators/onnx__BitShift.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::binary::{self, Broadcasting};

/// The attributes of `BitShift`.
#[derive(Clone, Debug, PartialEq)]
pub struct BitShift {
    /// Where to.
    pub direction: ShiftDirection,
}

/// Where bits are moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShiftDirection {
    /// To the higher bits.
    Left,
    /// To the lower bits.
    Right,
}

impl Operator for BitShift {
    const SIGNATURE: Signature = Signature::onnx("BitShift", &[11, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let found = attrs.string("direction")?;
        let direction = match found.as_str() {
            "LEFT" => ShiftDirection::Left,
            "RIGHT" => ShiftDirection::Right,
            _ => {
                return Err(AttrError::Invalid {
                    name: "direction",
                    found,
                    rule: "it must be `LEFT` or `RIGHT`",
                });
            }
        };
        Ok(Self { direction })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        binary::infer(cx, &Broadcasting::default())
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let operands = Broadcasting::default().operands(cx)?;
        dispatch!(operands[0].dtype(), T in integers => {
            // What shifting by all bits but one, and one more, leaves: the sign.
            let sign = |x: T| x >> (T::BITS - 1) >> 1usize.min(T::BITS as usize - 1);
            binary::map(cx, &operands, |x: T, y: T| {
                let count = u32::try_from(i128::from(y)).ok();
                match self.direction {
                    ShiftDirection::Left => count.and_then(|n| x.checked_shl(n)).unwrap_or(0),
                    ShiftDirection::Right => {
                        count.and_then(|n| x.checked_shr(n)).unwrap_or_else(|| sign(x))
                    }
                }
            })
        })
    }
}
