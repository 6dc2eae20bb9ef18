//! What attention is computed of, and how.

use crate::KernelError;
use crate::error::{check_len, product};

/// The extents of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttentionShape {
    /// Sequences.
    pub batch: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values, each of which serves as many heads of queries (Ainslie et al. 2023, arXiv:2305.13245).
    pub kv_heads: usize,
    /// Queries of a sequence.
    pub queries: usize,
    /// Keys of a sequence.
    pub keys: usize,
    /// Elements of a query and of a key.
    pub size: usize,
    /// Elements of a value.
    pub value_size: usize,
}

impl AttentionShape {
    /// Attention of `heads` heads, each with keys and values of its own, on themselves: all sizes alike.
    pub fn new(batch: usize, heads: usize, sequence: usize, size: usize) -> Self {
        Self {
            batch,
            heads,
            kv_heads: heads,
            queries: sequence,
            keys: sequence,
            size,
            value_size: size,
        }
    }

    /// Heads of queries that share keys and values.
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads.max(1)
    }
}

/// Rows of heads: element `d` of row `i` of head `h` of sequence `b` is `data[b * batch + h * head + i * row + d]`.
#[derive(Clone, Copy, Debug)]
pub struct HeadRows<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// From a sequence to the next.
    pub batch: usize,
    /// From a head to the next.
    pub head: usize,
    /// From a row to the next.
    pub row: usize,
}

impl<'a> HeadRows<'a> {
    /// `[batch, heads, rows, size]`.
    pub fn heads_first(data: &'a [f32], [heads, rows, size]: [usize; 3]) -> Self {
        Self {
            data,
            batch: heads * rows * size,
            head: rows * size,
            row: size,
        }
    }

    /// `[batch, rows, heads, size]`, as projections give them.
    pub fn rows_first(data: &'a [f32], [heads, rows, size]: [usize; 3]) -> Self {
        Self {
            data,
            batch: heads * rows * size,
            head: size,
            row: heads * size,
        }
    }

    pub(super) fn check(
        &self,
        what: &'static str,
        [batch, heads, rows, size]: [usize; 4],
    ) -> Result<(), KernelError> {
        let reach = |count: usize, step: usize| count.checked_sub(1)?.checked_mul(step);
        let end = || {
            let (sequence, head) = (reach(batch, self.batch)?, reach(heads, self.head)?);
            let row = reach(rows, self.row)?;
            sequence
                .checked_add(head)?
                .checked_add(row)?
                .checked_add(size)
        };
        match product(&[batch, heads, rows, size]) {
            Some(0) => Ok(()),
            _ if end().is_some_and(|end| end <= self.data.len()) => Ok(()),
            _ => Err(KernelError::OutOfBounds {
                operand: what,
                rows: heads.saturating_mul(rows),
                cols: size,
                len: self.data.len(),
            }),
        }
    }

    /// The elements from row `row` of a head on.
    pub(super) fn from(&self, batch: usize, head: usize, row: usize) -> &'a [f32] {
        self.data
            .get(batch * self.batch + head * self.head + row * self.row..)
            .unwrap_or_default()
    }
}

/// A summand of the scores: `[batch, heads, queries, keys]`, or broadcast to that.
#[derive(Clone, Copy, Debug)]
pub struct AttentionMask<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// How far apart they lie along each axis: 0 where one serves all; along the keys 1 or 0.
    pub steps: [usize; 4],
}

impl<'a> AttentionMask<'a> {
    /// A mask of extents `dims`, each that of the scores or 1.
    pub fn new(data: &'a [f32], dims: [usize; 4]) -> Self {
        let mut steps = [0; 4];
        let mut step = 1;
        for (out, dim) in steps.iter_mut().zip(dims).rev() {
            *out = if dim == 1 { 0 } else { step };
            step *= dim;
        }
        Self { data, steps }
    }

    /// The summands of the scores of one query: one for each key, or one for all.
    pub(super) fn row(&self, at: [usize; 3], keys: usize) -> &'a [f32] {
        let start: usize = at.iter().zip(self.steps).map(|(i, step)| i * step).sum();
        let len = if self.steps[3] == 0 { 1 } else { keys };
        &self.data[start..start + len]
    }

    pub(super) fn check(&self, shape: &AttentionShape) -> Result<(), KernelError> {
        let extents = [shape.batch, shape.heads, shape.queries, shape.keys];
        let reach = || {
            let ends = extents.iter().zip(self.steps);
            let mut ends = ends.map(|(n, step)| n.checked_sub(1)?.checked_mul(step));
            ends.try_fold(1usize, |sum, end| sum.checked_add(end?))
        };
        if self.steps[3] > 1 {
            return Err(KernelError::Invalid {
                what: "distance of a mask's keys",
                value: self.steps[3],
            });
        }
        match reach() {
            _ if extents.contains(&0) => Ok(()),
            Some(end) if end <= self.data.len() => Ok(()),
            end => check_len("mask", self.data.len(), end),
        }
    }
}

/// What becomes of the products of queries and keys.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AttentionScores<'a> {
    /// Their factor.
    pub scale: f32,
    /// `cap * tanh(x / cap)`; none where it is 0.
    pub cap: f32,
    /// What is added.
    pub mask: Option<AttentionMask<'a>>,
    /// Query `i` sees the keys up to `i` plus this; all where there is none. Values that are not finite may make the results of
    /// queries that do not see them NaN, as they do where a mask of `-inf` hides them.
    pub causal: Option<usize>,
    /// Whether a query that sees no key gives 0, not NaN.
    pub unseeing_is_zero: bool,
}

impl AttentionScores<'_> {
    /// Products times `scale`.
    pub fn scaled(scale: f32) -> Self {
        Self {
            scale,
            cap: 0.0,
            mask: None,
            causal: None,
            unseeing_is_zero: false,
        }
    }
}

/// The order of the axes of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadOrder {
    /// `[batch, heads, queries, value size]`.
    HeadsFirst,
    /// `[batch, queries, heads, value size]`.
    RowsFirst,
}
