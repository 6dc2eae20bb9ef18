//! Results of iterations put side by side along a new axis, and iterations cut out of tensors.

use crate::operator::prelude::*;
use crate::ops::{axis, select};

/// The results of one output over the iterations of a loop, for one stacked tensor.
pub(super) struct Stack {
    axis: i64,
    parts: Vec<Tensor>,
    bytes: usize,
}

impl Stack {
    /// A stack along `axis` of the result.
    pub(super) fn new(axis: i64) -> Self {
        Self {
            axis,
            parts: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds the result of one iteration.
    pub(super) fn push(&mut self, cx: &EvalContext<'_>, value: Value) -> Result<(), EvalError> {
        let found = value.kind();
        let part = value
            .into_tensor()
            .ok_or_else(|| EvalError::rule("outputs that are collected must be tensors", found))?;
        if let Some(first) = self.parts.first()
            && (first.shape() != part.shape() || first.dtype() != part.dtype())
        {
            return Err(EvalError::rule(
                "outputs that are collected must keep type and shape",
                format_args!("{first:?}, then {part:?}"),
            ));
        }
        self.bytes = self.bytes.saturating_add(part.byte_len().max(1));
        let limit = cx.limits().max_tensor_bytes;
        if self.bytes > limit {
            let mut shape = vec![self.parts.len()];
            shape.extend(part.shape());
            return Err(EvalError::TooLarge { shape, limit });
        }
        self.parts.push(part);
        Ok(())
    }

    /// The stacked tensor; without iterations, what the body declares of the output.
    pub(super) fn finish(self, declared: &Fact, order: Direction) -> Result<Tensor, EvalError> {
        let Some(first) = self.parts.first() else {
            return empty(declared, self.axis);
        };
        let dtype = first.dtype();
        let mut shape = first.shape().to_vec();
        let axis = axis::eval(self.axis, shape.len() + 1)?;
        let outer: usize = shape[..axis].iter().product();
        let inner: usize = shape[axis..].iter().product();
        shape.insert(axis, self.parts.len());
        let last = self.parts.len() - 1;
        let parts = &self.parts;
        let runs = (0..outer).flat_map(|o| {
            (0..parts.len()).map(move |i| {
                let i = match order {
                    Direction::Forward => i,
                    Direction::Reverse => last - i,
                };
                (&parts[i], o * inner, inner)
            })
        });
        select::assemble(dtype, &shape, runs)
    }
}

/// The order in which a tensor is read or written along its axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// First to last.
    #[default]
    Forward,
    /// Last to first.
    Reverse,
}

/// No results at all: unknown sizes become 0.
fn empty(declared: &Fact, axis: i64) -> Result<Tensor, EvalError> {
    let fact = declared.as_tensor();
    let dtype = fact.and_then(|f| f.dtype).ok_or_else(|| {
        EvalError::rule(
            "the body must declare the type of an output that is never computed",
            declared,
        )
    })?;
    let dims = fact.and_then(|f| f.shape.as_deref()).unwrap_or(&[]);
    let mut shape: Vec<usize> = dims.iter().map(|d| d.as_size().unwrap_or(0)).collect();
    let axis = axis::eval(axis, shape.len() + 1)?;
    shape.insert(axis, 0);
    select::assemble(dtype, &shape, std::iter::empty())
}

/// The part of a tensor at one index of an axis, without that axis.
pub(super) fn at(x: &Tensor, axis: usize, index: usize) -> Result<Tensor, EvalError> {
    let mut strides = select::c_strides(x.shape());
    let mut shape = x.shape().to_vec();
    shape.remove(axis);
    let start = strides
        .remove(axis)
        .saturating_mul(isize::try_from(index).unwrap_or(isize::MAX));
    select::strided(x, &shape, start, &strides)
}
