//! `SoftmaxCrossEntropyLossGrad`: `dx[n, c] = (softmax(x)[n, c] - [c = label[n]]) * s[n]`, and
//! `NegativeLogLikelihoodLossGrad`: `dx[n, c] = -[c = label[n]] * s[n]`, where `s[n]` is the label's class weight times the
//! loss's adjoint, divided by the sum of the weights for the reduction `mean`, and 0 for an ignored label.
//!
//! Inputs of the first: `dy`, `labels`, `weights` (may be left out), `log_prob` (output 1 of the loss); of the second:
//! `dy`, `labels`, `weights`, `shape` (i64, of the scores). Output: `dx`. Attributes as of the losses.

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::lanes::{floats, rounded};
use crate::ops::loss::likelihood::{Likelihood, Slope};

/// The attributes of `SoftmaxCrossEntropyLossGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxCrossEntropyLossGrad {
    /// Reduction and ignored label.
    pub likelihood: Likelihood,
}

/// The attributes of `NegativeLogLikelihoodLossGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct NegativeLogLikelihoodLossGrad {
    /// Reduction and ignored label.
    pub likelihood: Likelihood,
}

impl Operator for SoftmaxCrossEntropyLossGrad {
    const SIGNATURE: Signature = Signature::private("SoftmaxCrossEntropyLossGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            likelihood: Likelihood::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![shaped::like(cx, 3)?])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let log_prob = cx.tensor(3)?;
        let mut dx = floats(log_prob)?;
        let places: usize = log_prob.shape().iter().skip(2).product();
        let classes = log_prob.shape().get(1).copied().unwrap_or(0);
        let slopes = self.likelihood.slopes(cx, log_prob.shape())?;
        for (i, slope) in slopes.into_iter().enumerate() {
            let first = i / places * classes * places + i % places;
            let Slope { at, slope } = slope.unwrap_or_default();
            for p in (0..classes).map(|c| first + c * places) {
                dx[p] = dx[p].exp() * slope;
            }
            if slope != 0.0 {
                dx[at] -= slope;
            }
        }
        let dtype = log_prob.dtype();
        Ok(vec![rounded(dtype, log_prob.shape(), dx)?.into()])
    }
}

impl Operator for NegativeLogLikelihoodLossGrad {
    const SIGNATURE: Signature = Signature::private("NegativeLogLikelihoodLossGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            likelihood: Likelihood::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![shaped::infer(cx, 0, 3)?.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let shape = shaped::sizes(cx, 3, dtype)?;
        let mut dx = vec![0.0; element_count(&shape).unwrap_or(0)];
        for Slope { at, slope } in self.likelihood.slopes(cx, &shape)?.into_iter().flatten() {
            dx[at] = -slope;
        }
        Ok(vec![rounded(dtype, &shape, dx)?.into()])
    }
}
