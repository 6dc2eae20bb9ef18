//! `Compress`: the slices along `axis` (or the elements of the flat tensor) where the condition holds.
//! <https://onnx.ai/onnx/operators/onnx__Compress.html>

use crate::operator::prelude::*;
use crate::ops::{axis, select};

/// The attributes of `Compress`.
#[derive(Clone, Debug, PartialEq)]
pub struct Compress {
    /// The axis; the flat tensor where it is not given.
    pub axis: Option<i64>,
}

impl Operator for Compress {
    const SIGNATURE: Signature = Signature::onnx("Compress", &[9, 11, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_moved(&[Some(cx.input(1))]);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_opt("axis")?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        cx.tensor(1)?;
        let count = cx.fresh_symbol();
        let shape = match (self.axis, x.shape) {
            (None, _) => Some(vec![count]),
            (Some(_), None) => None,
            (Some(axis), Some(mut dims)) => {
                let at = axis::infer(axis, dims.len())?;
                dims[at] = count;
                Some(dims)
            }
        };
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let condition = cx.data::<bool>(1)?;
        let (mut shape, axis) = match self.axis {
            None => (vec![x.len()], 0),
            Some(axis) => (x.shape().to_vec(), axis::eval(axis, x.rank())?),
        };
        let (outer, size, inner) = axis::split(&shape, axis);
        let kept: Vec<usize> = (0..size.min(condition.len()))
            .filter(|&i| condition[i])
            .collect();
        if condition.len() > size && condition[size..].contains(&true) {
            let found = format_args!("{} for {size}", condition.len());
            return Err(EvalError::rule(
                "the condition must not be longer than the axis",
                found,
            ));
        }
        shape[axis] = kept.len();
        let outer = if x.is_empty() { 0 } else { outer };
        let runs = (0..outer).flat_map(|o| {
            kept.iter()
                .map(move |&k| (x, (o * size + k) * inner, inner))
        });
        Ok(vec![select::assemble(x.dtype(), &shape, runs)?.into()])
    }
}
