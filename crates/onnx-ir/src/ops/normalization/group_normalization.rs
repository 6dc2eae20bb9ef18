//! `GroupNormalization`: `y = (x - mean) / sqrt(var + epsilon) * scale + bias` with the statistics of each
//! sample's groups of channels. Scale and bias are one per group in opset 18, one per channel since 21.
//! <https://onnx.ai/onnx/operators/onnx__GroupNormalization.html>; Wu and He, arXiv:1803.08494.

use super::moments::{Moments, parameter};
use crate::operator::prelude::*;
use crate::ops::elementwise::unary;
use crate::ops::lanes::{floats, rounded};
use crate::rewrite::NewNode;

/// The attributes of `GroupNormalization`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNormalization {
    /// The number of groups; it divides the number of channels.
    pub num_groups: usize,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Operator for GroupNormalization {
    const SIGNATURE: Signature = Signature::onnx("GroupNormalization", &[18, 21]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let node = NewNode::private("GroupNormalizationGrad")
            .with("num_groups", op.num_groups as i64)
            .with("epsilon", op.epsilon);
        let inputs = [cx.dy(), cx.input(0), cx.input(1)].map(Some);
        cx.give_outputs(node, &inputs, &[0, 1, 2]);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("stash_type");
        let groups = attrs.int("num_groups")?;
        Ok(Self {
            num_groups: usize::try_from(groups)
                .ok()
                .filter(|&g| g > 0)
                .ok_or_else(|| AttrError::Invalid {
                    name: "num_groups",
                    found: groups.to_string(),
                    rule: "it must be positive",
                })?,
            epsilon: attrs.f32_or("epsilon", 1e-5)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let channels = cx.shape(0).and_then(|s| s.get(1)?.as_size());
        match channels.filter(|c| c % self.num_groups != 0) {
            Some(c) => {
                let found = format!("{c} channels, {} groups", self.num_groups);
                Err(InferError::rule(GROUP_RULE, found))
            }
            None => unary::infer(cx),
        }
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let per = match cx.version() {
            ..21 => Affine::PerGroup,
            21.. => Affine::PerChannel,
        };
        let y = normalize(cx, Some(self.num_groups), per, self.epsilon)?;
        Ok(vec![y.into()])
    }
}

const GROUP_RULE: &str = "the channels must divide into the groups";

/// What scale and bias have one element of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affine {
    PerGroup,
    PerChannel,
}

/// Inputs 0 to 2 (data, scale, bias) normalised over groups of channels; each channel is a group where
/// `groups` is `None`.
pub(super) fn normalize(
    cx: &EvalContext<'_>,
    groups: Option<usize>,
    affine: Affine,
    epsilon: f32,
) -> Result<Tensor, EvalError> {
    let x = cx.tensor(0)?;
    let &[samples, channels, ref spatial @ ..] = x.shape() else {
        let found = format!("{:?}", x.shape());
        return Err(EvalError::rule("the input must have a channel axis", found));
    };
    let groups = groups.unwrap_or(channels);
    if groups == 0 || channels % groups != 0 {
        let found = format!("{channels} channels, {groups} groups");
        return match channels {
            0 => Ok(x.clone()),
            _ => Err(EvalError::rule(GROUP_RULE, found)),
        };
    }
    let parameters = match affine {
        Affine::PerGroup => groups,
        Affine::PerChannel => channels,
    };
    let scale = parameter(1, cx.tensor(1)?, parameters)?;
    let bias = parameter(2, cx.tensor(2)?, parameters)?;
    let mut values = floats(x)?;
    let pixels: usize = spatial.iter().product();
    let size = pixels * (channels / groups);
    if size == 0 || samples == 0 {
        return Ok(x.clone());
    }
    for (n, group) in values.chunks_exact_mut(size).enumerate() {
        let m = Moments::of(group.iter().copied());
        let factor = m.inverse_deviation(epsilon);
        for (c, channel) in group.chunks_exact_mut(pixels).enumerate() {
            let at = match affine {
                Affine::PerGroup => n % groups,
                Affine::PerChannel => n % groups * (channels / groups) + c,
            };
            for v in channel {
                *v = (*v - m.mean) * factor * scale[at] + bias[at];
            }
        }
    }
    rounded(x.dtype(), x.shape(), values)
}
