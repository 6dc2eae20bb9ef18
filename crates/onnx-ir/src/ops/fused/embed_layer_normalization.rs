//! `EmbedLayerNormalization`: the sum of word, position and segment embeddings, and its layer normalisation.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.EmbedLayerNormalization>
//!
//! Inputs: `input_ids, segment_ids?, word_embedding, position_embedding, segment_embedding?, gamma, beta, mask?,
//! position_ids?`. The second output counts the ones of each sample's mask, the third is the sum.

use super::residual_norm::{Moments, normalise};
use crate::operator::prelude::*;
use crate::ops::transformer::heads::real_tensor;

/// The attributes of `EmbedLayerNormalization`.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedLayerNormalization {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Operator for EmbedLayerNormalization {
    const SIGNATURE: Signature = Signature::microsoft("EmbedLayerNormalization");
    const GRADIENT: Gradient<Self> =
        Gradient::Undefined("it is fused for inference: differentiate the model before fusions");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        // Only tells shape inference whether the second output is there.
        attrs.ignore("mask_index_type");
        Ok(Self {
            epsilon: attrs.f32_or("epsilon", 1e-12)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (ids, words) = (cx.tensor(0)?, cx.tensor(2)?);
        let (sum, counts) = match (ids.shape.as_deref(), words.shape.as_deref()) {
            (Some([batch, sequence]), Some([_, hidden])) => (
                Some(vec![batch.clone(), sequence.clone(), hidden.clone()]),
                Some(vec![batch.clone()]),
            ),
            _ => (None, None),
        };
        let sum = Fact::from(TensorFact::with_shape(words.dtype, sum));
        let counts = TensorFact::with_shape(Some(DType::I32), counts).into();
        let facts = [sum.clone(), counts, sum];
        Ok(facts.into_iter().take(cx.output_count()).collect())
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let words = cx.tensor(2)?;
        let (&[batch, sequence], &[_, hidden]) = (cx.tensor(0)?.shape(), words.shape()) else {
            return Err(EvalError::rule(
                "ids and embeddings must have two axes",
                format_args!("{:?} and {words:?}", cx.tensor(0)?),
            ));
        };
        let tokens = batch * sequence;
        cx.check_size(&[batch], DType::I32)?;
        let shape = [batch, sequence, hidden];
        let mut sum = vec![0.0; cx.check_size(&shape, DType::F64)?];
        let ids = cx.ints(0)?.unwrap_or_default();
        add_rows(&mut sum, words, hidden, &ids)?;
        let positions = match cx.ints(8)? {
            None => (0..tokens).map(|t| (t % sequence) as i64).collect(),
            Some(p) if p.len() == sequence => (0..tokens).map(|t| p[t % sequence]).collect(),
            Some(p) => p,
        };
        add_rows(&mut sum, cx.tensor(3)?, hidden, &positions)?;
        if let (Some(segments), Some(table)) = (cx.ints(1)?, cx.optional_tensor(4)?) {
            add_rows(&mut sum, table, hidden, &segments)?;
        }
        let counts = match cx.ints(7)? {
            None => vec![0i32; batch],
            Some(mask) if mask.len() == tokens => (0..batch)
                .map(|b| {
                    let row = &mask[b * sequence..(b + 1) * sequence];
                    row.iter().filter(|&&m| m == 1).count() as i32
                })
                .collect(),
            Some(mask) => {
                return Err(EvalError::rule(
                    "the mask must have a number per token",
                    format_args!("{} and {tokens}", mask.len()),
                ));
            }
        };
        let (gamma, beta) = (cx.tensor(5)?, Some(cx.tensor(6)?));
        let moments = Moments::MeanAndVariance;
        let y = normalise(sum.clone(), hidden, gamma, beta, self.epsilon, moments)?;
        Ok(vec![
            real_tensor(words.dtype(), &shape, y.data)?.into(),
            Tensor::from_vec(&[batch], counts)?.into(),
            real_tensor(words.dtype(), &shape, sum)?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the moments of a row need more than 8 bits")
    }
}

/// Adds row `rows[t]` of `table` to token `t`.
fn add_rows(sum: &mut [f64], table: &Tensor, size: usize, rows: &[i64]) -> Result<(), EvalError> {
    let &[count, width] = table.shape() else {
        return Err(EvalError::rule(
            "a table must have two axes",
            format_args!("{table:?}"),
        ));
    };
    if width != size || rows.len().checked_mul(size) != Some(sum.len()) {
        return Err(EvalError::rule(
            "there must be one row as wide as the others per token",
            format_args!("{table:?}, {} rows, {} numbers", rows.len(), sum.len()),
        ));
    }
    let data = table.to_f64_vec()?;
    for (token, &row) in sum.chunks_exact_mut(size.max(1)).zip(rows) {
        let Some(row) = usize::try_from(row).ok().filter(|&r| r < count) else {
            return Err(EvalError::rule(
                "ids must lie within their table",
                format_args!("{row} of {count}"),
            ));
        };
        for (x, e) in token.iter_mut().zip(&data[row * size..(row + 1) * size]) {
            *x += e;
        }
    }
    Ok(())
}
