//! `Size`: the number of elements as an i64 scalar.
//! <https://onnx.ai/onnx/operators/onnx__Size.html>

use crate::operator::prelude::*;

/// `Size` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Size;

impl Operator for Size {
    const SIGNATURE: Signature = Signature::onnx("Size", &[1, 13, 19, 21, 23, 24, 25]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let count = match cx.tensor(0)?.shape {
            Some(dims) => dims.into_iter().fold(Dim::Known(1), |a, d| a * d),
            None => Dim::Unknown,
        };
        Ok(vec![TensorFact::int_scalar(count).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Ok(vec![Tensor::scalar(cx.tensor(0)?.len() as i64).into()])
    }
}
