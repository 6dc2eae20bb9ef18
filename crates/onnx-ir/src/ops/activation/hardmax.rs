//! `Hardmax`: 1 at the first largest element along an axis, 0 elsewhere.
//! <https://onnx.ai/onnx/operators/onnx__Hardmax.html>

use super::softmax_axis::SoftmaxAxis;
use crate::operator::prelude::*;

/// The attributes of `Hardmax`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hardmax {
    /// The axes of a lane.
    pub axis: SoftmaxAxis,
}

impl Operator for Hardmax {
    const SIGNATURE: Signature = Signature::onnx("Hardmax", &[1, 11, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: SoftmaxAxis::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.axis.infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.axis.map(cx, hardmax)
    }
}

fn hardmax(lane: &mut [f64]) {
    let mut largest = 0;
    for (i, v) in lane.iter().enumerate() {
        if *v > lane[largest] {
            largest = i;
        }
    }
    for (i, v) in lane.iter_mut().enumerate() {
        *v = f64::from(i == largest);
    }
}
