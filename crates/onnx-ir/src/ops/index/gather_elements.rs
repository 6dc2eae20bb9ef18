//! `GatherElements`: `y[k] = x[k with k[axis] replaced by indices[k]]`, for each index `k` of `indices`.
//! <https://onnx.ai/onnx/operators/onnx__GatherElements.html>

use super::position;
use crate::operator::prelude::*;
use crate::ops::{axis, select};

/// The attributes of `GatherElements`.
#[derive(Clone, Debug, PartialEq)]
pub struct GatherElements {
    /// The axis that the indices walk; negative counts from the end.
    pub axis: i64,
}

impl Operator for GatherElements {
    const SIGNATURE: Signature = Signature::onnx("GatherElements", &[11, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_moved(&[Some(cx.input(1))]);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", 0)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, indices) = (cx.tensor(0)?, cx.tensor(1)?);
        if let Some(rank) = x.rank() {
            axis::infer(self.axis, rank)?;
        }
        Ok(vec![TensorFact::with_shape(x.dtype, indices.shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, indices) = (cx.tensor(0)?, cx.tensor(1)?);
        let axis = axis::eval(self.axis, x.rank())?;
        let targets = element_offsets(x.shape(), indices, axis, cx)?;
        cx.check_size(indices.shape(), x.dtype())?;
        Ok(vec![
            select::select(x, indices.shape(), targets.into_iter())?.into(),
        ])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}

/// For each element of input 1 (the indices, of the rank of `shape` and no larger besides `axis`) the
/// offset into a tensor of `shape` at which it points along `axis`.
pub(super) fn element_offsets(
    shape: &[usize],
    indices: &Tensor,
    axis: usize,
    cx: &EvalContext<'_>,
) -> Result<Vec<usize>, EvalError> {
    let fits = indices.rank() == shape.len()
        && (0..shape.len()).all(|a| a == axis || indices.shape()[a] <= shape[a]);
    if !fits {
        return Err(EvalError::rule(
            "indices must have the rank of the data and not exceed it",
            format_args!("{:?} and {shape:?}", indices.shape()),
        ));
    }
    let mut strides = select::c_strides(shape);
    let along = strides[axis].unsigned_abs();
    strides[axis] = 0;
    let places = cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?;
    let bases = select::Offsets::new(indices.shape(), &strides, 0);
    bases
        .zip(places)
        .map(|(base, i)| Ok(base.unsigned_abs() + position::resolve(i, shape[axis])? * along))
        .collect()
}
