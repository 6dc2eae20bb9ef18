//! `SoftmaxGrad`: along an axis `dx = y * (dy - sum(dy * y))` for `y = softmax(x)`; `LogSoftmaxGrad`:
//! `dx = dy - e^y * sum(dy)` for `y = log_softmax(x)`.
//!
//! Inputs: `dy`, `y`, of one shape. Output: `dx`. Attribute: `axis` (default -1).

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::axis;
use crate::ops::lanes::{Lanes, floats, rounded};

/// The attributes of `SoftmaxGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxGrad {
    /// The axis of the softmax.
    pub axis: i64,
}

/// The attributes of `LogSoftmaxGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSoftmaxGrad {
    /// The axis of the softmax.
    pub axis: i64,
}

fn infer(cx: &InferContext<'_>, axis: i64) -> Result<Vec<Fact>, InferError> {
    if let Some(rank) = cx.tensor(1)?.rank() {
        axis::infer(axis, rank)?;
    }
    Ok(vec![shaped::like(cx, 1)?])
}

fn eval(
    cx: &EvalContext<'_>,
    axis: i64,
    weight: impl Fn(f64, f64) -> f64,
    combine: impl Fn(f64, f64, f64) -> f64,
) -> Result<Vec<Value>, EvalError> {
    let (dy, y) = (cx.tensor(0)?, cx.tensor(1)?);
    shaped::same(dy, y)?;
    let axis = axis::eval(axis, y.rank())?;
    let (adjoints, values) = (floats(dy)?, floats(y)?);
    let mut dx = vec![0.0; values.len()];
    for lane in Lanes::new(y.shape(), axis, axis + 1).iter() {
        let sum: f64 = lane.clone().map(|p| weight(adjoints[p], values[p])).sum();
        for p in lane {
            dx[p] = combine(adjoints[p], values[p], sum);
        }
    }
    Ok(vec![rounded(dy.dtype(), dy.shape(), dx)?.into()])
}

impl Operator for SoftmaxGrad {
    const SIGNATURE: Signature = Signature::private("SoftmaxGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", -1)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        infer(cx, self.axis)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        eval(cx, self.axis, |dy, y| dy * y, |dy, y, sum| y * (dy - sum))
    }
}

impl Operator for LogSoftmaxGrad {
    const SIGNATURE: Signature = Signature::private("LogSoftmaxGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", -1)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        infer(cx, self.axis)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        eval(cx, self.axis, |dy, _| dy, |dy, y, sum| dy - y.exp() * sum)
    }
}
