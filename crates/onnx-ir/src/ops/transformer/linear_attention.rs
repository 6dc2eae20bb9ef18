//! `LinearAttention`: attention by a state `S` of `[key size, value size]` per head that each token updates.
//! <https://onnx.ai/onnx/operators/onnx__LinearAttention.html>
//!
//! ```text
//! gated:  S = exp(g) * S            (per row of S, or one gate for all)
//! delta:  v = beta * (v - Sᵀ k)
//! S = S + k ⊗ v,   o = scale * Sᵀ q
//! ```
//! `linear` has neither of the first two steps, `gated_delta` has both. Yang et al. 2024, arXiv:2412.06464.

use super::heads::{Heads, real_tensor};
use crate::operator::prelude::*;

/// The attributes of `LinearAttention`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearAttention {
    /// Heads of the queries.
    pub q_num_heads: usize,
    /// Heads of the keys, values and states.
    pub kv_num_heads: usize,
    /// Factor of the output; `1 / sqrt(key size)` where it is 0.
    pub scale: f32,
    /// Whether the state decays.
    pub gated: bool,
    /// Whether a value is stored as its difference from what the state gives.
    pub delta: bool,
}

const STATE_RULE: &str = "the state must be [batch, heads, key size, value size]";

impl Operator for LinearAttention {
    const SIGNATURE: Signature = Signature::onnx("LinearAttention", &[27]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        // A hint for parallel implementations.
        attrs.ignore("chunk_size");
        let (gated, delta) = match attrs.string_opt("update_rule")?.as_deref() {
            Some("linear") => (false, false),
            Some("gated") => (true, false),
            Some("delta") => (false, true),
            None | Some("gated_delta") => (true, true),
            Some(other) => {
                return Err(AttrError::Invalid {
                    name: "update_rule",
                    found: other.to_owned(),
                    rule: "it must be linear, gated, delta or gated_delta",
                });
            }
        };
        let (q_num_heads, kv_num_heads) = (
            attrs.size_or("q_num_heads", 0)?,
            attrs.size_or("kv_num_heads", 0)?,
        );
        if kv_num_heads == 0 || q_num_heads == 0 || !q_num_heads.is_multiple_of(kv_num_heads) {
            return Err(AttrError::Invalid {
                name: "q_num_heads",
                found: format!("{q_num_heads} with kv_num_heads {kv_num_heads}"),
                rule: "it must be a positive multiple of kv_num_heads",
            });
        }
        Ok(Self {
            q_num_heads,
            kv_num_heads,
            scale: attrs.f32_or("scale", 0.0)?,
            gated,
            delta,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (q, k, v) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let state_dtype = match cx.optional_tensor(3)? {
            Some(state) => state.dtype,
            None => q.dtype,
        };
        let (Some([b, t, _]), Some([_, _, k]), Some([_, _, v])) =
            (q.shape.as_deref(), k.shape.as_deref(), v.shape.as_deref())
        else {
            return Ok(vec![
                TensorFact::of_dtype(q.dtype).into(),
                TensorFact::of_dtype(state_dtype).into(),
            ]);
        };
        if let Some(gate) = [4, 5]
            .iter()
            .find_map(|&i| cx.shape(i).filter(|gate| gate.len() != 3))
        {
            let rule = "decay and beta must have the axes batch, length and heads";
            return Err(InferError::rule(rule, format_args!("rank {}", gate.len())));
        }
        let rest = [1, 2, 4, 5].into_iter().filter_map(|i| cx.shape(i));
        if rest
            .clone()
            .any(|other| other[0].contradicts(b) || other[1].contradicts(t))
        {
            let rule = "queries, keys and values must have the same batch and length";
            return Err(InferError::rule(rule, &q));
        }
        let heads = Dim::from(self.kv_num_heads);
        let q_size = cx
            .shape(0)
            .map(|q| q[2].floor_div(&Dim::from(self.q_num_heads)));
        if q_size.is_some_and(|size| size.contradicts(&k.floor_div(&heads))) {
            return Err(InferError::rule(
                "heads of queries and keys must have one size",
                &q,
            ));
        }
        let value_size = v.floor_div(&heads);
        let hidden = Dim::from(self.q_num_heads) * value_size.clone();
        let output = vec![b.clone(), t.clone(), hidden];
        let mut state = vec![b.clone(), heads.clone(), k.floor_div(&heads), value_size];
        if let Some(past) = cx.shape(3).filter(|past| past.len() == state.len()) {
            for (size, past) in state.iter_mut().zip(past) {
                if past.contradicts(size) {
                    return Err(InferError::rule(
                        STATE_RULE,
                        format_args!("{past}, not {size}"),
                    ));
                }
                *size = past.refine(size);
            }
        }
        Ok(vec![
            TensorFact::with_shape(q.dtype, Some(output)).into(),
            TensorFact::with_shape(state_dtype, Some(state)).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let q = Heads::from_3d(cx.tensor(0)?, self.q_num_heads)?;
        let k = Heads::from_3d(cx.tensor(1)?, self.kv_num_heads)?;
        let v = Heads::from_3d(cx.tensor(2)?, self.kv_num_heads)?;
        let per_token = [q.batch, q.sequence];
        if [&k, &v].iter().any(|x| [x.batch, x.sequence] != per_token) || k.size != q.size {
            return Err(EvalError::rule(
                "queries, keys and values must have the same batch, length and key size",
                format_args!("{:?}, {:?}, {:?}", q.shape(), k.shape(), v.shape()),
            ));
        }
        let decay = Gate::read(cx, 4, self.gated, "decay", &k)?;
        let beta = Gate::read(cx, 5, self.delta, "beta", &k)?;
        let state_shape = [q.batch, self.kv_num_heads, k.size, v.size];
        let count = cx.check_size(&state_shape, DType::F64)?;
        cx.check_size(&[q.batch, q.sequence, self.q_num_heads, v.size], DType::F64)?;
        let (mut states, state_dtype) = match cx.optional_tensor(3)? {
            None => (vec![0.0; count], dtype),
            Some(past) if past.shape() == state_shape => (past.to_f64_vec()?, past.dtype()),
            Some(past) => {
                return Err(EvalError::rule(
                    STATE_RULE,
                    format_args!("{:?}, not {state_shape:?}", past.shape()),
                ));
            }
        };
        let mut y = Heads {
            size: v.size,
            data: vec![0.0; q.batch * q.heads * q.sequence * v.size],
            ..q
        };
        let group = self.q_num_heads / self.kv_num_heads;
        let scale = match self.scale {
            0.0 => 1.0 / (k.size.max(1) as f64).sqrt(),
            scale => scale.into(),
        };
        for head in 0..k.batch * k.heads {
            let state = &mut states[head * k.size * v.size..(head + 1) * k.size * v.size];
            for t in 0..k.sequence {
                let key = token(&k, head, t);
                let mut value = token(&v, head, t).to_vec();
                let (b, h) = (head / k.heads, head % k.heads);
                if let Some(decay) = &decay {
                    for (i, row) in state.chunks_exact_mut(v.size.max(1)).enumerate() {
                        let factor = decay.at(b, t, h, i).exp();
                        row.iter_mut().for_each(|s| *s *= factor);
                    }
                }
                if let Some(beta) = &beta {
                    let known = read(state, key, v.size);
                    let rate = beta.at(b, t, h, 0);
                    for (v, known) in value.iter_mut().zip(known) {
                        *v = rate * (*v - known);
                    }
                }
                for (row, k) in state.chunks_exact_mut(v.size.max(1)).zip(key) {
                    for (s, v) in row.iter_mut().zip(&value) {
                        *s += k * v;
                    }
                }
                for g in 0..group {
                    let q_head = b * q.heads + h * group + g;
                    let output = read(state, token(&q, q_head, t), v.size);
                    let start = (q_head * q.sequence + t) * v.size;
                    for (y, o) in y.data[start..].iter_mut().zip(output) {
                        *y = scale * o;
                    }
                }
            }
        }
        Ok(vec![
            y.to_3d(dtype)?.into(),
            real_tensor(state_dtype, &state_shape, states)?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the state gathers what the steps lose")
    }
}

/// Numbers per token: one per head and row of the state, one per head or one for all heads.
struct Gate {
    data: Vec<f64>,
    sequence: usize,
    width: usize,
    heads: usize,
}

impl Gate {
    fn read(
        cx: &EvalContext<'_>,
        index: usize,
        used: bool,
        name: &'static str,
        k: &Heads,
    ) -> Result<Option<Self>, EvalError> {
        let input = cx.optional_tensor(index)?;
        if input.is_some() != used {
            return Err(EvalError::rule(
                "decay and beta must be there just where the update rule has them",
                name,
            ));
        }
        let Some(input) = input else { return Ok(None) };
        let widths = [k.heads, if name == "beta" { 1 } else { k.heads * k.size }];
        match *input.shape() {
            [b, t, width] if [b, t] == [k.batch, k.sequence] && widths.contains(&width) => {
                Ok(Some(Self {
                    data: input.to_f64_vec()?,
                    sequence: t,
                    width,
                    heads: k.heads,
                }))
            }
            _ => Err(EvalError::rule(
                "decay and beta must have a number per token and head",
                format_args!("{name} {input:?}, keys {:?}", k.shape()),
            )),
        }
    }

    fn at(&self, b: usize, t: usize, head: usize, row: usize) -> f64 {
        let start = (b * self.sequence + t) * self.width;
        let place = match self.width {
            1 => 0,
            width if width == self.heads => head,
            width => head * (width / self.heads) + row,
        };
        self.data[start + place]
    }
}

fn token(x: &Heads, head: usize, t: usize) -> &[f64] {
    &x.head(head)[t * x.size..(t + 1) * x.size]
}

/// `Sᵀ x`.
fn read(state: &[f64], x: &[f64], size: usize) -> Vec<f64> {
    let mut y = vec![0.0; size];
    for (row, x) in state.chunks_exact(size.max(1)).zip(x) {
        for (y, s) in y.iter_mut().zip(row) {
            *y += x * s;
        }
    }
    y
}
