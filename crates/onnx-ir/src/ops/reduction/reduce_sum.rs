//! `ReduceSum`: the sum along axes; integers wrap around.
//! <https://onnx.ai/onnx/operators/onnx__ReduceSum.html>. Opset 13 makes the axes an input.

use super::{ReduceAxes, fold};
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// The attributes of `ReduceSum`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceSum {
    /// The axes that are reduced.
    pub axes: ReduceAxes,
}

impl Operator for ReduceSum {
    const SIGNATURE: Signature = Signature::onnx("ReduceSum", &[1, 11, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        cx.give(0, op.axes.kept(cx, cx.dy()).expand_like(cx.input(0)));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axes: ReduceAxes::parse(attrs, 13)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        fold::infer(cx, &self.axes, |a, b| a + b)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let y = dispatch!(dtype, T in numbers => {
            fold::fold(cx, &self.axes, <T as Accumulate>::Wide::default(),
                |sum, v: T| sum + v.widen(), |sum, _| T::narrow(sum))
        })?;
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: Some(&[0]) }
    }
}
