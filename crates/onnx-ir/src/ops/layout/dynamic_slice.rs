//! `DynamicSlice`: [`Slice`] with its bounds as inputs, an experimental operator that `Slice` of opset 10
//! replaced.

use super::slice::Slice;
use crate::operator::prelude::*;

/// `DynamicSlice` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct DynamicSlice;

const SLICE: Slice = Slice { bounds: None };

impl Operator for DynamicSlice {
    const SIGNATURE: Signature = Signature::onnx("DynamicSlice", &[1]);
    const GRADIENT: Gradient<Self> = Gradient::Undefined("`Slice` took its place");

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Operator::infer(&SLICE, cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Operator::eval(&SLICE, cx)
    }
    fn quantization(&self) -> QuantRule {
        Operator::quantization(&SLICE)
    }
}
