//! `ReduceProd`: the product along axes; integers wrap around.
//! <https://onnx.ai/onnx/operators/onnx__ReduceProd.html>. Opset 18 makes the axes an input.

use super::{ReduceAxes, fold};
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// The attributes of `ReduceProd`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceProd {
    /// The axes that are reduced.
    pub axes: ReduceAxes,
}

impl Operator for ReduceProd {
    const SIGNATURE: Signature = Signature::onnx("ReduceProd", &[1, 11, 13, 18]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        // Undefined, as NaN, at elements that are 0.
        let scaled = op.axes.kept(cx, cx.dy() * cx.output(0));
        cx.give(0, scaled / cx.input(0));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axes: ReduceAxes::parse(attrs, 18)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        fold::infer(cx, &self.axes, |a, b| a * b)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let y = dispatch!(dtype, T in numbers => {
            fold::fold(cx, &self.axes, T::from_real(1.0),
                |product, v: T| product * v.widen(), |product, _| T::narrow(product))
        })?;
        Ok(vec![y.into()])
    }
}
