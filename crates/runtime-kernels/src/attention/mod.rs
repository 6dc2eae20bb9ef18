//! Scaled dot-product attention in f32: `softmax(scale * Q · Kᵀ + mask) · V` per head, a few queries at a time.
//!
//! Vaswani et al. 2017, arXiv:1706.03762. As in Dao et al. 2022 (arXiv:2205.14135) the matrix of scores is never stored: the scores
//! of one tile of queries stay in the cache, become shares there, and are multiplied with the values at once. Heads are read where
//! they lie, so that none are moved together before, nor apart afterwards.

mod head;
mod operands;

use crate::error::{check_extent, check_len, product};
use crate::gemm::driver::{Cut, Pieces, cut_elements};
use crate::gemm::panel::{FloatLines, PanelSource};
use crate::isa::{Isa, MAX_MR, simd_dispatch};
use crate::threads::{TileMut, product_work};
use crate::{Context, KernelError, MatRef, Scratch};
use head::Head;
pub use operands::{AttentionMask, AttentionScores, AttentionShape, HeadOrder, HeadRows};

/// `out = softmax(scores) · v` for every head; scores are `q · kᵀ` as `scores` says.
///
/// # Errors
/// [`KernelError::Extent`] where the heads of keys do not divide those of queries; [`KernelError::OutOfBounds`],
/// [`KernelError::Length`] for slices that are too short; [`KernelError::Invalid`] for a mask with gaps between keys.
///
/// # Examples
/// ```
/// use runtime_kernels::{Context, Scratch};
/// use runtime_kernels::attention::{AttentionScores, AttentionShape, HeadOrder, HeadRows, attention};
///
/// // One head, two queries of one element; the keys are alike, so both see the mean of the values.
/// let shape = AttentionShape::new(1, 1, 2, 1);
/// let rows = |data| HeadRows::heads_first(data, [1, 2, 1]);
/// let (q, k, v) = (rows(&[1.0, 2.0]), rows(&[3.0, 3.0]), rows(&[4.0, 6.0]));
/// let mut out = [0.0; 2];
/// let scores = AttentionScores::scaled(1.0);
/// attention(&Context::default(), &mut Scratch::new(), &shape, [q, k, v], &scores, HeadOrder::HeadsFirst, &mut out)?;
/// assert_eq!(out, [5.0, 5.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn attention(
    ctx: &Context,
    scratch: &mut Scratch,
    shape: &AttentionShape,
    [q, k, v]: [HeadRows<'_>; 3],
    scores: &AttentionScores<'_>,
    order: HeadOrder,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let AttentionShape {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        size,
        value_size,
    } = *shape;
    if heads > 0 {
        let left_over = heads.checked_rem(kv_heads).unwrap_or(heads);
        check_extent("heads of queries left over by those of keys", left_over, 0)?;
    }
    q.check("queries", [batch, heads, queries, size])?;
    k.check("keys", [batch, kv_heads, keys, size])?;
    v.check("values", [batch, kv_heads, keys, value_size])?;
    if let Some(mask) = &scores.mask {
        mask.check(shape)?;
    }
    // Without keys there is nothing to add a mask to, which may be empty then.
    let scores = &AttentionScores {
        mask: scores.mask.filter(|_| keys > 0),
        ..*scores
    };
    check_len(
        "result",
        out.len(),
        product(&[batch, heads, queries, value_size]),
    )?;
    if out.is_empty() {
        return Ok(());
    }
    let job = Job {
        shape,
        q,
        k,
        v,
        scores,
        order,
    };
    // Sequences are shared out where there are enough of them, else the heads of each.
    let by_sequence = batch >= ctx.parallelism.threads();
    let (units, parts) = if by_sequence {
        (batch, batch)
    } else {
        (1, heads)
    };
    let work = product_work(queries, keys, size.saturating_add(value_size));
    let work = work.saturating_mul(heads).saturating_mul(units);
    let tasks = ctx.parallelism.tasks(work, parts);
    let own = Room::new(ctx.isa, shape).len();
    let (floats, _) = scratch.parts(own.saturating_mul(tasks), 0);
    let sequence = heads * queries * value_size;
    if tasks == 1 || by_sequence {
        let per_task = batch.div_ceil(tasks);
        let parts = Pieces::new(
            out,
            batch * sequence,
            per_task * sequence,
            cut_elements,
            floats,
            own,
        );
        ctx.parallelism.for_each(tasks, parts, |(from, out, own)| {
            let first = from / sequence;
            for (i, out) in out.chunks_exact_mut(sequence).enumerate() {
                if let Some(tile) = job.tile(out) {
                    run_heads(ctx.isa, &job, first + i, 0..heads, tile, own);
                }
            }
        });
        return Ok(());
    }
    let (unit, cut): (_, fn(_, usize) -> _) = match order {
        HeadOrder::HeadsFirst => (queries, Cut::split_rows),
        HeadOrder::RowsFirst => (value_size, Cut::split_cols),
    };
    let per_task = heads.div_ceil(tasks);
    for (b, out) in out.chunks_exact_mut(sequence).enumerate() {
        let Some(tile) = job.tile(out) else { continue };
        let parts = Pieces::new(tile, heads * unit, per_task * unit, cut, &mut *floats, own);
        ctx.parallelism.for_each(tasks, parts, |(from, tile, own)| {
            let first = from / unit;
            let heads = first..heads.min(first + per_task);
            run_heads(ctx.isa, &job, b, heads, tile, own);
        });
    }
    Ok(())
}

