//! `AttentionGrad`: the adjoints of `Attention`. With the shares `P = softmax(S)` of the biased, capped scores and
//! `r = scale * Q · Kᵀ`: `dV = Pᵀ · dY`, `dP = dY · Vᵀ`, `dS = P * (dP - sum(dP * P))` along the keys,
//! `dr = dS * (1 - tanh(r / cap)^2)` (without the factor where there is no cap), `dQ = scale * dr · K`, `dK = scale * drᵀ · Q`; the
//! adjoint of a float mask is `dS`, summed over the axes along which it is broadcast. Adjoints of key and value heads are summed over
//! the query heads that share them.
//!
//! Inputs: `dY`, then those of `Attention`, without a cache. Outputs: `dQ`, `dK`, `dV`, `dmask`, any of which may be left out.
//! Attributes as of `Attention`. Vaswani et al., arXiv:1706.03762.

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::transformer::Attention;

/// The attributes of `AttentionGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionGrad(pub Attention);

impl Operator for AttentionGrad {
    const SIGNATURE: Signature = Signature::private("AttentionGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Attention::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        match cx.fact(4) {
            Some(_) => shaped::like_each(cx, &[1, 2, 3, 4]),
            None => shaped::like_each(cx, &[1, 2, 3]),
        }
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.0.eval_back(cx)
    }
}
