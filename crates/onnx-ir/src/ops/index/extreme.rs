//! What `ArgMax` and `ArgMin` share: the position of an extreme along an axis.

use super::order::{Visit, compare, with_elements};
use crate::operator::prelude::*;
use crate::ops::axis;
use std::cmp::Ordering;

/// The attributes of `ArgMax` and `ArgMin`.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgExtreme {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Whether the axis stays, with size 1.
    pub keep_dims: bool,
    /// Whether of equal extremes the last one counts, else the first.
    pub last: bool,
}

impl ArgExtreme {
    pub(super) fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", 0)?,
            keep_dims: attrs.flag_or("keepdims", true)?,
            last: attrs.flag_or("select_last_index", false)?,
        })
    }

    pub(super) fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let shape = match cx.tensor(0)?.shape {
            None => None,
            Some(mut dims) => {
                let at = axis::infer(self.axis, dims.len())?;
                if self.keep_dims {
                    dims[at] = Dim::Known(1);
                } else {
                    dims.remove(at);
                }
                Some(dims)
            }
        };
        Ok(vec![TensorFact::with_shape(Some(DType::I64), shape).into()])
    }

    /// The positions of the elements that compare as `wanted` with all others.
    pub(super) fn eval(
        &self,
        cx: &EvalContext<'_>,
        wanted: Ordering,
    ) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let axis = axis::eval(self.axis, x.rank())?;
        let (outer, size, inner) = axis::split(x.shape(), axis);
        let mut shape = x.shape().to_vec();
        if self.keep_dims {
            shape[axis] = 1;
        } else {
            shape.remove(axis);
        }
        if size == 0 && outer * inner > 0 {
            return Err(EvalError::rule(
                "an empty axis has no extreme",
                format_args!("{:?}", x.shape()),
            ));
        }
        let search = Search {
            outer,
            size,
            inner,
            wanted,
            last: self.last,
        };
        Ok(vec![
            Tensor::from_vec(&shape, with_elements(x, search)?)?.into(),
        ])
    }
}

struct Search {
    outer: usize,
    size: usize,
    inner: usize,
    wanted: Ordering,
    last: bool,
}

impl Visit for Search {
    type Output = Vec<i64>;

    fn visit<T: PartialOrd>(self, data: &[T]) -> Result<Vec<i64>, EvalError> {
        let Search {
            outer,
            size,
            inner,
            wanted,
            last,
        } = self;
        let best = |o: usize, i: usize| {
            let at = |p: usize| &data[(o * size + p) * inner + i];
            (1..size).fold(0, |best, p| match compare(at(p), at(best)) {
                order if order == wanted || (last && order.is_eq()) => p,
                _ => best,
            }) as i64
        };
        let best = &best;
        Ok((0..outer)
            .flat_map(|o| (0..inner).map(move |i| best(o, i)))
            .collect())
    }
}
