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
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

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

/// `dx_i = dy` times the product of the other elements. Zeros are left out of the product and counted, so that it is right where an
/// element is 0.
fn gradient(op: &ReduceProd, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    let x = cx.input(0);
    let is_zero = x.equals(0.0);
    let nonzero = is_zero.choose(1.0, x);
    let product = cx.again(&[Some(nonzero), cx.optional_input(1)]);
    let product = op.axes.kept(cx, product);
    let zeros = is_zero.cast_like(x);
    let other_zeros = zeros.reduce_to(product) - zeros;
    let dx = op.axes.kept(cx, cx.dy()) * product / nonzero;
    cx.give(0, other_zeros.greater(0.0).choose(0.0, dx));
    Ok(())
}
