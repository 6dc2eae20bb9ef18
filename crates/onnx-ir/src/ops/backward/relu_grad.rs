//! `ReluGrad`: `dx = dy` where `y > 0`, else 0, for `y = max(0, x)`.
//!
//! Inputs: `dy`, `y` (or `x`, which has the same sign; integers too), of one shape. Output: `dx`.

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::lanes::{floats, rounded};

/// `ReluGrad` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct ReluGrad;

impl Operator for ReluGrad {
    const SIGNATURE: Signature = Signature::private("ReluGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![shaped::adjoint_of(cx, 1)?])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, y) = (cx.tensor(0)?, cx.tensor(1)?);
        shaped::same(dy, y)?;
        let pairs = floats(dy)?.into_iter().zip(y.to_f64_vec()?);
        let dx = pairs.map(|(dy, y)| if y > 0.0 { dy } else { 0.0 });
        Ok(vec![rounded(dy.dtype(), dy.shape(), dx.collect())?.into()])
    }
}
