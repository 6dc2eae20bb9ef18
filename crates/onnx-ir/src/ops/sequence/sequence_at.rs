//! `SequenceAt`: the element at a position; negative ones count from the end.
//! <https://onnx.ai/onnx/operators/onnx__SequenceAt.html>

use super::access::{element, position, sequence};
use crate::operator::prelude::*;

/// `SequenceAt` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceAt;

impl Operator for SequenceAt {
    const SIGNATURE: Signature = Signature::onnx("SequenceAt", &[11]);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        cx.tensor(1)?;
        Ok(vec![element(cx, 0)?])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let values = sequence(cx, 0)?;
        let at = position(cx, 1, values.len(), values.len())?;
        let value = at.and_then(|at| values.get(at));
        Ok(vec![
            value.ok_or(EvalError::MissingInput { index: 1 })?.clone(),
        ])
    }
}
