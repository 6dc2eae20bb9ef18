//! `RMSNormalization`: `y = x / sqrt(mean(x^2) + epsilon) * scale` with the mean over all axes from `axis`
//! on; the result has the type of the scale.
//! <https://onnx.ai/onnx/operators/onnx__RMSNormalization.html>; Zhang and Sennrich, arXiv:1910.07467.

use super::moments::broadcast_parameter;
use crate::operator::prelude::*;
use crate::ops::axis;
use crate::ops::lanes::{Lanes, floats, rounded};
use crate::rewrite::NewNode;

/// The attributes of `RMSNormalization`.
#[derive(Clone, Debug, PartialEq)]
pub struct RmsNormalization {
    /// The first axis of what is normalised.
    pub axis: i64,
    /// Added to the mean of the squares.
    pub epsilon: f32,
}

impl Operator for RmsNormalization {
    const SIGNATURE: Signature = Signature::onnx("RMSNormalization", &[23]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let node = NewNode::private("RMSNormalizationGrad")
            .with("axis", op.axis)
            .with("epsilon", op.epsilon);
        let inputs = [cx.dy(), cx.input(0), cx.input(1)].map(Some);
        cx.give_outputs(node, &inputs, &[0, 1]);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("stash_type");
        Ok(Self {
            axis: attrs.int_or("axis", -1)?,
            epsilon: attrs.f32_or("epsilon", 1e-5)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, scale) = (cx.tensor(0)?, cx.tensor(1)?);
        if let Some(rank) = x.rank() {
            axis::infer(self.axis, rank)?;
        }
        Ok(vec![TensorFact::with_shape(scale.dtype, x.shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, scale) = (cx.tensor(0)?, cx.tensor(1)?);
        let axis = axis::eval(self.axis, x.rank())?;
        let factors = broadcast_parameter(scale, x.shape())?;
        let mut values = floats(x)?;
        for lane in Lanes::new(x.shape(), axis, x.rank()).iter() {
            let (count, squares) = lane
                .clone()
                .fold((0.0, 0.0), |(n, s), p| (n + 1.0, s + values[p] * values[p]));
            let rms = (squares / count + f64::from(self.epsilon)).sqrt();
            for p in lane {
                values[p] = values[p] / rms * factors[p];
            }
        }
        Ok(vec![rounded(scale.dtype(), x.shape(), values)?.into()])
    }
}
