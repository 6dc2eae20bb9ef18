//! `ReduceL2`: the Euclidean norm along axes, `sqrt(sum x^2)`.
//! <https://onnx.ai/onnx/operators/onnx__ReduceL2.html>. Opset 18 makes the axes an input.

use super::{ReduceAxes, fold};
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// The attributes of `ReduceL2`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceL2 {
    /// The axes that are reduced.
    pub axes: ReduceAxes,
}

impl Operator for ReduceL2 {
    const SIGNATURE: Signature = Signature::onnx("ReduceL2", &[1, 11, 13, 18]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let y = cx.output(0);
        // Where the norm is 0 there is no slope.
        let share = y.equals(0.0).choose(0.0, cx.dy() / y);
        cx.give(0, op.axes.kept(cx, share) * cx.input(0));
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
            fold::fold(cx, &self.axes, 0f64,
                |sum, v: T| sum + T::to_real(v.widen()).powi(2),
                |sum, _| T::narrow(T::from_real(sum.sqrt())))
        })?;
        Ok(vec![y.into()])
    }
}
