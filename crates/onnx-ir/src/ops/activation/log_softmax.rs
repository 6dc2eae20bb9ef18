//! `LogSoftmax`: `y = x - ln(sum of e^x)` along an axis.
//! <https://onnx.ai/onnx/operators/onnx__LogSoftmax.html>

use super::softmax_axis::SoftmaxAxis;
use crate::operator::prelude::*;
use crate::rewrite::NewNode;

/// The attributes of `LogSoftmax`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSoftmax {
    /// The axes of a lane.
    pub axis: SoftmaxAxis,
}

impl Operator for LogSoftmax {
    const SIGNATURE: Signature = Signature::onnx("LogSoftmax", &[1, 11, 13]);
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
        self.axis.map(cx, log_softmax)
    }
}

/// `x - ln(sum of e^x)`, without overflow: the largest element is subtracted first.
pub(crate) fn log_softmax(lane: &mut [f64]) {
    let max = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = lane.iter().map(|v| (v - max).exp()).sum();
    for v in lane {
        *v -= max + sum.ln();
    }
}

fn gradient(op: &LogSoftmax, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    let node = NewNode::private("LogSoftmaxGrad").with("axis", op.axis.single()?);
    cx.give(0, cx.dy().apply(node, &[cx.output(0)]));
    Ok(())
}
