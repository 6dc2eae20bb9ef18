//! `FusedGemm`: `Gemm` and an activation.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FusedGemm>

use super::activation::FusedActivation;
use crate::operator::prelude::*;
use crate::ops::linear::Gemm;

/// The attributes of `FusedGemm`.
#[derive(Clone, Debug, PartialEq)]
pub struct FusedGemm {
    /// The product.
    pub gemm: Gemm,
    /// What follows it.
    pub activation: FusedActivation,
}

impl Operator for FusedGemm {
    const SIGNATURE: Signature = Signature::microsoft("FusedGemm");
    const GRADIENT: Gradient<Self> =
        Gradient::Undefined("it is fused for inference: differentiate the model before fusions");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let name = attrs.string_or("activation", String::new())?;
        let parameters = [
            attrs.f32_opt("activation_alpha")?,
            attrs.f32_opt("activation_beta")?,
            attrs.f32_opt("activation_gamma")?,
        ];
        Ok(Self {
            gemm: Gemm {
                alpha: attrs.f32_or("alpha", 1.0)?,
                beta: attrs.f32_or("beta", 1.0)?,
                trans_a: attrs.flag_or("transA", false)?,
                trans_b: attrs.flag_or("transB", false)?,
            },
            activation: FusedActivation::new(&name, &parameters)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Operator::infer(&self.gemm, cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let outputs = Operator::eval(&self.gemm, cx)?.into_iter();
        outputs
            .filter_map(Value::into_tensor)
            .map(|y| Ok(self.activation.apply_to(y)?.into()))
            .collect()
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("quantize products before they are fused")
    }
}
