//! `OneHot`: a new axis of size `depth` that holds `on` at the index and `off` elsewhere.
//! <https://onnx.ai/onnx/operators/onnx__OneHot.html>
//!
//! Opset 11 let negative indices count from the end; an index outside gives `off` only.

use super::order;
use crate::operator::prelude::*;
use crate::ops::{axis, select};

/// The attributes of `OneHot`.
#[derive(Clone, Debug, PartialEq)]
pub struct OneHot {
    /// The new axis of the output; negative counts from the end.
    pub axis: i64,
}

const DEPTH_RULE: &str = "depth must be one number, not negative";

impl Operator for OneHot {
    const SIGNATURE: Signature = Signature::onnx("OneHot", &[9, 11, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let (dy, values) = (cx.dy(), cx.input(2));
        let unit = Tensor::vector(vec![0.0, 1.0]);
        let unit = cx.tensor(unit).cast_like(values);
        let hot = dy * cx.again(&[Some(cx.input(0)), Some(cx.input(1)), Some(unit)]);
        let (on, all) = (hot.sum_all(), dy.sum_all());
        cx.give(
            2,
            (all - on).unsqueeze(&[0]).concat(&[on.unsqueeze(&[0])], 0),
        );
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", -1)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (indices, values) = (cx.tensor(0)?, cx.tensor(2)?);
        cx.tensor(1)?;
        let shape = match indices.shape {
            None => None,
            Some(mut dims) => {
                let axis = axis::infer(self.axis, dims.len() + 1)?;
                let known = cx.constant(1).and_then(|t| depth(t).ok());
                let partial = || cx.elements(1).filter(|d| d.len() == 1)?.pop();
                let size = known.map(Dim::from).or_else(partial);
                if size
                    .as_ref()
                    .and_then(Dim::as_known)
                    .is_some_and(|size| size < 0)
                {
                    return Err(InferError::rule(
                        "the depth must not be negative",
                        format_args!("{size:?}"),
                    ));
                }
                dims.insert(axis, size.unwrap_or(Dim::Unknown));
                Some(dims)
            }
        };
        Ok(vec![TensorFact::with_shape(values.dtype, shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (indices, values) = (cx.tensor(0)?, cx.tensor(2)?);
        let depth = depth(cx.tensor(1)?)?;
        if values.len() != 2 {
            return Err(EvalError::rule(
                "values must be [off, on]",
                format_args!("{:?}", values.shape()),
            ));
        }
        let axis = axis::eval(self.axis, indices.rank() + 1)?;
        let mut shape = indices.shape().to_vec();
        shape.insert(axis, depth);
        let count = cx.check_size(&shape, values.dtype())?;
        let (outer, _, inner) = axis::split(&shape, axis);
        let hot: Vec<Option<usize>> = order::to_f64(indices)?
            .into_iter()
            .map(|i| {
                let i = if i < 0.0 { i + depth as f64 } else { i };
                (i >= 0.0 && i < depth as f64).then_some(i as usize)
            })
            .collect();
        let outer = if count == 0 { 0 } else { outer };
        let hot = &hot;
        let sources = (0..outer).flat_map(|o| {
            (0..depth).flat_map(move |d| {
                (0..inner).map(move |i| usize::from(hot[o * inner + i] == Some(d)))
            })
        });
        Ok(vec![select::select(values, &shape, sources)?.into()])
    }
}

fn depth(tensor: &Tensor) -> Result<usize, EvalError> {
    match order::to_f64(tensor)?.as_slice() {
        // The cast saturates; the limits refuse what is too large.
        [depth] if *depth >= 0.0 => Ok(*depth as usize),
        found => Err(EvalError::rule(DEPTH_RULE, format_args!("{found:?}"))),
    }
}
