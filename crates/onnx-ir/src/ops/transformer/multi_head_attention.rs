//! `MultiHeadAttention`: attention of projected queries, keys and values, with the biases of the projections.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention>
//!
//! Queries are `[batch, sequence, heads * size]`; keys and values likewise, or split into heads as
//! `[batch, heads, keys, size]` (from a cache, without bias), or packed: keys and values as `[batch, keys, heads, 2, size]`,
//! all three as `[batch, sequence, heads, 3, size]`.

use super::heads::Heads;
use super::padded::PaddedAttention;
use crate::operator::prelude::*;

/// The attributes of `MultiHeadAttention`.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiHeadAttention {
    /// What it shares with its kin.
    pub attention: PaddedAttention,
}

impl Operator for MultiHeadAttention {
    const SIGNATURE: Signature = Signature::microsoft("MultiHeadAttention");
    const GRADIENT: Gradient<Self> =
        Gradient::Undefined("it is fused for inference: differentiate the model before fusions");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            attention: PaddedAttention::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (q, k, v) = (
            cx.tensor(0)?,
            cx.optional_tensor(1)?,
            cx.optional_tensor(2)?,
        );
        let heads = Dim::from(self.attention.num_heads);
        let dims = |fact: Option<&TensorFact>| fact.and_then(|f| f.shape.clone());
        // The number of keys and the sizes of a key and a value of one head.
        let (keys, size, value_size) = match (dims(Some(&q)).as_deref(), dims(k.as_ref())) {
            (Some([_, s, _, _, d]), _) => (s.clone(), d.clone(), d.clone()),
            (_, Some(k)) => match (k.as_slice(), dims(v.as_ref()).as_deref()) {
                ([_, t, _, _, d], _) => (t.clone(), d.clone(), d.clone()),
                ([_, _, t, d], Some([.., value])) => (t.clone(), d.clone(), value.clone()),
                ([_, t, d], Some([.., value])) => {
                    (t.clone(), d.floor_div(&heads), value.floor_div(&heads))
                }
                _ => (Dim::Unknown, Dim::Unknown, Dim::Unknown),
            },
            _ => (Dim::Unknown, Dim::Unknown, Dim::Unknown),
        };
        let total = match cx.optional_tensor(6)? {
            None => keys,
            Some(past) => match past.shape.as_deref() {
                Some([_, _, length, _]) => length.clone() + keys,
                _ => Dim::Unknown,
            },
        };
        let Some([batch, sequence, ..]) = q.shape.as_deref() else {
            return Ok(vec![
                TensorFact::of_dtype(q.dtype).into();
                cx.output_count()
            ]);
        };
        let hidden = heads.clone() * value_size.clone();
        let cache = |size: Dim| vec![batch.clone(), heads.clone(), total.clone(), size];
        let shapes = [
            vec![batch.clone(), sequence.clone(), hidden],
            cache(size),
            cache(value_size),
        ];
        let facts = shapes.map(|s| TensorFact::with_shape(q.dtype, Some(s)).into());
        Ok(facts.into_iter().take(cx.output_count()).collect())
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        if cx.optional_tensor(8)?.is_some() || cx.optional_tensor(9)?.is_some() || cx.wants(3) {
            return Err(EvalError::NotSupported {
                what: "MultiHeadAttention with a shared cache, beams or scores as an output",
            });
        }
        let dtype = cx.tensor(0)?.dtype();
        let [q, mut k, mut v] = self.projected(cx)?;
        if let (Some(past_key), Some(past_value)) = (cx.optional_tensor(6)?, cx.optional_tensor(7)?)
        {
            k = k.after(&Heads::from_4d(past_key)?)?;
            v = v.after(&Heads::from_4d(past_value)?)?;
        }
        let (mask, bias) = (cx.optional_tensor(4)?, cx.optional_tensor(5)?);
        let y = self.attention.attend(cx, [&q, &k, &v], mask, bias)?;
        Ok(vec![
            y.to_3d(dtype)?.into(),
            k.to_4d(dtype)?.into(),
            v.to_4d(dtype)?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("attention runs in float; the products around it are quantized")
    }
}

impl MultiHeadAttention {
    /// Queries, keys and values with their biases.
    fn projected(&self, cx: &EvalContext<'_>) -> Result<[Heads; 3], EvalError> {
        let heads = self.attention.num_heads;
        let (q, k, v) = (
            cx.tensor(0)?,
            cx.optional_tensor(1)?,
            cx.optional_tensor(2)?,
        );
        let mut split = match (q.rank(), k, v) {
            (5, None, None) => [unpack(q, 3, 0)?, unpack(q, 3, 1)?, unpack(q, 3, 2)?],
            (3, Some(k), None) => [
                Heads::from_3d(q, heads)?,
                unpack(k, 2, 0)?,
                unpack(k, 2, 1)?,
            ],
            (3, Some(k), Some(v)) if k.rank() == 4 => [
                Heads::from_3d(q, heads)?,
                Heads::from_4d(k)?,
                Heads::from_4d(v)?,
            ],
            (3, Some(k), Some(v)) => [
                Heads::from_3d(q, heads)?,
                Heads::from_3d(k, heads)?,
                Heads::from_3d(v, heads)?,
            ],
            _ => {
                return Err(EvalError::rule(
                    "queries, keys and values must be in one of the operator's forms",
                    format_args!("{q:?}, {k:?}, {v:?}"),
                ));
            }
        };
        if split.iter().any(|x| x.heads != heads) {
            return Err(EvalError::rule("all must have num_heads heads", heads));
        }
        if let Some(bias) = cx.optional_tensor(3)? {
            let bias = bias.to_f64_vec()?;
            // A cache of keys and values has its bias already.
            let cached = k.is_some_and(|k| k.rank() == 4);
            let widths = split.each_ref().map(|x| x.heads * x.size);
            if bias.len() != widths.iter().sum::<usize>() {
                return Err(EvalError::rule(
                    "the bias must be as long as queries, keys and values are wide",
                    format_args!("{} and {widths:?}", bias.len()),
                ));
            }
            let mut start = 0;
            for (x, width) in split
                .iter_mut()
                .zip(widths)
                .take(if cached { 1 } else { 3 })
            {
                add_bias(x, &bias[start..start + width]);
                start += width;
            }
        }
        Ok(split)
    }
}

fn add_bias(x: &mut Heads, bias: &[f64]) {
    let (heads, sequence, size) = (x.heads, x.sequence, x.size);
    for (row, numbers) in x.data.chunks_exact_mut(size.max(1)).enumerate() {
        let head = row / sequence % heads;
        for (x, b) in numbers.iter_mut().zip(&bias[head * size..]) {
            *x += b;
        }
    }
}

/// Part `index` of `[batch, sequence, heads, parts, size]`.
fn unpack(x: &Tensor, parts: usize, index: usize) -> Result<Heads, EvalError> {
    match *x.shape() {
        [batch, sequence, heads, found, size] if found == parts => {
            let data = x.to_f64_vec()?;
            let rows = data.chunks_exact(size.max(1)).skip(index).step_by(parts);
            let part: Vec<f64> = rows.flatten().copied().collect();
            Heads::from_packed(batch, sequence, heads, heads * size, &part)
        }
        _ => Err(EvalError::rule(
            "packed tensors must be [batch, sequence, heads, parts, size]",
            format_args!("{x:?}, {parts} parts"),
        )),
    }
}
