//! `Shape`: the shape of a tensor as an i64 vector, from axis `start` to before axis `end`.
//! <https://onnx.ai/onnx/operators/onnx__Shape.html>

use crate::operator::prelude::*;

/// The attributes of `Shape`.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// First axis; negative counts from the end, clamped to the rank.
    pub start: i64,
    /// Axis after the last; the rank where it is not given.
    pub end: Option<i64>,
}

impl Shape {
    fn range(&self, rank: usize) -> std::ops::Range<usize> {
        let rank = rank as i64;
        let clamp = |axis: i64| {
            (if axis < 0 {
                axis.saturating_add(rank)
            } else {
                axis
            })
            .clamp(0, rank) as usize
        };
        let (start, end) = (clamp(self.start), clamp(self.end.unwrap_or(rank)));
        start..end.max(start)
    }
}

impl Operator for Shape {
    const SIGNATURE: Signature = Signature::onnx("Shape", &[1, 13, 15, 19, 21, 23, 24, 25]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            start: attrs.int_or("start", 0)?,
            end: attrs.int_opt("end")?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![
            match cx.tensor(0)?.shape {
                Some(dims) => TensorFact::int_vector(dims[self.range(dims.len())].to_vec()),
                None => TensorFact::with_shape(Some(DType::I64), Some(vec![Dim::Unknown])),
            }
            .into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let shape = cx.tensor(0)?.shape();
        let dims = shape[self.range(shape.len())]
            .iter()
            .map(|&d| d as i64)
            .collect();
        Ok(vec![Tensor::vector::<i64>(dims).into()])
    }
}
