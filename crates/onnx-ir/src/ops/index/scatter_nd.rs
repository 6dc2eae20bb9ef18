//! `ScatterND`: a copy of the data in which the slice that each index tuple names is combined with its
//! slice of the updates.
//! <https://onnx.ai/onnx/operators/onnx__ScatterND.html>
//!
//! Opset 16 added the reductions `add` and `mul`, opset 18 `max` and `min`.

use super::position;
use super::reduction::Reduction;
use crate::operator::prelude::*;
use crate::ops::elementwise::unary;
use crate::rewrite::NewNode;

/// The attributes of `ScatterND`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScatterND {
    /// How updates combine with the data.
    pub reduction: Reduction,
}

const RULE: &str =
    "updates must have the shape of the indices without their tuples, then the slice's";

impl Operator for ScatterND {
    const SIGNATURE: Signature = Signature::onnx("ScatterND", &[11, 13, 16, 18]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let gather = NewNode::new("GatherND");
        op.reduction.gradient(cx, gather)?;
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            reduction: Reduction::parse(attrs)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, indices, updates) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let wrong = || {
            let shapes = [x.shape(), indices.shape(), updates.shape()];
            EvalError::rule(RULE, format_args!("{shapes:?}"))
        };
        let (&tuple, leading) = indices.shape().split_last().ok_or_else(wrong)?;
        let slice = x.shape().get(tuple..).ok_or_else(wrong)?;
        if updates.shape() != [leading, slice].concat() {
            return Err(wrong());
        }
        let block = element_count(slice).ok_or_else(wrong)?;
        let count = element_count(leading).ok_or_else(wrong)?;
        if block == 0 || count == 0 {
            return Ok(vec![x.clone().into()]);
        }
        let places = cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?;
        let targets: Vec<usize> = (0..count)
            .map(|i| position::offset(&places[i * tuple..(i + 1) * tuple], x.shape(), block))
            .collect::<Result<_, _>>()?;
        Ok(vec![
            self.reduction.scatter(x, &targets, block, updates)?.into(),
        ])
    }
}
