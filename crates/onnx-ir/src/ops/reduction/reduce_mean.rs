//! `ReduceMean`: the mean along axes; that of integers drops the fraction.
//! <https://onnx.ai/onnx/operators/onnx__ReduceMean.html>. Opset 18 makes the axes an input.

use super::{ReduceAxes, fold};
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// The attributes of `ReduceMean`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceMean {
    /// The axes that are reduced.
    pub axes: ReduceAxes,
}

impl Operator for ReduceMean {
    const SIGNATURE: Signature = Signature::onnx("ReduceMean", &[1, 11, 13, 18]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let (x, y) = (cx.input(0), cx.output(0));
        let share = cx.dy().over(op.axes.each(x, y));
        cx.give(0, op.axes.kept(cx, share).expand_like(x));
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
            fold::fold(cx, &self.axes, <T as Accumulate>::Wide::default(), |sum, v: T| sum + v.widen(),
                |sum, count| T::narrow(T::from_real(T::to_real(sum) / count as f64)))
        })?;
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: Some(&[0]) }
    }
}
