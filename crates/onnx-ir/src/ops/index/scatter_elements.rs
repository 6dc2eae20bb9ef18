//! `ScatterElements`: a copy of the data in which `y[k with k[axis] replaced by indices[k]]` is combined
//! with `updates[k]`, for each index `k` of `indices`.
//! <https://onnx.ai/onnx/operators/onnx__ScatterElements.html>
//!
//! Opset 16 added the reductions `add` and `mul`, opset 18 `max` and `min`.

use super::gather_elements::element_offsets;
use super::reduction::Reduction;
use crate::operator::prelude::*;
use crate::ops::{axis, elementwise::unary};
use crate::rewrite::NewNode;

/// The attributes of `ScatterElements`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScatterElements {
    /// The axis that the indices walk; negative counts from the end.
    pub axis: i64,
    /// How updates combine with the data.
    pub reduction: Reduction,
}

impl Operator for ScatterElements {
    const SIGNATURE: Signature = Signature::onnx("ScatterElements", &[11, 13, 16, 18]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let gather = NewNode::new("GatherElements").with("axis", op.axis);
        op.reduction.gradient(cx, gather)?;
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", 0)?,
            reduction: Reduction::parse(attrs)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, indices, updates) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let axis = axis::eval(self.axis, x.rank())?;
        if indices.shape() != updates.shape() {
            return Err(EvalError::rule(
                "indices and updates must have one shape",
                format_args!("{:?} and {:?}", indices.shape(), updates.shape()),
            ));
        }
        let targets = element_offsets(x.shape(), indices, axis, cx)?;
        Ok(vec![
            self.reduction.scatter(x, &targets, 1, updates)?.into(),
        ])
    }
}
