//! The adjoints of `LayerNormalization` and `RMSNormalization` over all axes from `axis` on.
//!
//! With `g = dy * scale`, means over the normalised elements, `d = 1 / sqrt(var + epsilon)` and `z = (x - mean) * d`:
//! `LayerNormalizationGrad` is `dx = d * (g - mean(g) - z * mean(g * z))`; `RMSNormalizationGrad` is the same without the means of
//! `x` and `g`, with `d = 1 / sqrt(mean(x^2) + epsilon)`. `dscale = sum(dy * z)` and `dbias = sum(dy)` over the axes along which
//! the scale is broadcast.
//!
//! Inputs: `dy`, `x`, `scale` (broadcasts to `x`). Outputs: `dx`, `dscale`, and of the first `dbias`, any of which may be left out.
//! Attributes: `axis`, `epsilon`. Ba et al., arXiv:1607.06450; Zhang and Sennrich, arXiv:1910.07467.

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::lanes::{Lanes, floats, rounded};
use crate::ops::normalization::moments::{Moments, broadcast_parameter};
use crate::ops::{axis, broadcast};

/// The attributes of `LayerNormalizationGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNormalizationGrad {
    /// The first axis of what is normalised.
    pub axis: i64,
    /// Added to the variance.
    pub epsilon: f32,
}

/// The attributes of `RMSNormalizationGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct RmsNormalizationGrad {
    /// The first axis of what is normalised.
    pub axis: i64,
    /// Added to the mean of the squares.
    pub epsilon: f32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Centre {
    Mean,
    Zero,
}

fn eval(
    cx: &EvalContext<'_>,
    axis: i64,
    epsilon: f32,
    centre: Centre,
) -> Result<Vec<Value>, EvalError> {
    let (dy, x, scale) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
    shaped::same(dy, x)?;
    let axis = axis::eval(axis, x.rank())?;
    let factors = broadcast_parameter(scale, x.shape())?;
    let (values, adjoints) = (floats(x)?, floats(dy)?);
    let mut dx = vec![0.0; values.len()];
    let mut normalised = vec![0.0; values.len()];
    for lane in Lanes::new(x.shape(), axis, x.rank()).iter() {
        let count = lane.clone().count() as f64;
        let m = match centre {
            Centre::Mean => Moments::of(lane.clone().map(|p| values[p])),
            Centre::Zero => Moments {
                mean: 0.0,
                variance: lane.clone().map(|p| values[p] * values[p]).sum::<f64>() / count,
            },
        };
        let d = m.inverse_deviation(epsilon);
        for p in lane.clone() {
            normalised[p] = (values[p] - m.mean) * d;
        }
        let g = |p: usize| adjoints[p] * factors[p];
        let mean = match centre {
            Centre::Mean => lane.clone().map(g).sum::<f64>() / count,
            Centre::Zero => 0.0,
        };
        let along = lane.clone().map(|p| g(p) * normalised[p]).sum::<f64>() / count;
        for p in lane {
            dx[p] = d * (g(p) - mean - normalised[p] * along);
        }
    }
    let strides = broadcast::strides(scale.shape(), x.shape());
    let (mut dscale, mut dbias) = (vec![0.0; scale.len()], vec![0.0; scale.len()]);
    let mut p = 0;
    broadcast::for_each(x.shape(), [&strides], |[at]| {
        dscale[at] += adjoints[p] * normalised[p];
        dbias[at] += adjoints[p];
        p += 1;
    });
    Ok(vec![
        rounded(x.dtype(), x.shape(), dx)?.into(),
        rounded(scale.dtype(), scale.shape(), dscale)?.into(),
        rounded(scale.dtype(), scale.shape(), dbias)?.into(),
    ])
}

impl Operator for LayerNormalizationGrad {
    const SIGNATURE: Signature = Signature::private("LayerNormalizationGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", -1)?,
            epsilon: attrs.f32_or("epsilon", 1e-5)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        shaped::like_each(cx, &[1, 2, 2])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        eval(cx, self.axis, self.epsilon, Centre::Mean)
    }
}

impl Operator for RmsNormalizationGrad {
    const SIGNATURE: Signature = Signature::private("RMSNormalizationGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", -1)?,
            epsilon: attrs.f32_or("epsilon", 1e-5)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        shaped::like_each(cx, &[1, 2])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let mut outputs = eval(cx, self.axis, self.epsilon, Centre::Zero)?;
        outputs.truncate(2);
        Ok(outputs)
    }
}
