//! `InstanceNormalization`: `y = (x - mean) / sqrt(var + epsilon) * scale + bias` with the statistics of
//! each sample's channels, scale and bias per channel.
//! <https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html>; Ulyanov et al., arXiv:1607.08022.

use super::group_normalization::{Affine, normalize};
use crate::operator::prelude::*;
use crate::ops::elementwise::unary;
use crate::rewrite::NewNode;

/// The attributes of `InstanceNormalization`.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceNormalization {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Operator for InstanceNormalization {
    const SIGNATURE: Signature = Signature::onnx("InstanceNormalization", &[1, 6, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let node = NewNode::private("GroupNormalizationGrad").with("epsilon", op.epsilon);
        let inputs = [cx.dy(), cx.input(0), cx.input(1)].map(Some);
        cx.give_outputs(node, &inputs, &[0, 1, 2]);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        Ok(Self {
            epsilon: attrs.f32_or("epsilon", 1e-5)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Ok(vec![
            normalize(cx, None, Affine::PerChannel, self.epsilon)?.into(),
        ])
    }
}
