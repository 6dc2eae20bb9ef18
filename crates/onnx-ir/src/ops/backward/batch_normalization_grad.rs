//! `BatchNormalizationGrad`: the adjoints of `BatchNormalization`. Per channel, with `d = 1 / sqrt(var + epsilon)`,
//! `z = (x - mean) * d` and sums over the batch and all positions, of which there are `m`:
//! `dscale = sum(dy * z)`, `dbias = sum(dy)`; while training, mean and variance being those of the batch,
//! `dx = scale * d * (dy - dbias / m - z * dscale / m)`; else `dx = scale * d * dy`, `dmean = -scale * d * dbias` and
//! `dvar = -scale * d^2 * dscale / 2`.
//!
//! Inputs: `dy`, `x`, `scale`, and unless training `mean`, `var`. Outputs: `dx`, `dscale`, `dbias`, `dmean`, `dvar`, any of
//! which may be left out; the last two are 0 while training. Attributes: `epsilon`, `training_mode`.
//! Ioffe and Szegedy, arXiv:1502.03167.

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::lanes::{Lanes, floats, rounded};
use crate::ops::normalization::batch_normalization::members;
use crate::ops::normalization::moments::{Moments, parameter};

/// The attributes of `BatchNormalizationGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormalizationGrad {
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether mean and variance are those of the batch.
    pub training: bool,
}

impl Operator for BatchNormalizationGrad {
    const SIGNATURE: Signature = Signature::private("BatchNormalizationGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            epsilon: attrs.f32_or("epsilon", 1e-5)?,
            training: attrs.flag_or("training_mode", false)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let statistics = if self.training { [2, 2] } else { [3, 4] };
        shaped::like_each(cx, &[1, 2, 2, statistics[0], statistics[1]])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, x, scale) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        shaped::same(dy, x)?;
        let lanes = match x.shape() {
            [] => return Err(EvalError::rule("the input must have an axis", "a scalar")),
            &[outer] => Lanes {
                outer,
                len: 1,
                inner: 1,
            },
            shape => Lanes::new(shape, 1, 2),
        };
        let (values, adjoints) = (floats(x)?, floats(dy)?);
        let channels = lanes.len;
        let factors = parameter(2, scale, channels)?;
        let moments: Vec<Moments> = if self.training {
            let of = |c| Moments::of(members(lanes, c).map(|p| values[p]));
            (0..channels).map(of).collect()
        } else {
            let mean = parameter(3, cx.tensor(3)?, channels)?;
            let variance = parameter(4, cx.tensor(4)?, channels)?;
            let pairs = mean.into_iter().zip(variance);
            pairs
                .map(|(mean, variance)| Moments { mean, variance })
                .collect()
        };
        let mut dx = vec![0.0; values.len()];
        let mut per_channel: [Vec<f64>; 4] = std::array::from_fn(|_| Vec::with_capacity(channels));
        let count = (lanes.outer * lanes.inner) as f64;
        for (c, (m, scale)) in moments.iter().zip(factors).enumerate() {
            let inverse = m.inverse_deviation(self.epsilon);
            let z = |p: usize| (values[p] - m.mean) * inverse;
            let dbias: f64 = members(lanes, c).map(|p| adjoints[p]).sum();
            let dscale: f64 = members(lanes, c).map(|p| adjoints[p] * z(p)).sum();
            let factor = scale * inverse;
            for p in members(lanes, c) {
                let mean = match self.training {
                    true => (dbias + z(p) * dscale) / count,
                    false => 0.0,
                };
                dx[p] = factor * (adjoints[p] - mean);
            }
            let [dmean, dvar] = match self.training {
                true => [0.0, 0.0],
                false => [-factor * dbias, -0.5 * factor * inverse * dscale],
            };
            for (all, one) in per_channel.iter_mut().zip([dscale, dbias, dmean, dvar]) {
                all.push(one);
            }
        }
        let mut outputs = vec![rounded(x.dtype(), x.shape(), dx)?.into()];
        for (index, values) in per_channel.into_iter().enumerate() {
            let like = match index {
                2 | 3 if !self.training => cx.tensor(index + 1)?,
                _ => scale,
            };
            outputs.push(rounded(like.dtype(), &[channels], values)?.into());
        }
        Ok(outputs)
    }
}
