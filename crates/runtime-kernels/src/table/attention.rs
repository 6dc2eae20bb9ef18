//! The row of attention.

use super::floats;
use crate::attention::{
    AttentionMask, AttentionScores, AttentionShape, HeadOrder, HeadRows, attention,
};
use crate::{Context, KernelError, Scratch};

/// [`attention`] of four heads of queries on two of keys and values, causal and with a mask.
pub(super) fn grouped(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let mut shape = AttentionShape::new(2, 4, 29, 19);
    (shape.kv_heads, shape.keys, shape.value_size) = (2, 75, 37);
    let (q, k) = ([4, 29, 19], [2, 75, 19]);
    let v = [2, 75, 37];
    let data = |[heads, rows, size]: [usize; 3], seed| floats(2 * heads * rows * size, seed);
    let (queries, keys, values) = (data(q, 3), data(k, 5), data(v, 7));
    let operands = [
        HeadRows::rows_first(&queries, q),
        HeadRows::heads_first(&keys, k),
        HeadRows::rows_first(&values, v),
    ];
    let mask = floats(29 * 75, 9);
    let mut scores = AttentionScores::scaled(0.25);
    scores.mask = Some(AttentionMask::new(&mask, [1, 1, 29, 75]));
    scores.causal = Some(40);
    let mut out = vec![0.0; 2 * 4 * 29 * 37];
    let scratch = &mut Scratch::new();
    attention(
        ctx,
        scratch,
        &shape,
        operands,
        &scores,
        HeadOrder::RowsFirst,
        &mut out,
    )?;
    Ok(out)
}
