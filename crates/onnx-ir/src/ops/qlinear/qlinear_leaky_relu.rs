//! `QLinearLeakyRelu`: `x` where `x >= 0`, else `alpha * x`, between two quantized tensors, by a table.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearLeakyRelu>

use super::table::{self, Affine};
use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// The attributes of `QLinearLeakyRelu`.
#[derive(Clone, Debug, PartialEq)]
pub struct QLinearLeakyRelu {
    /// Slope for negative inputs (unitless).
    pub alpha: f32,
}

impl Operator for QLinearLeakyRelu {
    const SIGNATURE: Signature = Signature::microsoft("QLinearLeakyRelu");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            alpha: attrs.f32_or("alpha", 0.01)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (from, to) = (Affine::at(cx, 1)?, Affine::at(cx, 3)?);
        let y = table::map(cx.tensor(0)?, from, to, |x| {
            if x >= 0.0 { x } else { self.alpha * x }
        })?;
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}
