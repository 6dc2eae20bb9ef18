//! `ReduceL1`: the sum of absolute values along axes; integers wrap around.
//! <https://onnx.ai/onnx/operators/onnx__ReduceL1.html>. Opset 18 makes the axes an input.

use super::{ReduceAxes, fold};
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// The attributes of `ReduceL1`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceL1 {
    /// The axes that are reduced.
    pub axes: ReduceAxes,
}

impl Operator for ReduceL1 {
    const SIGNATURE: Signature = Signature::onnx("ReduceL1", &[1, 11, 13, 18]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        cx.give(0, op.axes.kept(cx, cx.dy()) * cx.input(0).sign());
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
            let zero = <T as Accumulate>::Wide::default();
            let sign = |v: T| if v < T::default() { T::from_real(-1.0) } else { T::from_real(1.0) };
            fold::fold(cx, &self.axes, zero,
                |sum, v: T| sum + v.widen() * sign(v), |sum, _| T::narrow(sum))
        })?;
        Ok(vec![y.into()])
    }
}
