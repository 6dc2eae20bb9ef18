//! `ResizeGrad`: the adjoint of `Resize`, which is linear: each element of `dy` goes, with the weights that it was made with, to
//! the elements that it was made of.
//!
//! Inputs: `dy`, `shape` (i64, of `x`), then `roi`, `scales` and `sizes` of `Resize`. Output: `dx`. Attributes as of `Resize`
//! from opset 11 on.

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::image::Resize;

/// The attributes of `ResizeGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct ResizeGrad(pub Resize);

impl Operator for ResizeGrad {
    const SIGNATURE: Signature = Signature::private("ResizeGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let mode = attrs.string_or("mode", "nearest".into())?;
        Resize::parse_modes(attrs, &mode).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![shaped::infer(cx, 0, 1)?.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dy = cx.tensor(0)?;
        let shape = shaped::sizes(cx, 1, dy.dtype())?;
        let plan = self.0.plan(cx, &shape, (Some(2), 3, Some(4)))?;
        let resized: Vec<usize> = plan.iter().map(|axis| axis.resized).collect();
        shaped::expect(dy, &resized)?;
        Ok(vec![self.0.resampler.adjoint(dy, &plan)?.into()])
    }
}
