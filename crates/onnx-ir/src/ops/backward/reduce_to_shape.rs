//! `ReduceToShape`: the adjoint of broadcasting. `y[j] = sum of x[i]` over all `i` that index `j` of a tensor of
//! `shape` is read at when it is broadcast to the shape of `x`.
//!
//! Inputs: `x`, `shape` (i64, broadcasts to the shape of `x`). Output: `y` of that shape.

use super::shaped;
use crate::operator::prelude::*;
use crate::ops::broadcast;
use crate::ops::lanes::{floats, rounded};

/// `ReduceToShape` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceToShape;

impl Operator for ReduceToShape {
    const SIGNATURE: Signature = Signature::private("ReduceToShape");
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.dy().expand_like(cx.input(0)));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![shaped::infer(cx, 0, 1)?.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let shape = shaped::sizes(cx, 1, x.dtype())?;
        if broadcast::shape(&[&shape, x.shape()])? != x.shape() {
            return Err(EvalError::rule(
                "the shape must broadcast to that of the input",
                format_args!("{shape:?} to {:?}", x.shape()),
            ));
        }
        let mut sums = vec![0.0; element_count(&shape).unwrap_or(0)];
        let values = floats(x)?;
        let mut values = values.iter();
        let strides = broadcast::strides(&shape, x.shape());
        broadcast::for_each(x.shape(), [&strides], |[at]| {
            sums[at] += values.next().copied().unwrap_or(0.0);
        });
        Ok(vec![rounded(x.dtype(), &shape, sums)?.into()])
    }
}
