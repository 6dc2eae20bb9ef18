//! `SequenceErase`: the sequence without the element at a position, the last by default.
//! <https://onnx.ai/onnx/operators/onnx__SequenceErase.html>

use super::access::{element, position, sequence};
use crate::operator::prelude::*;

/// `SequenceErase` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceErase;

impl Operator for SequenceErase {
    const SIGNATURE: Signature = Signature::onnx("SequenceErase", &[11]);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![Fact::Sequence(Box::new(element(cx, 0)?))])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let mut values = sequence(cx, 0)?.to_vec();
        let Some(last) = values.len().checked_sub(1) else {
            return Err(EvalError::rule("an empty sequence has nothing to erase", 0));
        };
        let at = position(cx, 1, values.len(), values.len())?.unwrap_or(last);
        values.remove(at);
        Ok(vec![Value::Sequence(values)])
    }
}
