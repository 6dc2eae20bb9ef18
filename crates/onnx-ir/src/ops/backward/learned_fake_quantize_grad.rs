//! `LearnedFakeQuantizeGrad`: the adjoints of `LearnedFakeQuantize` by its method; the formulas stand with it.
//!
//! Inputs: `dy`, `x`, `step`, `offset` (may be left out). Outputs, any of which may be left out: `dx`, `dstep`, `doffset`. Attributes: those of
//! the forward operator.
//!
//! With `z = -β / s` rounding counts as the identity there too: `dβ = Σ (dy - dx)`, and the step has `-β / s` times that beside its own
//! (Bhalgat et al. 2020, arXiv:2004.09576, eq. 4 and 5).

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::lanes::{floats, rounded};
use crate::ops::quantization::{LearnedFakeQuantize, LearnedMethod};

/// The attributes of `LearnedFakeQuantizeGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnedFakeQuantizeGrad(pub LearnedFakeQuantize);

impl Operator for LearnedFakeQuantizeGrad {
    const SIGNATURE: Signature = Signature::private("LearnedFakeQuantizeGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        LearnedFakeQuantize::read(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        shaped::like_each(cx, &[1, 2, 3])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, x, step) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let offset = cx.optional_tensor(3)?;
        shaped::same(dy, x)?;
        let grids = self.0.grids(x.shape(), step, offset)?;
        let count = grids.grids.len();
        let (mut dstep, mut rest) = (vec![0.0; count], vec![0.0; count]);
        let mut dx = Vec::with_capacity(x.len());
        for (i, (dy, x)) in floats(dy)?.into_iter().zip(floats(x)?).enumerate() {
            let (at, grid) = grids.of(i);
            let [low, high] = [self.0.q_min, self.0.q_max].map(|q| f64::from(q - grid.zero_point));
            let v = x / grid.step;
            let [of_x, of_step] = self.slopes(dy, v, low, high);
            dx.push(dy * of_x);
            dstep[at] += dy * of_step;
            rest[at] += dy - dy * of_x;
        }
        for (at, grid) in grids.grids.iter().enumerate() {
            let scale = self.0.gradient_scale(x.shape(), count, grid.zero_point);
            dstep[at] = grid.kept(scale * (dstep[at] + grid.offset * rest[at]));
            rest[at] *= scale;
        }
        let mut outputs = vec![
            rounded(x.dtype(), x.shape(), dx)?.into(),
            rounded(step.dtype(), step.shape(), dstep)?.into(),
        ];
        if let Some(offset) = offset {
            outputs.push(rounded(offset.dtype(), offset.shape(), rest)?.into());
        }
        Ok(outputs)
    }
}

impl LearnedFakeQuantizeGrad {
    /// The slopes of `x` and of the step where the quotient is `v` and codes less the zero point lie in `low..=high`.
    fn slopes(&self, dy: f64, v: f64, low: f64, high: f64) -> [f64; 2] {
        let q = v.max(low).min(high).round_ties_even();
        if v < low || v > high {
            return [0.0, q];
        }
        match self.0.method {
            LearnedMethod::Ste | LearnedMethod::Lsq | LearnedMethod::LsqPlus => [1.0, q - v],
            LearnedMethod::Pact => [1.0, 0.0],
            LearnedMethod::Ewgs => {
                let sign = if dy < 0.0 { -1.0 } else { 1.0 };
                let apart = (v - q) / f64::from(self.0.q_max - self.0.q_min);
                let slope = 1.0 + f64::from(self.0.delta) * sign * apart;
                [slope, q - v * slope]
            }
            LearnedMethod::Dsq => {
                let alpha = f64::from(self.0.alpha);
                let kappa = (2.0 / alpha - 1.0).ln();
                // At a whole number either stair will do.
                let middle = (v - 0.5).round_ties_even() + 0.5;
                let t = (kappa * (v - middle)).tanh();
                let height = 0.5 / (1.0 - alpha);
                let slope = kappa * height * (1.0 - t * t);
                [slope, middle + height * t - v * slope]
            }
        }
    }
}
