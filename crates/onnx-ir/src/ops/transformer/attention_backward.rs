//! The adjoints of scaled dot-product attention; the formulas stand in `ops/backward/attention_grad.rs`.

use super::attention::{Attention, heads_of};
use super::heads::Heads;
use super::scaled_dot_product::{Scores, scores, soft_cap, weigh};
use crate::operator::prelude::*;
use crate::ops::broadcast;
use crate::ops::lanes::rounded;

/// Where the inputs of `Attention` start in those of its gradient.
const FIRST: usize = 1;

impl Attention {
    /// The adjoints of Q, K, V and a float mask.
    pub(in crate::ops) fn eval_back(&self, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let inputs = [cx.tensor(1)?, cx.tensor(2)?, cx.tensor(3)?];
        if cx.optional_tensor(FIRST + 4)?.is_some() {
            return Err(EvalError::NotSupported {
                what: "the gradient of attention with a cache",
            });
        }
        let q = heads_of(inputs[0], self.q_num_heads)?;
        let k = heads_of(inputs[1], self.kv_num_heads)?;
        let v = heads_of(inputs[2], self.kv_num_heads)?;
        let scale = match self.scale {
            Some(scale) => scale.into(),
            None => 1.0 / (q.size.max(1) as f64).sqrt(),
        };
        let raw = scores(cx, &q, &k, scale)?;
        let cap = f64::from(self.softcap);
        let bias = self.bias(cx, FIRST, raw.shape, None)?;
        let mut shares = raw.clone();
        for (s, b) in shares.data.iter_mut().zip(&bias) {
            *s = soft_cap(*s, cap) + b;
        }
        shares.softmax();
        let y = weigh(cx, &shares, &v)?;
        let dy = heads_of(cx.tensor(0)?, self.q_num_heads)?;
        if dy.shape() != y.shape() {
            return Err(EvalError::rule(
                "an adjoint must have the shape of its value",
                format_args!("{:?} and {:?}", dy.shape(), y.shape()),
            ));
        }
        // What a softmax makes of the adjoints of its shares.
        let mut dscores = scores(cx, &dy, &v, 1.0)?;
        let keys = dscores.shape[3].max(1);
        for (row, shares) in dscores.rows_mut().zip(shares.data.chunks_exact(keys)) {
            let sum: f64 = row.iter().zip(shares).map(|(d, p)| d * p).sum();
            for (d, p) in row.iter_mut().zip(shares) {
                *d = p * (*d - sum);
            }
        }
        let dmask = match cx.optional_tensor(FIRST + 3)? {
            Some(mask) if cx.wants(3) => Some(mask_adjoint(&dscores, mask)?),
            _ => None,
        };
        if cap > 0.0 {
            for (d, raw) in dscores.data.iter_mut().zip(&raw.data) {
                *d *= 1.0 - (raw / cap).tanh().powi(2);
            }
        }
        let mut dq = weigh(cx, &dscores, &k)?;
        dq.data.iter_mut().for_each(|d| *d *= scale);
        let mut dk = gathered(&dscores, &q, &k);
        dk.data.iter_mut().for_each(|d| *d *= scale);
        let dv = gathered(&shares, &dy, &v);
        let mut outputs = Vec::with_capacity(4);
        for (adjoint, like) in [dq, dk, dv].iter().zip(inputs) {
            let tensor = match like.rank() {
                3 => adjoint.to_3d(like.dtype())?,
                _ => adjoint.to_4d(like.dtype())?,
            };
            outputs.push(tensor.into());
        }
        outputs.extend(dmask.map(Value::from));
        Ok(outputs)
    }
}

/// `wᵀ · x` for weights of queries in keys and one row `x` per query, summed over the query heads that share a head of `like`.
fn gathered(weights: &Scores, x: &Heads, like: &Heads) -> Heads {
    let [batch, heads, queries, keys] = weights.shape;
    let group = heads / like.heads.max(1);
    let mut data = vec![0.0; like.data.len()];
    let width = x.size.max(1);
    for b in 0..batch {
        for h in 0..heads {
            let rows = x.head(b * heads + h).chunks_exact(width);
            let weights = &weights.data[(b * heads + h) * queries * keys..][..queries * keys];
            let from = (b * like.heads + h / group.max(1)) * keys * x.size;
            let sums = &mut data[from..from + keys * x.size];
            for (row, weights) in rows.zip(weights.chunks_exact(keys.max(1))) {
                for (sums, w) in sums.chunks_exact_mut(width).zip(weights) {
                    sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += w * v);
                }
            }
        }
    }
    Heads {
        data,
        ..like.clone()
    }
}

/// The adjoint of a float mask that was broadcast to the scores.
fn mask_adjoint(dscores: &Scores, mask: &Tensor) -> Result<Tensor, EvalError> {
    let keys = dscores.shape[3];
    let reach = mask.shape().last().copied().unwrap_or(keys);
    let mut sums = vec![0.0; mask.len()];
    let mut target = dscores.shape;
    target[3] = reach;
    let strides = broadcast::strides(mask.shape(), &target);
    let mut at = 0;
    broadcast::for_each(&target, [&strides], |[i]| {
        // Beyond a shorter mask there is nothing of it.
        sums[i] += dscores.data[at / reach.max(1) * keys + at % reach.max(1)];
        at += 1;
    });
    rounded(mask.dtype(), mask.shape(), sums)
}
