//! `QuantizeLinear` and `DequantizeLinear` of ONNX Runtime's `com.microsoft` domain: as ONNX has them, from
//! before it had all of their types.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QuantizeLinear>

use super::{DequantizeLinear, QuantizeLinear};
use crate::operator::prelude::*;

/// `com.microsoft.QuantizeLinear`.
#[derive(Clone, Debug, PartialEq)]
pub struct MicrosoftQuantizeLinear(pub QuantizeLinear);

/// `com.microsoft.DequantizeLinear`.
#[derive(Clone, Debug, PartialEq)]
pub struct MicrosoftDequantizeLinear(pub DequantizeLinear);

impl Operator for MicrosoftQuantizeLinear {
    const SIGNATURE: Signature = Signature::microsoft("QuantizeLinear");
    const GRADIENT: Gradient<Self> = Gradient::Quantizer(|op, cx| op.0.backward(cx));

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        QuantizeLinear::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Operator::infer(&self.0, cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Operator::eval(&self.0, cx)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

impl Operator for MicrosoftDequantizeLinear {
    const SIGNATURE: Signature = Signature::microsoft("DequantizeLinear");
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| op.0.backward(cx));

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        DequantizeLinear::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Operator::infer(&self.0, cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Operator::eval(&self.0, cx)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}
