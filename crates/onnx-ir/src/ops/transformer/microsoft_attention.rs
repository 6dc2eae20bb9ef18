//! `com.microsoft.Attention`: projects the input to queries, keys and values with one merged weight, then
//! attends: `[Q, K, V] = X · W + b`.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.Attention>

use super::heads::Heads;
use super::padded::{PaddedAttention, past_pair, present_pair};
use crate::operator::prelude::*;

/// The attributes of `com.microsoft.Attention`.
#[derive(Clone, Debug, PartialEq)]
pub struct MicrosoftAttention {
    /// What it shares with its kin.
    pub attention: PaddedAttention,
    /// Widths of queries, keys and values; thirds of the weight where they are not given.
    pub qkv_hidden_sizes: Option<[usize; 3]>,
}

impl Operator for MicrosoftAttention {
    const SIGNATURE: Signature = Signature::microsoft("Attention");
    const GRADIENT: Gradient<Self> =
        Gradient::Undefined("it is fused for inference: differentiate the model before fusions");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        for name in ["do_rotary", "past_present_share_buffer"] {
            refuse(attrs, name)?;
        }
        attrs.ignore("rotary_embedding_dim");
        let qkv_hidden_sizes = match attrs.ints_opt("qkv_hidden_sizes")? {
            None => None,
            Some(sizes) => {
                let known: Vec<usize> = sizes
                    .iter()
                    .filter_map(|&n| usize::try_from(n).ok())
                    .collect();
                match <[usize; 3]>::try_from(known) {
                    Ok(known) if sizes.len() == 3 => Some(known),
                    _ => {
                        return Err(AttrError::Invalid {
                            name: "qkv_hidden_sizes",
                            found: format!("{sizes:?}"),
                            rule: "it must be three sizes",
                        });
                    }
                }
            }
        };
        Ok(Self {
            attention: PaddedAttention::parse(attrs)?,
            qkv_hidden_sizes,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let width = match (self.qkv_hidden_sizes, cx.tensor(1)?.shape.as_deref()) {
            (Some([_, _, v]), _) => v.into(),
            (None, Some([_, columns])) => columns.floor_div(&3i64.into()),
            _ => Dim::Unknown,
        };
        infer_merged(cx, self.attention.num_heads, width, 4)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, w) = (cx.tensor(0)?, cx.tensor(1)?);
        let &[batch, sequence, width] = x.shape() else {
            return Err(EvalError::rule("the rank must be 3", format_args!("{x:?}")));
        };
        let &[rows, columns] = w.shape() else {
            return Err(EvalError::rule("the rank must be 2", format_args!("{w:?}")));
        };
        if rows != width {
            return Err(EvalError::rule(
                "inner sizes must be equal",
                format_args!("{width} and {rows}"),
            ));
        }
        let bias = cx.optional_tensor(2)?.map(Tensor::to_f64_vec).transpose()?;
        if bias.as_ref().is_some_and(|b| b.len() != columns) {
            return Err(EvalError::rule(
                "the bias must have a value per column",
                columns,
            ));
        }
        cx.check_size(&[batch, sequence, columns], DType::F64)?;
        let (x_data, w_data) = (x.to_f64_vec()?, w.to_f64_vec()?);
        let mut projected = Vec::new();
        for token in x_data.chunks_exact(width.max(1)) {
            let start = projected.len();
            match &bias {
                Some(bias) => projected.extend_from_slice(bias),
                None => projected.resize(start + columns, 0.0),
            }
            for (x, row) in token.iter().zip(w_data.chunks_exact(columns.max(1))) {
                for (y, w) in projected[start..].iter_mut().zip(row) {
                    *y += x * w;
                }
            }
        }
        let third = columns / 3;
        let merged = Merged {
            batch,
            sequence,
            widths: self.qkv_hidden_sizes.unwrap_or([third; 3]),
            data: projected,
        };
        let (mask, past, bias) = (
            cx.optional_tensor(3)?,
            cx.optional_tensor(4)?,
            cx.optional_tensor(5)?,
        );
        merged.attend(cx, &self.attention, mask, past, bias, x.dtype())
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("quantize the products before they are fused to attention")
    }
}

