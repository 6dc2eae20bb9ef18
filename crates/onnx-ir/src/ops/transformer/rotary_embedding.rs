//! `RotaryEmbedding`: rotates pairs of numbers of each head by an angle that depends on the position:
//! `(a, b) -> (cos * a - sin * b, sin * a + cos * b)`. Su et al. 2021, arXiv:2104.09864.
//! <https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html>
//!
//! The pairs of a head of size `n` are `(i, i + n / 2)`, or `(2i, 2i + 1)` where interleaved; with a rotary dimension
//! below the head size the rest stays as it is.

use super::heads::{Heads, real_tensor};
use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// The attributes of `RotaryEmbedding`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotaryEmbedding {
    /// Whether the two numbers of a pair stand side by side.
    pub interleaved: bool,
    /// Heads of a packed input; 0 where they are not given.
    pub num_heads: usize,
    /// Numbers of each head that are rotated; 0 for all.
    pub rotary_dim: usize,
}

impl Operator for RotaryEmbedding {
    const SIGNATURE: Signature = Signature::onnx("RotaryEmbedding", &[23]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        if cx.wants(1) || cx.wants(2) {
            return Err(Unsupported("its table of angles is not differentiated"));
        }
        // Turned back by the same angles.
        let inputs = [
            Some(cx.dy()),
            Some(cx.input(1)),
            Some(-cx.input(2)),
            cx.optional_input(3),
        ];
        cx.give(0, cx.again(&inputs));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            interleaved: attrs.flag_or("interleaved", false)?,
            num_heads: attrs.size_or("num_heads", 0)?,
            rotary_dim: attrs.size_or("rotary_embedding_dim", 0)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, cos, sin) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let positions = cx.ints(3)?;
        Ok(vec![self.rotate(x, cos, sin, positions.as_deref())?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the angles need more than 8 bits")
    }
}

impl RotaryEmbedding {
    /// `x` rotated: `[batch, heads, sequence, size]` or packed as `[batch, sequence, heads * size]`.
    ///
    /// The caches are `[positions, n / 2]`, read at the positions of each token (one per token in the order
    /// `[batch, sequence]`, or a single one that the tokens count from), or `[batch, sequence, n / 2]` without positions.
    ///
    /// # Errors
    /// [`EvalError::Rule`] where shapes do not fit or a position lies outside of the caches.
    pub fn rotate(
        &self,
        x: &Tensor,
        cos: &Tensor,
        sin: &Tensor,
        positions: Option<&[i64]>,
    ) -> Result<Tensor, EvalError> {
        let packed = x.rank() == 3;
        let mut heads = if packed {
            Heads::from_3d(x, self.packed_heads(x, cos)?)?
        } else {
            Heads::from_4d(x)?
        };
        let [batch, _, sequence, size] = heads.shape();
        let rotated = if self.rotary_dim == 0 {
            size
        } else {
            self.rotary_dim
        };
        let half = rotated / 2;
        let fits = |cache: &Tensor| cache.shape().last() == Some(&half);
        if rotated > size || !rotated.is_multiple_of(2) || !fits(cos) || !fits(sin) {
            return Err(EvalError::rule(
                "the rotated size must be even, within the head and twice that of the caches",
                format_args!("{rotated} of {size}, caches {cos:?} and {sin:?}"),
            ));
        }
        let rows = cache_rows(batch, sequence, positions)?;
        let known = cos.len().min(sin.len()) / half.max(1);
        if let Some(&row) = rows.iter().find(|&&row| row >= known && half > 0) {
            return Err(EvalError::rule(
                "positions must lie within the caches",
                format_args!("{row} of {known}"),
            ));
        }
        let (cos, sin) = (cos.to_f64_vec()?, sin.to_f64_vec()?);
        for (i, token) in heads.data.chunks_exact_mut(size.max(1)).enumerate() {
            let (b, s) = (i / sequence / heads.heads, i % sequence);
            let row = rows[b * sequence + s] * half;
            for p in 0..half {
                let (first, second) = if self.interleaved {
                    (2 * p, 2 * p + 1)
                } else {
                    (p, p + half)
                };
                let (a, b) = (token[first], token[second]);
                let (c, s) = (cos[row + p], sin[row + p]);
                token[first] = c * a - s * b;
                token[second] = s * a + c * b;
            }
        }
        if packed {
            heads.to_3d(x.dtype())
        } else {
            real_tensor(x.dtype(), &heads.shape(), heads.data)
        }
    }

    /// The heads of a packed input; without the attribute heads are as wide as the caches say.
    fn packed_heads(&self, x: &Tensor, cos: &Tensor) -> Result<usize, EvalError> {
        let half = cos.shape().last().copied().unwrap_or(0);
        let hidden = x.shape().last().copied().unwrap_or(0);
        if self.num_heads > 0 {
            return Ok(self.num_heads);
        }
        let heads = hidden.checked_div(half.saturating_mul(2));
        heads.ok_or_else(|| EvalError::rule("packed inputs need num_heads", format_args!("{x:?}")))
    }
}

/// The row of the caches of each token.
fn cache_rows(
    batch: usize,
    sequence: usize,
    positions: Option<&[i64]>,
) -> Result<Vec<usize>, EvalError> {
    let tokens = batch * sequence;
    match positions {
        None => Ok((0..tokens).collect()),
        Some(&[start]) if tokens != 1 => {
            let start = row(start)?;
            Ok((0..tokens)
                .map(|t| start.saturating_add(t % sequence))
                .collect())
        }
        Some(positions) if positions.len() == tokens => {
            positions.iter().copied().map(row).collect()
        }
        Some(positions) => Err(EvalError::rule(
            "there must be one position per token",
            format_args!("{} of {tokens}", positions.len()),
        )),
    }
}

fn row(position: i64) -> Result<usize, EvalError> {
    usize::try_from(position)
        .map_err(|_| EvalError::rule("positions must not be negative", position))
}

/// The attributes of `com.microsoft.RotaryEmbedding`: inputs `x, position_ids, cos_cache, sin_cache`.
#[derive(Clone, Debug, PartialEq)]
pub struct MicrosoftRotaryEmbedding {
    /// As ONNX has it.
    pub rotary: RotaryEmbedding,
    /// Factor of the result.
    pub scale: f32,
}

impl Operator for MicrosoftRotaryEmbedding {
    const SIGNATURE: Signature = Signature::microsoft("RotaryEmbedding");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        // How the batch lies in memory; without effect on the result.
        attrs.ignore("is_packed_batching");
        Ok(Self {
            rotary: RotaryEmbedding::parse(attrs)?,
            scale: attrs.f32_or("scale", 1.0)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, cos, sin) = (cx.tensor(0)?, cx.tensor(2)?, cx.tensor(3)?);
        let positions = cx.ints(1)?;
        let y = self.rotary.rotate(x, cos, sin, positions.as_deref())?;
        if self.scale == 1.0 {
            return Ok(vec![y.into()]);
        }
        let scale = f64::from(self.scale);
        Ok(vec![unary::map_float(&y, |v| v * scale)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the angles need more than 8 bits")
    }
}
