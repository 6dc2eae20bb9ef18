//! `Attention`: scaled dot-product attention with masks, a key/value cache, a soft cap and groups of heads.
//! <https://onnx.ai/onnx/operators/onnx__Attention.html>
//!
//! `Y = softmax(cap(scale * Q · Kᵀ) + bias) · V`, the bias the sum of the mask (a boolean one is 0 or `-inf`),
//! of causality and the window, and of the padding of the cache. Query `i` stands at position `p = i + offset`; it sees
//! key `j` where `j <= p` (causal) and `p - left <= j <= p + right` (window). `offset` is the length of the past, or
//! the count of valid keys less that of queries where the cache is updated outside. A query that sees no key gives 0.
//!
//! 24 adds `nonpad_kv_seqlen`, 25 the window.

use super::heads::Heads;
use super::scaled_dot_product::{Scores, scores, soft_cap, weigh};
use crate::operator::prelude::*;
use crate::ops::broadcast;

/// What the optional fourth output holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoresOutput {
    /// `scale * Q · Kᵀ`.
    Raw,
    /// After the soft cap.
    Capped,
    /// After the soft cap and the bias.
    Biased,
    /// After the softmax.
    Shares,
}

/// The attributes of `Attention`.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Whether queries see no keys after them.
    pub causal: bool,
    /// Heads of a packed query.
    pub q_num_heads: Option<usize>,
    /// Heads of packed keys and values.
    pub kv_num_heads: Option<usize>,
    /// Factor of the products; `1 / sqrt(head size)` where it is not given.
    pub scale: Option<f32>,
    /// Cap of the scores; 0 for none.
    pub softcap: f32,
    /// What the fourth output holds.
    pub scores_output: ScoresOutput,
    /// How many keys before its own position a query sees.
    pub left_window: Option<usize>,
    /// How many keys after its own position a query sees.
    pub right_window: Option<usize>,
}

