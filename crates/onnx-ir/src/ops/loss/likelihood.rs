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
    pub(super) fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
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
        let wrong_shape = || {
            let found = format!("{:?} and {:?}", scores.shape(), targets.shape());
            EvalError::rule(SHAPE_RULE, found)
        };
        let &[batch, classes, ref places @ ..] = scores.shape() else {
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
        let mut losses = Vec::with_capacity(targets.len());
        let mut total_weight = 0.0;
        for (i, target) in cx.ints(1)?.unwrap_or_default().into_iter().enumerate() {
            if self.ignore_index == Some(target) {
                losses.push(0.0);
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
            losses.push(-log_prob[at] * weight);
            total_weight += weight;
        }
        let sum = || losses.iter().sum::<f64>();
        match self.reduction {
            Reduction::None => rounded(scores.dtype(), targets.shape(), losses),
            Reduction::Sum => rounded(scores.dtype(), &[], vec![sum()]),
            Reduction::Mean => rounded(scores.dtype(), &[], vec![sum() / total_weight]),
        }
    }
}

const SHAPE_RULE: &str = "scores of [N, C, d1, ...] need targets of [N, d1, ...]";
