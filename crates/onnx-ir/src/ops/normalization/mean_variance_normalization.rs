//! `MeanVarianceNormalization`: `y = (x - mean) / (sqrt(var) + 1e-9)` with the statistics over `axes`.
//! <https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html>

use super::moments::Moments;
use crate::operator::prelude::*;
use crate::ops::elementwise::unary;
use crate::ops::lanes::{floats, rounded};
use crate::ops::{axis, broadcast};

/// The attributes of `MeanVarianceNormalization`.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanVarianceNormalization {
    /// The axes that statistics are taken over.
    pub axes: Vec<i64>,
}

impl Operator for MeanVarianceNormalization {
    const SIGNATURE: Signature = Signature::onnx("MeanVarianceNormalization", &[9, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let (x, dy) = (cx.input(0), cx.dy());
        let axes: Option<Vec<usize>> = op.axes.iter().map(|&axis| x.axis(axis)).collect();
        let axes = axes.ok_or(Unsupported("the rank of its input is not known"))?;
        let count = cx.count(x, &axes);
        let (x, dy) = (x.cast_like(count), dy.cast_like(count));
        let centred = x - op.mean(x, count);
        let deviation = op.mean(centred * centred, count).sqrt();
        let root = deviation + 1e-9;
        let along = op.mean(dy * centred, count) / (deviation * root);
        // Where all elements are equal, moving one does not change the deviation.
        let along = deviation.equals(0.0).choose(0.0, along);
        cx.give(0, (dy - op.mean(dy, count) - centred * along) / root);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axes: attrs.ints_or("axes", vec![0, 2, 3])?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        if let Some(rank) = cx.tensor(0)?.rank() {
            for &axis in &self.axes {
                axis::infer(axis, rank)?;
            }
        }
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let mut kept = x.shape().to_vec();
        for &axis in &self.axes {
            kept[axis::eval(axis, x.rank())?] = 1;
        }
        let mut values = floats(x)?;
        // The group of every element: its position with the normalised axes left out.
        let mut group_of = Vec::with_capacity(values.len());
        let strides = broadcast::strides(&kept, x.shape());
        broadcast::for_each(x.shape(), [&strides], |[g]| group_of.push(g));
        let mut groups: Vec<Vec<usize>> = vec![Vec::new(); kept.iter().product()];
        for (p, &g) in group_of.iter().enumerate() {
            groups[g].push(p);
        }
        for group in groups {
            let m = Moments::of(group.iter().map(|&p| values[p]));
            for p in group {
                values[p] = (values[p] - m.mean) / (m.variance.sqrt() + 1e-9);
            }
        }
        Ok(vec![rounded(x.dtype(), x.shape(), values)?.into()])
    }
}

impl MeanVarianceNormalization {
    fn mean<'g>(&self, v: Var<'g>, count: Var<'g>) -> Var<'g> {
        v.sum(&self.axes, true) / count
    }
}
