//! `LRNGrad`: the adjoint of `LRN`, `y[c] = x[c] * s[c]^-beta` with `s[c] = bias + alpha / size * sum of x[k]^2` over the channels `k` near
//! `c`: `dx[k] = dy[k] * s[k]^-beta - 2 alpha beta / size * x[k] * sum of dy[c] * x[c] * s[c]^(-beta - 1)` over the `c` that `k` is near.
//!
//! Inputs: `dy`, `x`. Output: `dx`. Attributes as of `LRN`. Krizhevsky et al., NIPS 2012, sec. 3.3.

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::lanes::{Lanes, floats, rounded};
use crate::ops::normalization::Lrn;

/// The attributes of `LRNGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct LrnGrad(pub Lrn);

impl Operator for LrnGrad {
    const SIGNATURE: Signature = Signature::private("LRNGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Lrn::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![shaped::like(cx, 1)?])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, x) = (cx.tensor(0)?, cx.tensor(1)?);
        shaped::same(dy, x)?;
        if x.rank() < 2 {
            let found = format!("{:?}", x.shape());
            return Err(EvalError::rule("the input must have a channel axis", found));
        }
        let (adjoints, values) = (floats(dy)?, floats(x)?);
        let (beta, bias) = (f64::from(self.0.beta), f64::from(self.0.bias));
        let factor = f64::from(self.0.alpha) / self.0.size as f64;
        let mut dx = vec![0.0; values.len()];
        for lane in Lanes::new(x.shape(), 1, 2).iter() {
            let places: Vec<usize> = lane.collect();
            for (c, &p) in places.iter().enumerate() {
                let near = self.0.near(c, places.len());
                let sum: f64 = near.clone().map(|k| values[places[k]].powi(2)).sum();
                let root = bias + factor * sum;
                let power = root.powf(-beta);
                dx[p] += adjoints[p] * power;
                let along = -2.0 * factor * beta * adjoints[p] * values[p] * power / root;
                for k in near {
                    dx[places[k]] += along * values[places[k]];
                }
            }
        }
        Ok(vec![rounded(dy.dtype(), dy.shape(), dx)?.into()])
    }
}
