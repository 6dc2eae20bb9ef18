//! `LayerNormalization`: `y = (x - mean) / sqrt(var + epsilon) * scale + bias` with the statistics over all
//! axes from `axis` on. Outputs 1 and 2 are `mean` and `1 / sqrt(var + epsilon)`.
//! <https://onnx.ai/onnx/operators/onnx__LayerNormalization.html>; Ba et al., arXiv:1607.06450.

use super::moments::{Moments, broadcast_parameter};
use crate::operator::prelude::*;
use crate::ops::axis;
use crate::ops::lanes::{Lanes, floats, rounded};
use crate::rewrite::NewNode;

/// The attributes of `LayerNormalization`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNormalization {
    /// The first axis of what is normalised.
    pub axis: i64,
    /// Added to the variance.
    pub epsilon: f32,
    /// The type of the statistics given out.
    pub stash_type: DType,
}

impl Operator for LayerNormalization {
    const SIGNATURE: Signature = Signature::onnx("LayerNormalization", &[17]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", -1)?,
            epsilon: attrs.f32_or("epsilon", 1e-5)?,
            stash_type: attrs.dtype_opt("stash_type")?.unwrap_or(DType::F32),
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let statistics = match &x.shape {
            None => None,
            Some(shape) => {
                let axis = axis::infer(self.axis, shape.len())?;
                let ones = vec![Dim::Known(1); shape.len() - axis];
                Some([&shape[..axis], &ones].concat())
            }
        };
        let mut facts = vec![TensorFact::with_shape(x.dtype, x.shape).into()];
        for _ in 1..cx.output_count() {
            facts.push(TensorFact::with_shape(Some(self.stash_type), statistics.clone()).into());
        }
        Ok(facts)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let axis = axis::eval(self.axis, x.rank())?;
        let scale = broadcast_parameter(cx.tensor(1)?, x.shape())?;
        let bias = match cx.optional_tensor(2)? {
            Some(bias) => broadcast_parameter(bias, x.shape())?,
            None => vec![0.0; x.len()],
        };
        let mut values = floats(x)?;
        let (mut means, mut deviations) = (Vec::new(), Vec::new());
        for lane in Lanes::new(x.shape(), axis, x.rank()).iter() {
            let m = Moments::of(lane.clone().map(|p| values[p]));
            let factor = m.inverse_deviation(self.epsilon);
            for p in lane {
                values[p] = (values[p] - m.mean) * factor * scale[p] + bias[p];
            }
            means.push(m.mean);
            deviations.push(factor);
        }
        let ones = vec![1; x.rank() - axis];
        let shape = [&x.shape()[..axis], &ones].concat();
        Ok(vec![
            rounded(x.dtype(), x.shape(), values)?.into(),
            rounded(self.stash_type, &shape, means)?.into(),
            rounded(self.stash_type, &shape, deviations)?.into(),
        ])
    }
}

fn gradient(op: &LayerNormalization, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    if cx.adjoint(1).is_some() || cx.adjoint(2).is_some() {
        return Err(Unsupported("a loss depends on its statistics"));
    }
    let (x, scale) = (cx.input(0), cx.input(1));
    let node = NewNode::private("LayerNormalizationGrad")
        .with("axis", op.axis)
        .with("epsilon", op.epsilon);
    let inputs = [Some(cx.dy()), Some(x), Some(scale)];
    match cx.optional_input(2) {
        Some(bias) if bias.has_shape_of(scale) => cx.give_outputs(node, &inputs, &[0, 1, 2]),
        _ => {
            cx.give_outputs(node, &inputs, &[0, 1]);
            cx.give_broadcast(2, cx.dy());
        }
    }
    Ok(())
}
