//! `BiasGelu`: `y = gelu(a + b)`, the bias `b` along the last axis.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.BiasGelu>

use super::biased;
use crate::operator::prelude::*;
use crate::ops::activation::GeluForm;
use crate::ops::elementwise::unary;
use crate::rewrite::NewNode;

/// `BiasGelu` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct BiasGelu;

impl Operator for BiasGelu {
    const SIGNATURE: Signature = Signature::microsoft("BiasGelu");
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let sum = cx.input(0) + cx.input(1);
        let dsum = cx.dy().apply(NewNode::private("GeluGrad"), &[sum]);
        cx.give(0, dsum);
        cx.give_broadcast(1, dsum);
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        biased::apply(cx.tensor(0)?, cx.tensor(1)?, |x| GeluForm::Exact.apply(x))
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("quantize activations before they are fused")
    }
}
