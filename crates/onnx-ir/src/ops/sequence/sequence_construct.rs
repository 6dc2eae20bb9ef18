//! `SequenceConstruct`: a sequence of the inputs.
//! <https://onnx.ai/onnx/operators/onnx__SequenceConstruct.html>

use super::access::common;
use crate::operator::prelude::*;

/// `SequenceConstruct` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceConstruct;

impl Operator for SequenceConstruct {
    const SIGNATURE: Signature = Signature::onnx("SequenceConstruct", &[11]);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let first = cx.fact(0).ok_or(InferError::MissingInput { index: 0 })?;
        let rest = (0..cx.input_count()).filter_map(|i| cx.fact(i));
        let element = rest.fold(first.clone(), |a, b| common(&a, b));
        Ok(vec![Fact::Sequence(Box::new(element))])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let values = (0..cx.input_count()).map(|i| cx.required(i).cloned());
        Ok(vec![Value::Sequence(values.collect::<Result<_, _>>()?)])
    }
}
