//! `Identity`: the input, whatever its kind.
//! <https://onnx.ai/onnx/operators/onnx__Identity.html>

use crate::operator::prelude::*;

/// `Identity` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity;

impl Operator for Identity {
    const SIGNATURE: Signature = Signature::onnx("Identity", &[1, 13, 14, 16, 19, 21, 23, 24, 25]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.dy());
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![
            cx.fact(0)
                .ok_or(InferError::MissingInput { index: 0 })?
                .clone(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Ok(vec![cx.required(0)?.clone()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}
