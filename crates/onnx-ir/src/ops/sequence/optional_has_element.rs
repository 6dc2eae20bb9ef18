//! `OptionalHasElement`: whether there is a value: false for an empty optional or (since opset 18) a
//! left-out input.
//! <https://onnx.ai/onnx/operators/onnx__OptionalHasElement.html>

use crate::operator::prelude::*;

/// `OptionalHasElement` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct OptionalHasElement;

impl Operator for OptionalHasElement {
    const SIGNATURE: Signature = Signature::onnx("OptionalHasElement", &[15, 18, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, _: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![
            TensorFact::with_shape(Some(DType::Bool), Some(Vec::new())).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let there = !matches!(cx.value(0), None | Some(Value::Optional(None)));
        Ok(vec![Tensor::scalar(there).into()])
    }
}
