//! `OptionalGetElement`: the value that an optional holds; any other value as it is (opset 18).
//! <https://onnx.ai/onnx/operators/onnx__OptionalGetElement.html>

use crate::operator::prelude::*;

/// `OptionalGetElement` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct OptionalGetElement;

impl Operator for OptionalGetElement {
    const SIGNATURE: Signature = Signature::onnx("OptionalGetElement", &[15, 18, 28]);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![
            match cx.fact(0).ok_or(InferError::MissingInput { index: 0 })? {
                Fact::Optional(inner) => inner.as_ref().clone(),
                other => other.clone(),
            },
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        match cx.required(0)? {
            Value::Optional(None) => Err(EvalError::rule(
                "the optional must hold a value",
                "it is empty",
            )),
            Value::Optional(Some(inner)) => Ok(vec![inner.as_ref().clone()]),
            other => Ok(vec![other.clone()]),
        }
    }
}
