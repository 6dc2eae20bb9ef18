//! `GeluGrad`: `dx = dy * (Phi(x) + x * phi(x))` for `y = x * Phi(x)` with the normal distribution `Phi` and its
//! density `phi`; with `approximate = tanh` the derivative of that form: with `t = tanh(u)`,
//! `u = sqrt(2 / pi) * (x + 0.044715 x^3)`: `dx = dy * ((1 + t) + x * (1 - t^2) * u') / 2`.
//!
//! Inputs: `dy`, `x`, of one shape. Output: `dx`. Attribute `approximate` as of `Gelu`. Hendrycks and Gimpel, arXiv:1606.08415.

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::activation::{Gelu, GeluForm};
use crate::ops::lanes::{floats, rounded};

/// The attributes of `GeluGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct GeluGrad(pub Gelu);

impl Operator for GeluGrad {
    const SIGNATURE: Signature = Signature::private("GeluGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Gelu::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![shaped::like(cx, 1)?])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, x) = (cx.tensor(0)?, cx.tensor(1)?);
        shaped::same(dy, x)?;
        let pairs = floats(dy)?.into_iter().zip(floats(x)?);
        let dx = pairs.map(|(dy, x)| dy * slope(self.0.approximate, x));
        Ok(vec![rounded(dy.dtype(), dy.shape(), dx.collect())?.into()])
    }
}

/// The derivative of `x * Phi(x)`.
fn slope(form: GeluForm, x: f64) -> f64 {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    match form {
        GeluForm::Exact => {
            let density = (-0.5 * x * x).exp() * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * 0.5;
            let phi = 0.5 * (1.0 + crate::ops::elementwise::erf::erf(x * FRAC_1_SQRT_2));
            phi + x * density
        }
        GeluForm::Tanh => {
            let factor = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
            let t = (factor * (x + 0.044715 * x.powi(3))).tanh();
            let inner = factor * (1.0 + 3.0 * 0.044715 * x * x);
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner
        }
    }
}
