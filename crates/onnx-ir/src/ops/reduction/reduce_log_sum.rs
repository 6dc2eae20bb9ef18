//! `ReduceLogSum`: the logarithm of the sum along axes.
//! <https://onnx.ai/onnx/operators/onnx__ReduceLogSum.html>. Opset 18 makes the axes an input. Opset 28 drops integers.

use super::{ReduceAxes, fold};
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// The attributes of `ReduceLogSum`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceLogSum {
    /// The axes that are reduced.
    pub axes: ReduceAxes,
}

impl Operator for ReduceLogSum {
    const SIGNATURE: Signature = Signature::onnx("ReduceLogSum", &[1, 11, 13, 18, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let share = cx.dy() / cx.output(0).exp();
        cx.give(0, op.axes.kept(cx, share).expand_like(cx.input(0)));
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
            fold::fold(cx, &self.axes, 0f64, |sum, v: T| sum + T::to_real(v.widen()),
                |sum, _| T::narrow(T::from_real(sum.ln())))
        })?;
        Ok(vec![y.into()])
    }
}