/// The operands.
#[derive(Clone, Copy)]
struct Job<'a> {
    shape: &'a AttentionShape,
    q: HeadRows<'a>,
    k: HeadRows<'a>,
    v: HeadRows<'a>,
    scores: &'a AttentionScores<'a>,
    order: HeadOrder,
}

impl Job<'_> {
    /// The result of a sequence, whose elements the slice is as long as.
    fn tile<'o>(&self, out: &'o mut [f32]) -> Option<TileMut<'o, f32>> {
        let shape = self.shape;
        let (rows, cols) = match self.order {
            HeadOrder::HeadsFirst => (shape.heads * shape.queries, shape.value_size),
            HeadOrder::RowsFirst => (shape.queries, shape.heads * shape.value_size),
        };
        TileMut::new(out, rows, cols, cols)
    }
}

/// Queries that do not pay for packing keys and values: those of a text that is continued word by word.
const FEW_QUERIES: usize = 2;

/// The memory of a task: packed keys and values of a head, the scores of a tile of queries and their shares.
#[derive(Clone, Copy)]
struct Room {
    /// Keys, filled up to whole panels.
    keys: usize,
    packed_keys: usize,
    packed_values: usize,
}

impl Room {
    fn new(isa: Isa, shape: &AttentionShape) -> Self {
        let whole = |n: usize| {
            n.checked_next_multiple_of(isa.tile().nr)
                .unwrap_or(usize::MAX)
        };
        let keys = whole(shape.keys);
        let packs = shape.queries > FEW_QUERIES;
        let packed = |n: usize, depth: usize| if packs { n.saturating_mul(depth) } else { 0 };
        Self {
            keys,
            packed_keys: packed(keys, shape.size),
            packed_values: packed(whole(shape.value_size), shape.keys),
        }
    }

    fn len(&self) -> usize {
        let scores = self.keys.saturating_mul(2 * MAX_MR);
        scores
            .saturating_add(self.packed_keys)
            .saturating_add(self.packed_values)
    }
}

simd_dispatch! {
    /// The results of heads `heads` of sequence `b`.
    fn run_heads(
        s: S,
        job: &Job<'_>,
        b: usize,
        heads: std::ops::Range<usize>,
        out: TileMut<'_, f32>,
        memory: &mut [f32],
    ) {
        let (shape, mut out, nr) = (job.shape, out, 2 * S::LANES);
        let room = Room::new(s.isa(), shape);
        let (packed_keys, rest) = memory.split_at_mut(room.packed_keys);
        let (packed_values, rest) = rest.split_at_mut(room.packed_values);
        let (scores, shares) = rest.split_at_mut(MAX_MR * room.keys);
        let mut packed = None;
        for (i, h) in heads.enumerate() {
            let kv = h / shape.group();
            if shape.queries > FEW_QUERIES && packed.replace(kv) != Some(kv) {
                let (keys, values) = (job.k.from(b, kv, 0), job.v.from(b, kv, 0));
                let keys = MatRef::strided(keys, shape.keys, shape.size, job.k.row, 1);
                let values = MatRef::strided(values, shape.value_size, shape.keys, 1, job.v.row);
                pack(keys, nr, packed_keys);
                pack(values, nr, packed_values);
            }
            let at = match job.order {
                HeadOrder::HeadsFirst => (i * shape.queries, 0),
                HeadOrder::RowsFirst => (0, i * shape.value_size),
            };
            let head = Head { job, b, h, packed_keys, packed_values, keys: room.keys };
            if shape.queries <= FEW_QUERIES {
                for first in 0..shape.queries {
                    head.single(s, first, scores, shares, (at.0 + first, at.1), &mut out);
                }
                continue;
            }
            for first in (0..shape.queries).step_by(S::MR) {
                let live = S::MR.min(shape.queries - first);
                head.queries(s, first, live, scores, shares, (at.0 + first, at.1), &mut out);
            }
        }
    }
}

/// Packs a matrix that [`HeadRows::check`] found inside its slice; one without elements has no panels.
fn pack(matrix: Result<MatRef<'_, f32>, KernelError>, nr: usize, out: &mut [f32]) {
    let Ok(matrix) = matrix else { return };
    let (lines, groups) = (matrix.rows(), matrix.cols());
    if groups == 0 {
        return;
    }
    for (p, panel) in out.chunks_exact_mut(nr * groups).enumerate() {
        let lines = p * nr..lines.min((p + 1) * nr);
        FloatLines(matrix).pack(lines, 0..groups, nr, panel);
    }
}
