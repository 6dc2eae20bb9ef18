//! What `CumSum` and `CumProd` share: a running total along an axis.

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;
use crate::ops::{axis, elementwise::unary};
use crate::rewrite::NewNode;

/// The attributes of `CumSum` and `CumProd`.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// Whether an element's total leaves out the element itself.
    pub exclusive: bool,
    /// Whether the totals run from the end.
    pub reverse: bool,
}

/// What is accumulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Total {
    Sum,
    Product,
}

impl Running {
    pub(super) fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            exclusive: attrs.flag_or("exclusive", false)?,
            reverse: attrs.flag_or("reverse", false)?,
        })
    }

    /// The running sum of an adjoint in the other direction.
    pub(super) fn back<'g>(&self, cx: &GradientContext<'g>, adjoint: Var<'g>) -> Var<'g> {
        let node = NewNode::new("CumSum")
            .with("exclusive", i64::from(self.exclusive))
            .with("reverse", i64::from(!self.reverse));
        adjoint.apply(node, &[cx.input(1)])
    }

    pub(super) fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        cx.tensor(1)?;
        unary::infer(cx)
    }

    pub(super) fn eval(&self, cx: &EvalContext<'_>, total: Total) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let axis = Self::axis(cx, 1, x.rank())?;
        let y = dispatch!(x.dtype(), T in numbers => match total {
            Total::Sum => self.along(x, axis, T::ZERO, T::plus),
            Total::Product => self.along(x, axis, T::ONE, T::times),
        });
        Ok(vec![y?.into()])
    }

    /// The axis that input `index` says.
    ///
    /// # Errors
    /// [`EvalError::MissingInput`], and [`EvalError::Rule`] for what is no axis of a tensor of this rank.
    pub(in crate::ops) fn axis(
        cx: &EvalContext<'_>,
        index: usize,
        rank: usize,
    ) -> Result<usize, EvalError> {
        let axes = cx.ints(index)?.ok_or(EvalError::MissingInput { index })?;
        let &[axis] = axes.as_slice() else {
            return Err(EvalError::rule(
                "axis must be one number",
                format_args!("{axes:?}"),
            ));
        };
        axis::eval(axis, rank)
    }

    fn along<T: Number>(
        &self,
        x: &Tensor,
        axis: usize,
        neutral: T,
        join: fn(T, T) -> T,
    ) -> Result<Tensor, EvalError> {
        let (outer, size, inner) = axis::split(x.shape(), axis);
        let data = x.data::<T>()?;
        let mut out = vec![neutral; data.len()];
        for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
            let mut total = neutral;
            for step in 0..size {
                let p = if self.reverse { size - 1 - step } else { step };
                let at = (o * size + p) * inner + i;
                let with = join(total, data[at]);
                out[at] = if self.exclusive { total } else { with };
                total = with;
            }
        }
        Ok(Tensor::from_vec(x.shape(), out)?)
    }
}
