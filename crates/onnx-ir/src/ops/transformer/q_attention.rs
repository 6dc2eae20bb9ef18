//! `QAttention`: `com.microsoft.Attention` with an 8-bit input and an 8-bit merged weight: the projection is exact in
//! i32, scaled by `input_scale * weight_scale` (of all or of each column); attention itself is float.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QAttention>

use super::microsoft_attention::{Merged, infer_merged, refuse};
use super::padded::PaddedAttention;
use crate::operator::prelude::*;
use crate::ops::quantization::integer_matmul::product;
use crate::ops::quantization::matmul_integer_to_float::scaled;

/// The attributes of `QAttention`.
#[derive(Clone, Debug, PartialEq)]
pub struct QAttention {
    /// What it shares with its kin.
    pub attention: PaddedAttention,
}

impl Operator for QAttention {
    const SIGNATURE: Signature = Signature::microsoft("QAttention");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        for name in ["do_rotary", "past_present_share_buffer"] {
            refuse(attrs, name)?;
        }
        Ok(Self {
            attention: PaddedAttention::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let width = match cx.tensor(1)?.shape.as_deref() {
            Some([_, columns]) => columns.floor_div(&3i64.into()),
            _ => Dim::Unknown,
        };
        infer_merged(cx, self.attention.num_heads, width, 8)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let exact = product(
            cx,
            (x, cx.optional_tensor(6)?),
            (cx.tensor(1)?, cx.optional_tensor(7)?),
        )?;
        let &[batch, sequence, columns] = exact.shape.as_slice() else {
            return Err(EvalError::rule("the rank must be 3", format_args!("{x:?}")));
        };
        let bias = cx.tensor(2)?;
        let projected = scaled(&exact, cx.tensor(3)?, cx.tensor(4)?, 1.0, Some(bias))?;
        let merged = Merged {
            batch,
            sequence,
            widths: [columns / 3; 3],
            data: projected.into_iter().map(f64::from).collect(),
        };
        let (mask, past) = (cx.optional_tensor(5)?, cx.optional_tensor(8)?);
        merged.attend(cx, &self.attention, mask, past, None, bias.dtype())
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}
