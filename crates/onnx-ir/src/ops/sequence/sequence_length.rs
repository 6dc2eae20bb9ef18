//! `SequenceLength`: the number of elements as an i64 scalar.
//! <https://onnx.ai/onnx/operators/onnx__SequenceLength.html>

use super::access::{element, sequence};
use crate::operator::prelude::*;

/// `SequenceLength` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceLength;

impl Operator for SequenceLength {
    const SIGNATURE: Signature = Signature::onnx("SequenceLength", &[11]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        element(cx, 0)?;
        Ok(vec![TensorFact::int_scalar(Dim::Unknown).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Ok(vec![Tensor::scalar(sequence(cx, 0)?.len() as i64).into()])
    }
}
