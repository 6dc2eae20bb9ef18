//! What the attention operators of ONNX Runtime's `com.microsoft` domain share: a mask by padding, an additive
//! bias, causality.

use super::heads::{Heads, check_empty};
use super::scaled_dot_product::{Scores, scores, weigh};
use crate::operator::prelude::*;
use crate::ops::broadcast;

/// The attributes that these operators share.
#[derive(Clone, Debug, PartialEq)]
pub struct PaddedAttention {
    /// Heads of queries, keys and values.
    pub num_heads: usize,
    /// Factor of the products; `1 / sqrt(head size)` where it is not given (or 0).
    pub scale: Option<f32>,
    /// What is added to the score of a key that the mask hides.
    pub mask_filter_value: f32,
    /// Whether queries see no keys after them.
    pub unidirectional: bool,
}

impl PaddedAttention {
    /// Reads the attributes.
    ///
    /// # Errors
    /// [`AttrError::WrongKind`], [`AttrError::Missing`], [`AttrError::Invalid`].
    pub fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let num_heads = attrs.int("num_heads")?;
        let heads = usize::try_from(num_heads).unwrap_or(0);
        if heads == 0 {
            return Err(AttrError::Invalid {
                name: "num_heads",
                found: num_heads.to_string(),
                rule: "it must be positive",
            });
        }
        Ok(Self {
            num_heads: heads,
            scale: attrs.f32_opt("scale")?.filter(|&s| s != 0.0),
            mask_filter_value: attrs.f32_or("mask_filter_value", -10_000.0)?,
            unidirectional: attrs.flag_or("unidirectional", false)?,
        })
    }

    /// The result of attention. `mask` is i32: the ends (and starts) of the valid keys of each sample, or 0
    /// for each hidden key as `[batch, keys]`, `[batch, queries, keys]` or `[batch, 1, max, max]`; `bias` broadcasts
    /// to the scores.
    ///
    /// # Errors
    /// [`EvalError::Rule`] where shapes do not fit.
    pub fn attend(
        &self,
        cx: &EvalContext<'_>,
        [q, k, v]: [&Heads; 3],
        mask: Option<&Tensor>,
        bias: Option<&Tensor>,
    ) -> Result<Heads, EvalError> {
        let scale = match self.scale {
            Some(scale) => scale.into(),
            None => 1.0 / (q.size.max(1) as f64).sqrt(),
        };
        let mut scores = scores(cx, q, k, scale)?;
        if let Some(mask) = mask {
            self.hide(&mut scores, mask)?;
        }
        if let Some(bias) = bias {
            add_bias(&mut scores, bias)?;
        }
        if self.unidirectional {
            let [_, _, queries, keys] = scores.shape;
            let past = keys.saturating_sub(queries);
            for (row, score) in scores.rows_mut().enumerate() {
                let position = past + row % queries;
                for hidden in score.iter_mut().skip(position + 1) {
                    *hidden = f64::NEG_INFINITY;
                }
            }
        }
        scores.softmax();
        weigh(cx, &scores, v)
    }

    fn hide(&self, scores: &mut Scores, mask: &Tensor) -> Result<(), EvalError> {
        let [batch, heads, queries, keys] = scores.shape;
        let values = mask.data::<i32>()?;
        let filter = f64::from(self.mask_filter_value);
        let past = keys.saturating_sub(queries);
        let shape = mask.shape();
        let seen: Box<dyn Fn(usize, usize, usize) -> bool> = match *shape {
            [n] if n == batch => Box::new(|b, _, j| (j as i64) < i64::from(values[b])),
            [n] if n == 2 * batch => Box::new(|b, _, j| {
                let (end, start) = (i64::from(values[b]), i64::from(values[batch + b]));
                (start..end).contains(&(j as i64))
            }),
            [b, j] if [b, j] == [batch, keys] => Box::new(|b, _, j| values[b * keys + j] > 0),
            [b, i, j] if [b, i, j] == [batch, queries, keys] => {
                Box::new(|b, i, j| values[(b * queries + i) * keys + j] > 0)
            }
            [b, 1, most, width] if b == batch && most >= past + queries && width >= keys => {
                Box::new(move |b, i, j| values[(b * most + past + i) * width + j] > 0)
            }
            _ => {
                return Err(EvalError::rule(
                    "the mask must be one of the forms of ONNX Runtime's CPU kernels",
                    format_args!("mask {shape:?}, scores {:?}", scores.shape),
                ));
            }
        };
        for (row, score) in scores.rows_mut().enumerate() {
            let (b, i) = (row / queries / heads, row % queries);
            for (j, x) in score.iter_mut().enumerate() {
                if !seen(b, i, j) {
                    *x += filter;
                }
            }
        }
        Ok(())
    }
}

fn add_bias(scores: &mut Scores, bias: &Tensor) -> Result<(), EvalError> {
    if broadcast::shape(&[bias.shape(), &scores.shape])? != scores.shape {
        return Err(EvalError::rule(
            "the attention bias must broadcast to the scores",
            format_args!("{:?} and {:?}", bias.shape(), scores.shape),
        ));
    }
    let strides = broadcast::strides(bias.shape(), &scores.shape);
    let values = bias.to_f64_vec()?;
    let shape = scores.shape;
    let mut elements = scores.data.iter_mut();
    broadcast::for_each(&shape, [&strides], |[i]| {
        if let Some(x) = elements.next() {
            *x += values[i];
        }
    });
    Ok(())
}

/// Past keys and values, `[2, batch, heads, length, size]`.
///
/// # Errors
/// [`EvalError::Rule`] for another rank or first axis.
pub fn past_pair(past: &Tensor) -> Result<[Heads; 2], EvalError> {
    let &[2, batch, heads, sequence, size] = past.shape() else {
        return Err(EvalError::rule(
            "the past must be [2, batch, heads, length, size]",
            format_args!("{past:?}"),
        ));
    };
    check_empty([batch, heads, sequence, size])?;
    let data = past.to_f64_vec()?;
    let (keys, values) = data.split_at(data.len() / 2);
    Ok([keys, values].map(|data| Heads {
        batch,
        heads,
        sequence,
        size,
        data: data.to_vec(),
    }))
}

/// Keys and values as `[2, batch, heads, length, size]`.
///
/// # Errors
/// [`EvalError::Rule`] where the two have different shapes.
pub fn present_pair(k: &Heads, v: &Heads, dtype: DType) -> Result<Tensor, EvalError> {
    if k.shape() != v.shape() {
        return Err(EvalError::rule(
            "present keys and values must have the same shape",
            format_args!("{:?} and {:?}", k.shape(), v.shape()),
        ));
    }
    let shape = [&[2], &k.shape()[..]].concat();
    super::heads::real_tensor(dtype, &shape, [&k.data[..], &v.data[..]].concat())
}