impl Operator for Attention {
    const SIGNATURE: Signature = Signature::onnx("Attention", &[23, 24, 25]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        // All precisions are covered by f64.
        attrs.ignore("softmax_precision");
        let heads = |attrs: &mut Attrs<'_>, name| {
            let heads = attrs.size_or(name, 0)?;
            Ok::<_, AttrError>((heads > 0).then_some(heads))
        };
        Ok(Self {
            causal: attrs.flag_or("is_causal", false)?,
            q_num_heads: heads(attrs, "q_num_heads")?,
            kv_num_heads: heads(attrs, "kv_num_heads")?,
            scale: attrs.f32_opt("scale")?,
            softcap: attrs.f32_or("softcap", 0.0)?,
            scores_output: match attrs.int_or("qk_matmul_output_mode", 0)? {
                0 => ScoresOutput::Raw,
                1 => ScoresOutput::Capped,
                2 => ScoresOutput::Biased,
                3 => ScoresOutput::Shares,
                other => {
                    return Err(AttrError::Invalid {
                        name: "qk_matmul_output_mode",
                        found: other.to_string(),
                        rule: "it must be 0, 1, 2 or 3",
                    });
                }
            },
            left_window: window(attrs, "left_window_size")?,
            right_window: window(attrs, "right_window_size")?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (q, k, v) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let past = cx.optional_tensor(4)?;
        if cx.version() >= 25 && cx.output_count() == 2 {
            let rule = "present keys and values come together";
            return Err(InferError::rule(rule, "keys only"));
        }
        let (Some(q_dims), Some(k_dims), Some(v_dims)) = (
            head_dims(&q, self.q_num_heads)?,
            head_dims(&k, self.kv_num_heads)?,
            head_dims(&v, self.kv_num_heads)?,
        ) else {
            let unknown = [q.dtype, k.dtype, v.dtype, q.dtype].map(TensorFact::of_dtype);
            return Ok(unknown.map(Fact::from).into());
        };
        let [batch, heads, queries, _] = q_dims;
        let [_, kv_heads, keys, size] = k_dims;
        let value_size = v_dims[3].clone();
        let total = match past {
            None => keys,
            Some(past) => match past.shape.as_deref() {
                Some([_, _, length, _]) => length.clone() + keys,
                _ => Dim::Unknown,
            },
        };
        let y = if q.rank() == Some(3) {
            let hidden = heads.clone() * value_size.clone();
            vec![batch.clone(), queries.clone(), hidden]
        } else {
            vec![
                batch.clone(),
                heads.clone(),
                queries.clone(),
                value_size.clone(),
            ]
        };
        let cache = |size: Dim| vec![batch.clone(), kv_heads.clone(), total.clone(), size];
        let shapes = [
            (q.dtype, y),
            (k.dtype, cache(size)),
            (v.dtype, cache(value_size)),
            (q.dtype, vec![batch.clone(), heads, queries, total.clone()]),
        ];
        Ok(shapes
            .map(|(dtype, shape)| TensorFact::with_shape(dtype, Some(shape)).into())
            .into())
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let [q_in, k_in, v_in] = [cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?];
        let q = heads_of(q_in, self.q_num_heads)?;
        let mut k = heads_of(k_in, self.kv_num_heads)?;
        let mut v = heads_of(v_in, self.kv_num_heads)?;
        let mut past_length = None;
        if let (Some(past_key), Some(past_value)) = (cx.optional_tensor(4)?, cx.optional_tensor(5)?)
        {
            let past_key = Heads::from_4d(past_key)?;
            past_length = Some(past_key.sequence);
            k = k.after(&past_key)?;
            v = v.after(&Heads::from_4d(past_value)?)?;
        }
        let scale = match self.scale {
            Some(scale) => scale.into(),
            None => 1.0 / (q.size.max(1) as f64).sqrt(),
        };
        let mut scores = scores(cx, &q, &k, scale)?;
        let mut kept = None;
        let mut keep = |stage, scores: &Scores| {
            if cx.wants(3) && self.scores_output == stage {
                kept = Some(scores.clone());
            }
        };
        keep(ScoresOutput::Raw, &scores);
        let cap = self.softcap.into();
        scores.data.iter_mut().for_each(|x| *x = soft_cap(*x, cap));
        keep(ScoresOutput::Capped, &scores);
        let bias = self.bias(cx, 0, scores.shape, past_length)?;
        for (x, b) in scores.data.iter_mut().zip(&bias) {
            *x += b;
        }
        keep(ScoresOutput::Biased, &scores);
        scores.softmax();
        let keys = scores.shape[3].max(1);
        for (row, bias) in scores.rows_mut().zip(bias.chunks_exact(keys)) {
            if bias.iter().all(|&b| b == f64::NEG_INFINITY) {
                row.fill(0.0);
            }
        }
        keep(ScoresOutput::Shares, &scores);
        let y = weigh(cx, &scores, &v)?;
        let y = if q_in.rank() == 3 {
            y.to_3d(q_in.dtype())?
        } else {
            y.to_4d(q_in.dtype())?
        };
        let kept = kept.unwrap_or(Scores {
            shape: [0; 4],
            data: Vec::new(),
        });
        Ok(vec![
            y.into(),
            k.to_4d(k_in.dtype())?.into(),
            v.to_4d(v_in.dtype())?.into(),
            kept.to_tensor(q_in.dtype())?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("attention runs in float; the products around it are quantized")
    }
}

impl Attention {
    /// The operator's inputs are those of the context from `first` on.
    ///
    /// What is added to the scores: 0 where a query may see a key, `-inf` where not, and a float mask.
    pub(super) fn bias(
        &self,
        cx: &EvalContext<'_>,
        first: usize,
        shape: [usize; 4],
        past_length: Option<usize>,
    ) -> Result<Vec<f64>, EvalError> {
        let [batch, _, queries, keys] = shape;
        let mut bias = mask_bias(cx, first, shape)?;
        let valid_keys = cx.ints(first + 6)?;
        if valid_keys.as_ref().is_some_and(|n| n.len() != batch) {
            return Err(EvalError::rule(
                "nonpad_kv_seqlen must have one count per sample",
                format_args!("{valid_keys:?}, batch {batch}"),
            ));
        }
        let per_sample = shape[1] * queries * keys;
        for (i, b) in bias.iter_mut().enumerate() {
            let valid = valid_keys.as_ref().map(|n| n[i / per_sample]);
            let offset = match (past_length, valid) {
                (Some(past), _) => past as i64,
                (None, Some(valid)) => valid.saturating_sub(queries as i64),
                (None, None) => 0,
            };
            let position = ((i / keys % queries) as i64).saturating_add(offset);
            let key = (i % keys) as i64;
            let beyond = |window: Option<usize>, distance: i64| {
                window.is_some_and(|w| distance > i64::try_from(w).unwrap_or(i64::MAX))
            };
            let hidden = valid.is_some_and(|n| key >= n)
                || self.causal && key > position
                || beyond(self.left_window, position.saturating_sub(key))
                || beyond(self.right_window, key.saturating_sub(position));
            if hidden {
                *b += f64::NEG_INFINITY;
            }
        }
        Ok(bias)
    }
}

/// The mask at input 3 as a bias, broadcast; keys beyond a shorter mask are not seen.
fn mask_bias(cx: &EvalContext<'_>, first: usize, shape: [usize; 4]) -> Result<Vec<f64>, EvalError> {
    let count = cx.check_size(&shape, DType::F64)?;
    let Some(mask) = cx.optional_tensor(first + 3)? else {
        return Ok(vec![0.0; count]);
    };
    let mut values = mask.to_f64_vec()?;
    if mask.dtype() == DType::Bool {
        for v in &mut values {
            *v = if *v == 0.0 { f64::NEG_INFINITY } else { 0.0 };
        }
    }
    let keys = shape[3];
    let reach = mask.shape().last().copied().unwrap_or(keys);
    let mut target = shape;
    target[3] = reach;
    if reach > keys || broadcast::shape(&[mask.shape(), &target])? != target {
        return Err(EvalError::rule(
            "the mask must broadcast to the scores",
            format_args!("{:?} and {shape:?}", mask.shape()),
        ));
    }
    let strides = broadcast::strides(mask.shape(), &target);
    let mut bias = Vec::with_capacity(count);
    broadcast::for_each(&target, [&strides], |[i]| {
        bias.push(values[i]);
        if reach < keys && bias.len() % keys == reach {
            bias.resize(bias.len() + keys - reach, f64::NEG_INFINITY);
        }
    });
    bias.resize(count, f64::NEG_INFINITY);
    Ok(bias)
}

fn window(attrs: &mut Attrs<'_>, name: &'static str) -> Result<Option<usize>, AttrError> {
    match attrs.int_or(name, -1)? {
        -1 => Ok(None),
        size => match usize::try_from(size) {
            Ok(size) => Ok(Some(size)),
            Err(_) => Err(AttrError::Invalid {
                name,
                found: size.to_string(),
                rule: "it must be -1 or not negative",
            }),
        },
    }
}

/// Heads of a packed (3 axes) or split (4 axes) tensor.
pub(super) fn heads_of(x: &Tensor, heads: Option<usize>) -> Result<Heads, EvalError> {
    match (x.rank(), heads) {
        (3, Some(heads)) => Heads::from_3d(x, heads),
        (3, None) => Err(EvalError::rule(
            "packed inputs need q_num_heads and kv_num_heads",
            format_args!("{x:?}"),
        )),
        _ => Heads::from_4d(x),
    }
}

/// `[batch, heads, sequence, size]` of a packed or split fact.
fn head_dims(x: &TensorFact, heads: Option<usize>) -> Result<Option<[Dim; 4]>, InferError> {
    match (x.shape.as_deref(), heads) {
        (None, _) => Ok(None),
        (Some([batch, heads, sequence, size]), _) => {
            Ok(Some([batch, heads, sequence, size].map(Dim::clone)))
        }
        (Some([batch, sequence, hidden]), Some(heads)) => {
            let heads = Dim::from(heads);
            let size = hidden.floor_div(&heads);
            Ok(Some([batch.clone(), heads, sequence.clone(), size]))
        }
        (Some(other), _) => Err(InferError::rule(
            "inputs must have 4 axes, or 3 and the numbers of heads",
            format_args!("rank {}", other.len()),
        )),
    }
}

fn gradient(_: &Attention, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    if cx.optional_input(4).is_some() || cx.optional_input(5).is_some() {
        return Err(Unsupported("attention with a cache is not differentiated"));
    }
    if (1..4).any(|i| cx.adjoint(i).is_some()) {
        return Err(Unsupported("a loss depends on its keys, values or scores"));
    }
    let mut inputs = vec![Some(cx.dy())];
    inputs.extend((0..cx.node().inputs().len()).map(|i| cx.optional_input(i)));
    cx.give_outputs(cx.private_like("AttentionGrad"), &inputs, &[0, 1, 2, 3]);
    Ok(())
}
