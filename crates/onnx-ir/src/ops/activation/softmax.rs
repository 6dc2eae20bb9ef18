//! `Softmax`: `y = e^x / sum of e^x` along an axis.
//! <https://onnx.ai/onnx/operators/onnx__Softmax.html>

use super::softmax_axis::SoftmaxAxis;
use crate::operator::prelude::*;
use crate::rewrite::NewNode;

/// The attributes of `Softmax`.
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax {
    /// The axes of a lane.
    pub axis: SoftmaxAxis,
}

impl Operator for Softmax {
    const SIGNATURE: Signature = Signature::onnx("Softmax", &[1, 11, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: SoftmaxAxis::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.axis.infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.axis.map(cx, softmax)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FixedOutput { min: 0.0, max: 1.0 }
    }
}

/// `e^x / sum of e^x`, without overflow: the largest element is subtracted first.
pub(crate) fn softmax(lane: &mut [f64]) {
    let max = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for v in lane.iter_mut() {
        *v = (*v - max).exp();
        sum += *v;
    }
    for v in lane {
        *v /= sum;
    }
}

fn gradient(op: &Softmax, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    let node = NewNode::private("SoftmaxGrad").with("axis", op.axis.single()?);
    cx.give(0, cx.dy().apply(node, &[cx.output(0)]));
    Ok(())
}
