//! `SequenceInsert`: the sequence with a tensor put in at a position, at the end by default.
//! <https://onnx.ai/onnx/operators/onnx__SequenceInsert.html>

use super::access::{common, element, position, sequence};
use crate::operator::prelude::*;

/// `SequenceInsert` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceInsert;

impl Operator for SequenceInsert {
    const SIGNATURE: Signature = Signature::onnx("SequenceInsert", &[11]);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let inserted = cx.fact(1).ok_or(InferError::MissingInput { index: 1 })?;
        let element = element(cx, 0)?;
        let dtype = |fact: &Fact| fact.as_tensor().and_then(|tensor| tensor.dtype);
        if let (Some(held), Some(new)) = (dtype(&element), dtype(inserted))
            && held != new
        {
            let rule = "all tensors of a sequence have one element type";
            return Err(InferError::rule(rule, format_args!("{held} and {new}")));
        }
        Ok(vec![Fact::Sequence(Box::new(common(&element, inserted)))])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let mut values = sequence(cx, 0)?.to_vec();
        let at = position(cx, 2, values.len(), values.len() + 1)?.unwrap_or(values.len());
        values.insert(at, cx.required(1)?.clone());
        Ok(vec![Value::Sequence(values)])
    }
}
