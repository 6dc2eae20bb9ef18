//! `Scatter`: the old name of [`ScatterElements`] without reduction, deprecated by opset 11.
//! <https://onnx.ai/onnx/operators/onnx__Scatter.html>

use super::reduction::Reduction;
use super::scatter_elements::ScatterElements;
use crate::operator::prelude::*;

/// The attributes of `Scatter`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter(pub ScatterElements);

impl Operator for Scatter {
    const SIGNATURE: Signature = Signature::onnx("Scatter", &[9, 11]);
    const GRADIENT: Gradient<Self> = Gradient::Undefined("`ScatterElements` took its place");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let axis = attrs.int_or("axis", 0)?;
        Ok(Self(ScatterElements {
            axis,
            reduction: Reduction::Replace,
        }))
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Operator::infer(&self.0, cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Operator::eval(&self.0, cx)
    }
}
