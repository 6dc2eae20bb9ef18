//! `BitCast`: the same bits read as another element type of the same width.
//! <https://onnx.ai/onnx/operators/onnx__BitCast.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// The attributes of `BitCast`.
#[derive(Clone, Debug, PartialEq)]
pub struct BitCast {
    /// The type to read the bits as.
    pub to: DType,
}

const RULE: &str = "both types must have the same number of bits";

impl Operator for BitCast {
    const SIGNATURE: Signature = Signature::onnx("BitCast", &[26]);
    const GRADIENT: Gradient<Self> = Gradient::Undefined("bits read as another type have no slope");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            to: attrs.dtype("to")?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        match cx.tensor(0)?.dtype {
            Some(from) if from.bits().is_none() || from.bits() != self.to.bits() => Err(
                InferError::rule(RULE, format_args!("{from} to {}", self.to)),
            ),
            _ => unary::infer_as(cx, Some(self.to)),
        }
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let from = x.dtype();
        if from.bits().is_none() || from.bits() != self.to.bits() {
            return Err(EvalError::rule(RULE, format_args!("{from} to {}", self.to)));
        }
        let y = Tensor::from_bytes(self.to, x.shape(), x.to_bytes())?.to_aligned();
        Ok(vec![y.into()])
    }
}
