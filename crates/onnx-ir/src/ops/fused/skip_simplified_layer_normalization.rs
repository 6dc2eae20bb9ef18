//! `SkipSimplifiedLayerNormalization`: root-mean-square normalisation of `input + skip + bias` over the last axis.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.SkipSimplifiedLayerNormalization>

use super::residual_norm::{Moments, infer_skip, skip_normalise};
use crate::operator::prelude::*;

/// The attributes of `SkipSimplifiedLayerNormalization`.
#[derive(Clone, Debug, PartialEq)]
pub struct SkipSimplifiedLayerNormalization {
    /// Added to the mean square.
    pub epsilon: f32,
}

impl Operator for SkipSimplifiedLayerNormalization {
    const SIGNATURE: Signature = Signature::microsoft("SkipSimplifiedLayerNormalization");
    const GRADIENT: Gradient<Self> =
        Gradient::Undefined("it is fused for inference: differentiate the model before fusions");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            epsilon: attrs.f32_or("epsilon", 1e-12)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        infer_skip(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let bias = cx.optional_tensor(3)?;
        skip_normalise(cx, None, bias, self.epsilon, Moments::MeanSquare)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the moments of a row need more than 8 bits")
    }
}
