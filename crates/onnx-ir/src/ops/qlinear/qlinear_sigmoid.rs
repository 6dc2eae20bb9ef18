//! `QLinearSigmoid`: the logistic function between two quantized tensors, by a table.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearSigmoid>

use super::table::{self, Affine};
use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `QLinearSigmoid` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct QLinearSigmoid;

impl Operator for QLinearSigmoid {
    const SIGNATURE: Signature = Signature::microsoft("QLinearSigmoid");

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (from, to) = (Affine::at(cx, 1)?, Affine::at(cx, 3)?);
        let y = table::map(cx.tensor(0)?, from, to, |x| {
            (1.0 / (1.0 + (-f64::from(x)).exp())) as f32
        })?;
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}
