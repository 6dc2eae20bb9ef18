//! What the two losses share: `loss = -log_prob[target] * weight[target]`, 0 where the target is ignored,
//! reduced to its sum or its weighted mean.

use crate::operator::prelude::*;
use crate::ops::lanes::{floats, rounded};

/// How single losses become the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// They stay as they are.
    None,
    /// Their sum.
    Sum,
    /// Their sum divided by the sum of the weights of the targets that are not ignored.
    #[default]
    Mean,
}

/// The attributes of both losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Likelihood {
    /// How single losses become the result.
    pub reduction: Reduction,
    /// The target that does not count.
    pub ignore_index: Option<i64>,
}

impl Likelihood {
    pub(in crate::ops) fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let found = attrs.string_or("reduction", "mean".to_owned())?;
        let reduction = match found.as_str() {
            "none" => Reduction::None,
            "sum" => Reduction::Sum,
            "mean" => Reduction::Mean,
            _ => {
                return Err(AttrError::Invalid {
                    name: "reduction",
                    found,
                    rule: "it must be `none`, `sum` or `mean`",
                });
            }
        };
        Ok(Self {
            reduction,
            ignore_index: attrs.int_opt("ignore_index")?,
        })
    }

    /// For each target the factor of its loss in the result times the adjoint of that (input 0), and the position of its
    /// score; targets are input 1, class weights input 2. None for a target that is ignored.
    pub(in crate::ops) fn slopes(
        &self,
        cx: &EvalContext<'_>,
        scores: &[usize],
    ) -> Result<Vec<Option<Slope>>, EvalError> {
        let targets = self.weighted(cx, scores)?;
        let total: f64 = targets.iter().flatten().map(|target| target.slope).sum();
        let adjoint = floats(cx.tensor(0)?)?;
        let adjoint = |i: usize| match self.reduction {
            Reduction::None => adjoint.get(i).copied(),
            Reduction::Sum => adjoint.first().copied(),
            Reduction::Mean => adjoint.first().map(|adjoint| adjoint / total),
        };
        let targets = targets.into_iter().enumerate();
        targets
            .map(|(i, target)| {
                let Some(target) = target else {
                    return Ok(None);
                };
                let adjoint = adjoint(i)
                    .ok_or_else(|| EvalError::rule(SHAPE_RULE, "an adjoint of another shape"))?;
                Ok(Some(Slope {
                    slope: target.slope * adjoint,
                    ..target
                }))
            })
            .collect()
    }

    /// The fact of the loss from those of the scores (input 0) and the targets (input 1).
    pub(super) fn infer(&self, cx: &InferContext<'_>) -> Result<TensorFact, InferError> {
        let (scores, targets) = (cx.tensor(0)?, cx.tensor(1)?);
        if let (Some(s), Some(t)) = (&scores.shape, &targets.shape) {
            let found = || format!("ranks {} and {}", s.len(), t.len());
            if s.len() < 2 || s.len() != t.len() + 1 {
                return Err(InferError::rule(SHAPE_RULE, found()));
            }
            let (Some((batch, rest)), Some(places)) = (t.split_first(), s.get(2..)) else {
                return Err(InferError::rule(SHAPE_RULE, found()));
            };
            if s[0].contradicts(batch) || places.iter().zip(rest).any(|(a, b)| a.contradicts(b)) {
                return Err(InferError::rule(SHAPE_RULE, format!("{s:?} and {t:?}")));
            }
        }
        let weights = cx.optional_tensor(2)?.and_then(|weights| weights.rank());
        if let Some(rank) = weights.filter(|&rank| rank != 1) {
            return Err(InferError::rule(
                "the weights must be a vector",
                format_args!("rank {rank}"),
            ));
        }
        let shape = match self.reduction {
            Reduction::None => targets.shape,
            Reduction::Sum | Reduction::Mean => Some(Vec::new()),
        };
        Ok(TensorFact::with_shape(scores.dtype, shape))
    }

    /// The loss for log-probabilities of the shape and type of `scores`, targets (input 1) and class weights
    /// (input 2).
    pub(super) fn eval(
        &self,
        cx: &EvalContext<'_>,
        scores: &Tensor,
        log_prob: &[f64],
    ) -> Result<Tensor, EvalError> {
        let targets = cx.tensor(1)?;
        let weighted = self.weighted(cx, scores.shape())?;
        let loss = |target: &Option<Slope>| {
            target
                .as_ref()
                .map_or(0.0, |Slope { at, slope }| -log_prob[*at] * slope)
        };
        let losses: Vec<f64> = weighted.iter().map(loss).collect();
        let total_weight: f64 = weighted.iter().flatten().map(|target| target.slope).sum();
        let sum = || losses.iter().sum::<f64>();
        match self.reduction {
            Reduction::None => rounded(scores.dtype(), targets.shape(), losses),
            Reduction::Sum => rounded(scores.dtype(), &[], vec![sum()]),
            Reduction::Mean => rounded(scores.dtype(), &[], vec![sum() / total_weight]),
        }
    }

    /// For each target (input 1) its class weight (input 2) and the position of its score; None for one that is ignored.
    fn weighted(
        &self,
        cx: &EvalContext<'_>,
        scores: &[usize],
    ) -> Result<Vec<Option<Slope>>, EvalError> {
        let targets = cx.tensor(1)?;
        let wrong_shape = || {
            let found = format!("{scores:?} and {:?}", targets.shape());
            EvalError::rule(SHAPE_RULE, found)
        };
        let &[batch, classes, ref places @ ..] = scores else {
            return Err(wrong_shape());
        };
        if targets.shape() != [&[batch], places].concat() {
            return Err(wrong_shape());
        }
        let weights = match cx.optional_tensor(2)? {
            None => None,
            Some(w) if w.shape() == [classes] => Some(floats(w)?),
            Some(w) => {
                return Err(EvalError::WrongInput {
                    index: 2,
                    expected: "one weight per class",
                    found: format!("shape {:?} for {classes} classes", w.shape()),
                });
            }
        };
        let places: usize = places.iter().product();
        let mut weighted = Vec::with_capacity(targets.len());
        for (i, target) in cx.ints(1)?.unwrap_or_default().into_iter().enumerate() {
            if self.ignore_index == Some(target) {
                weighted.push(None);
                continue;
            }
            let class = usize::try_from(target)
                .ok()
                .filter(|&c| c < classes)
                .ok_or_else(|| {
                    let found = format!("{target} of {classes}");
                    EvalError::rule("a target must be one of the classes", found)
                })?;
            let weight = weights.as_ref().map_or(1.0, |w| w[class]);
            let at = (i / places * classes + class) * places + i % places;
            weighted.push(Some(Slope { at, slope: weight }));
        }
        Ok(weighted)
    }
}

/// How the result moves with minus a score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::ops) struct Slope {
    /// The score's position.
    pub(in crate::ops) at: usize,
    /// The factor.
    pub(in crate::ops) slope: f64,
}

const SHAPE_RULE: &str = "scores of [N, C, d1, ...] need targets of [N, d1, ...]";
