//! `GroupNormalizationGrad`: the adjoints of `GroupNormalization` and `InstanceNormalization`. With statistics over each
//! sample's groups of channels, `g = dy * scale`, `d = 1 / sqrt(var + epsilon)` and `z = (x - mean) * d`:
//! `dx = d * (g - mean(g) - z * mean(g * z))`, `dscale = sum(dy * z)`, `dbias = sum(dy)`.
//!
//! Inputs: `dy`, `x`, `scale` (one per channel or, before opset 21, per group). Outputs: `dx`, `dscale`, `dbias`, any of which may be
//! left out. Attributes: `num_groups` (each channel is a group where it is left out), `epsilon`. Wu and He, arXiv:1803.08494.

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::lanes::{floats, rounded};
use crate::ops::normalization::moments::{Moments, parameter};

/// The attributes of `GroupNormalizationGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNormalizationGrad {
    /// The number of groups; as many as channels where it is left out.
    pub num_groups: Option<i64>,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Operator for GroupNormalizationGrad {
    const SIGNATURE: Signature = Signature::private("GroupNormalizationGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("stash_type");
        Ok(Self {
            num_groups: attrs.int_opt("num_groups")?,
            epsilon: attrs.f32_or("epsilon", 1e-5)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        shaped::like_each(cx, &[1, 2, 2])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, x, scale) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        shaped::same(dy, x)?;
        let &[_, channels, ref spatial @ ..] = x.shape() else {
            let found = format!("{:?}", x.shape());
            return Err(EvalError::rule("the input must have a channel axis", found));
        };
        let groups = match self.num_groups {
            None => channels,
            Some(groups) => usize::try_from(groups).unwrap_or(0),
        };
        if groups == 0 || channels % groups != 0 {
            let found = format!("{channels} channels, {groups} groups");
            return Err(EvalError::rule(
                "the channels must divide into the groups",
                found,
            ));
        }
        let each = channels / groups;
        // One scale for how many channels.
        let shared = if scale.len() == channels { 1 } else { each };
        let factors = parameter(2, scale, channels / shared)?;
        let (values, adjoints) = (floats(x)?, floats(dy)?);
        let pixels: usize = spatial.iter().product();
        let mut dx = vec![0.0; values.len()];
        let (mut dscale, mut dbias) = (vec![0.0; factors.len()], vec![0.0; factors.len()]);
        let size = pixels * each;
        let number = values.len().checked_div(size).unwrap_or(0);
        for group in 0..number {
            let range = group * size..(group + 1) * size;
            let m = Moments::of(values[range.clone()].iter().copied());
            let d = m.inverse_deviation(self.epsilon);
            let at = |p: usize| p / pixels % channels / shared;
            let z = |p: usize| (values[p] - m.mean) * d;
            let g = |p: usize| adjoints[p] * factors[at(p)];
            let mean = range.clone().map(g).sum::<f64>() / size as f64;
            let along = range.clone().map(|p| g(p) * z(p)).sum::<f64>() / size as f64;
            for p in range {
                dx[p] = d * (g(p) - mean - z(p) * along);
                dscale[at(p)] += adjoints[p] * z(p);
                dbias[at(p)] += adjoints[p];
            }
        }
        Ok(vec![
            rounded(x.dtype(), x.shape(), dx)?.into(),
            rounded(scale.dtype(), scale.shape(), dscale)?.into(),
            rounded(scale.dtype(), scale.shape(), dbias)?.into(),
        ])
    }
}
