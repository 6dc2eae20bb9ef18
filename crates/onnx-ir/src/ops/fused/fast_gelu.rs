//! `FastGelu`: `y = gelu(x + bias)` with the normal distribution by the hyperbolic tangent; the bias, along the
//! last axis, may be left out.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FastGelu>

use super::biased;
use crate::operator::prelude::*;
use crate::ops::activation::GeluForm;
use crate::ops::elementwise::unary;
use crate::rewrite::NewNode;

/// `FastGelu` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct FastGelu;

impl Operator for FastGelu {
    const SIGNATURE: Signature = Signature::microsoft("FastGelu");
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let bias = cx.optional_input(1);
        let sum = bias.map_or(cx.input(0), |bias| cx.input(0) + bias);
        let node = NewNode::private("GeluGrad").with("approximate", "tanh");
        let dsum = cx.dy().apply(node, &[sum]);
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
        match cx.optional_tensor(1)? {
            Some(bias) => biased::apply(cx.tensor(0)?, bias, |x| GeluForm::Tanh.apply(x)),
            None => unary::float(cx, |x| GeluForm::Tanh.apply(x)),
        }
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("quantize activations before they are fused")
    }
}
