//! Scaled dot-product attention: `softmax(scale * Q · Kᵀ + bias) · V`.
//! Vaswani et al. 2017, arXiv:1706.03762; groups of query heads share a key/value head as in Ainslie et al. 2023,
//! arXiv:2305.13245.

use super::heads::Heads;
use crate::operator::prelude::*;

/// Scores of every query against every key: `[batch, query heads, queries, keys]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// The shape.
    pub shape: [usize; 4],
    /// The scores in C order.
    pub data: Vec<f64>,
}

/// `scale * Q · Kᵀ`; query head `h` looks at key head `h / (query heads / key heads)`.
///
/// # Errors
/// [`EvalError::Rule`] where the shapes do not fit; [`EvalError::TooLarge`].
pub fn scores(cx: &EvalContext<'_>, q: &Heads, k: &Heads, scale: f64) -> Result<Scores, EvalError> {
    let group = group(q.heads, k)?;
    if (q.batch, q.size) != (k.batch, k.size) {
        return Err(EvalError::rule(
            "queries and keys must have the same batch and head size",
            format_args!("{:?} and {:?}", q.shape(), k.shape()),
        ));
    }
    let shape = [q.batch, q.heads, q.sequence, k.sequence];
    let mut data = Vec::with_capacity(cx.check_size(&shape, DType::F64)?);
    let size = q.size;
    for b in 0..q.batch {
        for h in 0..q.heads {
            let queries = q.head(b * q.heads + h);
            let keys = k.head(b * k.heads + h / group);
            for i in 0..q.sequence {
                let query = &queries[i * size..(i + 1) * size];
                for j in 0..k.sequence {
                    let key = &keys[j * size..(j + 1) * size];
                    let dot: f64 = query.iter().zip(key).map(|(a, b)| a * b).sum();
                    data.push(scale * dot);
                }
            }
        }
    }
    Ok(Scores { shape, data })
}

/// `P · V` for the shares `P` of every query in every key.
///
/// # Errors
/// [`EvalError::Rule`] where the shapes do not fit; [`EvalError::TooLarge`].
pub fn weigh(cx: &EvalContext<'_>, shares: &Scores, v: &Heads) -> Result<Heads, EvalError> {
    let [batch, heads, queries, keys] = shares.shape;
    let group = group(heads, v)?;
    if (batch, keys) != (v.batch, v.sequence) {
        return Err(EvalError::rule(
            "keys and values must have the same batch and length",
            format_args!("{:?} and {:?}", shares.shape, v.shape()),
        ));
    }
    let count = cx.check_size(&[batch, heads, queries, v.size], DType::F64)?;
    let mut data = vec![0.0; count];
    for (row, y) in data.chunks_exact_mut(v.size.max(1)).enumerate() {
        let (b, h) = (row / queries / heads, row / queries % heads);
        let values = v.head(b * v.heads + h / group);
        let share = &shares.data[row * keys..(row + 1) * keys];
        for (p, value) in share.iter().zip(values.chunks_exact(v.size.max(1))) {
            for (y, v) in y.iter_mut().zip(value) {
                *y += p * v;
            }
        }
    }
    Ok(Heads {
        batch,
        heads,
        sequence: queries,
        size: v.size,
        data,
    })
}

impl Scores {
    /// The rows, one per query.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f64]> {
        self.data.chunks_exact_mut(self.shape[3].max(1))
    }

    /// Replaces every row by its softmax.
    pub fn softmax(&mut self) {
        self.rows_mut().for_each(softmax);
    }

    /// As a tensor.
    ///
    /// # Errors
    /// [`EvalError::Tensor`] for a type that is not numeric.
    pub fn to_tensor(&self, dtype: DType) -> Result<Tensor, EvalError> {
        super::heads::real_tensor(dtype, &self.shape, self.data.clone())
    }
}

/// Softmax in place; all zeros where every score is `-inf`.
pub fn softmax(row: &mut [f64]) {
    let largest =
        row.iter().copied().fold(
            f64::NEG_INFINITY,
            |m, x| {
                if x.is_nan() { x } else { m.max(x) }
            },
        );
    if largest == f64::NEG_INFINITY {
        row.fill(0.0);
        return;
    }
    let mut sum = 0.0;
    for x in row.iter_mut() {
        *x = (*x - largest).exp();
        sum += *x;
    }
    for x in row {
        *x /= sum;
    }
}

/// `cap * tanh(x / cap)`; no cap where it is 0.
pub fn soft_cap(x: f64, cap: f64) -> f64 {
    if cap > 0.0 { cap * (x / cap).tanh() } else { x }
}

fn group(query_heads: usize, shared: &Heads) -> Result<usize, EvalError> {
    match query_heads.checked_div(shared.heads) {
        Some(group) if group > 0 && group * shared.heads == query_heads => Ok(group),
        _ => Err(EvalError::rule(
            "query heads must be a multiple of key and value heads",
            format_args!("{query_heads} and {}", shared.heads),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_keys_to_attend_has_no_shares() {
        let mut row = [f64::NEG_INFINITY; 3];
        softmax(&mut row);
        assert_eq!(row, [0.0; 3]);
        let mut row = [0.0, f64::NEG_INFINITY, 0.0];
        softmax(&mut row);
        assert_eq!(row, [0.5, 0.0, 0.5]);
    }
}