/// Queries, keys and values of each token side by side.
pub(super) struct Merged {
    pub(super) batch: usize,
    pub(super) sequence: usize,
    /// Widths of queries, keys and values.
    pub(super) widths: [usize; 3],
    pub(super) data: Vec<f64>,
}

impl Merged {
    /// The output and the present keys and values.
    pub(super) fn attend(
        &self,
        cx: &EvalContext<'_>,
        attention: &PaddedAttention,
        mask: Option<&Tensor>,
        past: Option<&Tensor>,
        bias: Option<&Tensor>,
        dtype: DType,
    ) -> Result<Vec<Value>, EvalError> {
        let tokens = self.batch * self.sequence;
        let width: usize = self.widths.iter().fold(0, |n, &w| n.saturating_add(w));
        if tokens.checked_mul(width) != Some(self.data.len()) {
            return Err(EvalError::rule(
                "the weight must have the columns of queries, keys and values",
                format_args!(
                    "{:?}, {} numbers of {tokens} tokens",
                    self.widths,
                    self.data.len()
                ),
            ));
        }
        let part = |start: usize, size: usize| {
            let rows = self.data.chunks_exact(width.max(1));
            let data: Vec<f64> = rows
                .flat_map(|r| &r[start..start + size])
                .copied()
                .collect();
            Heads::from_packed(self.batch, self.sequence, attention.num_heads, size, &data)
        };
        let [q, k, v] = self.widths;
        let (q, mut k, mut v) = (part(0, q)?, part(q, k)?, part(q + k, v)?);
        if let Some(past) = past {
            let [past_k, past_v] = past_pair(past)?;
            k = k.after(&past_k)?;
            v = v.after(&past_v)?;
        }
        let y = attention.attend(cx, [&q, &k, &v], mask, bias)?;
        let mut outputs: Vec<Value> = vec![y.to_3d(dtype)?.into()];
        if cx.wants(1) {
            outputs.push(present_pair(&k, &v, dtype)?.into());
        }
        Ok(outputs)
    }
}

/// The facts of the output and of the present state, for an input at 0, values of `width` and a past at
/// input `past`.
pub(super) fn infer_merged(
    cx: &InferContext<'_>,
    num_heads: usize,
    width: Dim,
    past: usize,
) -> Result<Vec<Fact>, InferError> {
    let (x, past) = (cx.tensor(0)?, cx.optional_tensor(past)?);
    let dtype = match x.dtype {
        Some(DType::I8 | DType::U8) => Some(DType::F32),
        dtype => dtype,
    };
    let Some([batch, sequence, _]) = x.shape.as_deref() else {
        return Ok(vec![TensorFact::of_dtype(dtype).into(); cx.output_count()]);
    };
    let heads = Dim::from(num_heads);
    let length = match past.as_ref().map(|p| p.shape.as_deref()) {
        None => sequence.clone(),
        Some(Some([_, _, _, length, _])) => length.clone() + sequence.clone(),
        Some(_) => Dim::Unknown,
    };
    let size = width.floor_div(&heads);
    let y = vec![batch.clone(), sequence.clone(), width];
    let present = vec![Dim::Known(2), batch.clone(), heads, length, size];
    let mut facts = vec![TensorFact::with_shape(dtype, Some(y)).into()];
    if cx.output_count() > 1 {
        facts.push(TensorFact::with_shape(dtype, Some(present)).into());
    }
    Ok(facts)
}

/// An attribute that only an accelerator's kernels know, where it is not 0.
pub(super) fn refuse(attrs: &mut Attrs<'_>, name: &'static str) -> Result<(), AttrError> {
    match attrs.int_or(name, 0)? {
        0 => Ok(()),
        found => Err(AttrError::Invalid {
            name,
            found: found.to_string(),
            rule: "only 0 is defined on the CPU",
        }),
    }
}
