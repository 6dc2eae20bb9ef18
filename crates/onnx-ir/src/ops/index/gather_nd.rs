//! `GatherND`: each tuple in the last axis of `indices` names a place in the leading axes of `x` (after
//! `batch_dims` shared ones); the output holds the slices there.
//! <https://onnx.ai/onnx/operators/onnx__GatherND.html>
//!
//! Opset 12 added `batch_dims`.

use super::position;
use crate::operator::prelude::*;
use crate::ops::select;

/// The attributes of `GatherND`.
#[derive(Clone, Debug, PartialEq)]
pub struct GatherND {
    /// Leading axes that the data and the indices share.
    pub batch_dims: usize,
}

const RULE: &str =
    "indices must share the batch axes, and their tuples not be longer than the rest";

impl Operator for GatherND {
    const SIGNATURE: Signature = Signature::onnx("GatherND", &[11, 12, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_moved(&[Some(cx.input(1))]);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            batch_dims: attrs.size_or("batch_dims", 0)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, indices) = (cx.tensor(0)?, cx.tensor(1)?);
        let (Some(dims), Some(places)) = (&x.shape, &indices.shape) else {
            return Ok(vec![TensorFact::of_dtype(x.dtype).into()]);
        };
        let wrong = || InferError::rule(RULE, format_args!("{x}, {indices}"));
        let (last, leading) = places.split_last().ok_or_else(wrong)?;
        let Some(tuple) = last.as_size() else {
            return Ok(vec![TensorFact::of_dtype(x.dtype).into()]);
        };
        let first = self.batch_dims.checked_add(tuple);
        let rest = first.and_then(|f| dims.get(f..)).ok_or_else(wrong)?;
        let shape = [leading, rest].concat();
        Ok(vec![TensorFact::with_shape(x.dtype, Some(shape)).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, indices) = (cx.tensor(0)?, cx.tensor(1)?);
        let wrong =
            || EvalError::rule(RULE, format_args!("{:?}, {:?}", x.shape(), indices.shape()));
        let batch = self.batch_dims;
        let (&tuple, leading) = indices.shape().split_last().ok_or_else(wrong)?;
        let end = batch
            .checked_add(tuple)
            .filter(|&end| end <= x.rank())
            .ok_or_else(wrong)?;
        if leading.get(..batch) != Some(&x.shape()[..batch]) {
            return Err(wrong());
        }
        let shape = [leading, &x.shape()[end..]].concat();
        let count = cx.check_size(&shape, x.dtype())?;
        let product = |dims: &[usize]| dims.iter().product::<usize>();
        let block = product(&x.shape()[end..]);
        let per_batch = product(&leading[batch..]);
        let batch_size = product(&x.shape()[batch..]);
        let places = cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?;
        let tuples = if count == 0 { 0 } else { product(leading) };
        let runs: Vec<select::Run<'_>> = (0..tuples)
            .map(|t| {
                let index = &places[t * tuple..(t + 1) * tuple];
                let within = position::offset(index, &x.shape()[batch..end], block)?;
                Ok((x, t / per_batch * batch_size + within, block))
            })
            .collect::<Result<_, EvalError>>()?;
        Ok(vec![
            select::assemble(x.dtype(), &shape, runs.into_iter())?.into(),
        ])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}
