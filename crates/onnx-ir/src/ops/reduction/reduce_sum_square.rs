//! `ReduceSumSquare`: the sum of squares along axes; integers wrap around.
//! <https://onnx.ai/onnx/operators/onnx__ReduceSumSquare.html>. Opset 18 makes the axes an input.

use super::{ReduceAxes, fold};
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// The attributes of `ReduceSumSquare`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceSumSquare {
    /// The axes that are reduced.
    pub axes: ReduceAxes,
}

impl Operator for ReduceSumSquare {
    const SIGNATURE: Signature = Signature::onnx("ReduceSumSquare", &[1, 11, 13, 18]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        cx.give(0, op.axes.kept(cx, cx.dy() * 2.0) * cx.input(0));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axes: ReduceAxes::parse(attrs, 18)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![self.axes.infer(cx)?.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let y = dispatch!(dtype, T in numbers => {
            fold::fold(cx, &self.axes, <T as Accumulate>::Wide::default(),
                |sum, v: T| sum + v.widen() * v.widen(), |sum, _| T::narrow(sum))
        })?;
        Ok(vec![y.into()])
    }
}
