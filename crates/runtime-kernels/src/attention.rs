//! Scaled dot-product attention in f32: `softmax(scale * Q · Kᵀ + mask) · V` per head, a few queries at a time.
//!
//! Vaswani et al. 2017, arXiv:1706.03762. As in Dao et al. 2022 (arXiv:2205.14135) the matrix of scores is never stored: the scores
//! of one tile of queries stay in the cache, become shares there, and are multiplied with the values at once. Heads are read where
//! they lie, so that none are moved together before, nor apart afterwards.

use crate::error::{check_extent, check_len, product};
use crate::gemm::arith::Float;
use crate::gemm::direct::{Walk, narrow_tile, wide_tile};
use crate::gemm::driver::{Cut, Pieces};
use crate::gemm::panel::{FloatLines, PanelSource};
use crate::isa::{Isa, MAX_MR, MAX_NR, Simd, simd_dispatch};
use crate::norm::{Reduce, accumulate, exponentials};
use crate::threads::{TileMut, product_work};
use crate::{Context, KernelError, MatRef, Scratch};

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
    fn group(&self) -> usize {
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

    fn check(
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
    fn from(&self, batch: usize, head: usize, row: usize) -> &'a [f32] {
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
    fn row(&self, at: [usize; 3], keys: usize) -> &'a [f32] {
        let start: usize = at.iter().zip(self.steps).map(|(i, step)| i * step).sum();
        let len = if self.steps[3] == 0 { 1 } else { keys };
        &self.data[start..start + len]
    }

    fn check(&self, shape: &AttentionShape) -> Result<(), KernelError> {
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
    let work = product_work(queries, keys, size.saturating_add(value_size)).saturating_mul(heads);
    let tasks = ctx.parallelism.tasks(work, heads);
    let own = Room::new(ctx.isa, shape).len();
    let (floats, _) = scratch.parts(own.saturating_mul(tasks), 0);
    let per_task = heads.div_ceil(tasks);
    for (b, out) in out
        .chunks_exact_mut(heads * queries * value_size)
        .enumerate()
    {
        let (rows, cols, unit, cut): (_, _, _, fn(_, usize) -> _) = match order {
            HeadOrder::HeadsFirst => (heads * queries, value_size, queries, Cut::split_rows),
            HeadOrder::RowsFirst => (queries, heads * value_size, value_size, Cut::split_cols),
        };
        let tile = TileMut::new(out, rows, cols, cols).ok_or(KernelError::Invalid {
            what: "elements of a result",
            value: rows,
        })?;
        if tasks == 1 {
            run_heads(ctx.isa, &job, b, 0..heads, tile, floats);
            continue;
        }
        let parts = Pieces::new(tile, heads * unit, per_task * unit, cut, &mut *floats, own);
        ctx.parallelism.for_each(tasks, parts, |(from, tile, own)| {
            let first = from / unit;
            run_heads(
                ctx.isa,
                &job,
                b,
                first..heads.min(first + per_task),
                tile,
                own,
            );
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
        Self {
            keys,
            packed_keys: keys.saturating_mul(shape.size),
            packed_values: whole(shape.value_size).saturating_mul(shape.keys),
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
            if packed.replace(kv) != Some(kv) {
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

/// One head of queries with the keys and values that it sees.
struct Head<'a> {
    job: &'a Job<'a>,
    b: usize,
    h: usize,
    packed_keys: &'a [f32],
    packed_values: &'a [f32],
    /// Keys, filled up to whole panels: the distance of the rows of scores.
    keys: usize,
}

impl Head<'_> {
    /// How many keys query `i` sees.
    #[inline(always)]
    fn visible(&self, i: usize) -> usize {
        let keys = self.job.shape.keys;
        match self.job.scores.causal {
            Some(offset) => keys.min(i.saturating_add(offset).saturating_add(1)),
            None => keys,
        }
    }

    /// The results of `live` queries from `first` on, written from row and column `at` of `out` on.
    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "the buffers of one task, and its place"
    )]
    fn queries<S: Simd>(
        &self,
        s: S,
        first: usize,
        live: usize,
        scores: &mut [f32],
        shares: &mut [f32],
        at: (usize, usize),
        out: &mut TileMut<'_, f32>,
    ) {
        let (job, shape) = (self.job, self.job.shape);
        let visible = self.visible(first + live - 1);
        let queries = job.q.from(self.b, self.h, first);
        let walk = Walk::rows(job.q.row, shape.size);
        multiply(
            s,
            (live, visible),
            &walk,
            queries,
            self.packed_keys,
            (scores, self.keys),
        );
        let mut factors = [0.0; MAX_MR];
        for r in 0..live {
            let i = first + r;
            let seen = self.visible(i);
            let scores = &mut scores[r * self.keys..][..seen];
            let (shares, unseen) = shares[r * self.keys..][..visible].split_at_mut(seen);
            let mask = job
                .scores
                .mask
                .map(|mask| mask.row([self.b, self.h, i], shape.keys));
            finish_scores(s, job.scores, mask.unwrap_or(&[0.0]), scores);
            let max = accumulate(s, Reduce::Max, scores);
            unseen.fill(0.0);
            if seen == 0 || (max == f32::NEG_INFINITY && job.scores.unseeing_is_zero) {
                shares.fill(0.0);
                continue;
            }
            factors[r] = 1.0 / exponentials(s, scores, max, shares);
        }
        // Where no query sees a key, the shares are of length 0 and the product is 0.
        let walk = Walk::rows(self.keys, visible);
        let nr = 2 * S::LANES;
        let mut tile = [0.0; MAX_MR * MAX_NR];
        for col in (0..shape.value_size).step_by(nr) {
            let cols = nr.min(shape.value_size - col);
            let panel = &self.packed_values[col * shape.keys..][..visible * nr];
            multiply(s, (live, cols), &walk, shares, panel, (&mut tile, nr));
            let rows = out.rows_from((at.0, live), (at.1 + col, cols));
            for ((row, sums), factor) in rows.zip(tile.chunks_exact(nr)).zip(factors) {
                row.iter_mut()
                    .zip(sums)
                    .for_each(|(y, sum)| *y = sum * factor);
            }
        }
    }
}

/// `live` rows times the first `cols` columns of packed panels, into rows `stride` apart.
#[inline(always)]
fn multiply<S: Simd>(
    s: S,
    (live, cols): (usize, usize),
    walk: &Walk,
    rows: &[f32],
    panels: &[f32],
    (out, stride): (&mut [f32], usize),
) {
    let nr = 2 * S::LANES;
    let tile = walk.of::<Float>(rows, live).tiles(0).next(live, S::MR);
    for col in (0..cols).step_by(nr) {
        let panel = &panels[col * walk.words..][..walk.words * nr];
        let to = (&mut out[col..], stride);
        if cols - col <= S::LANES {
            narrow_tile::<S, Float>(s, live, walk, &tile, panel, to);
        } else {
            wide_tile::<S, Float>(s, live, walk, &tile, panel, to);
        }
    }
}

/// Scales the scores of a query and adds the mask: a summand for each, or one for all.
#[inline(always)]
fn finish_scores<S: Simd>(s: S, how: &AttentionScores<'_>, mask: &[f32], scores: &mut [f32]) {
    if how.cap > 0.0 {
        for x in scores.iter_mut() {
            *x = how.cap * (*x * how.scale / how.cap).tanh();
        }
    }
    let scale = s.splat(if how.cap > 0.0 { 1.0 } else { how.scale });
    let one = s.splat(mask.first().copied().unwrap_or(0.0));
    // A mask of one summand for one key is the same either way.
    let one_each = mask.len() > 1;
    let whole = scores.len() / S::LANES * S::LANES;
    let (vectors, rest) = scores.split_at_mut(whole);
    for (i, scores) in vectors.chunks_exact_mut(S::LANES).enumerate() {
        let mask = match mask.get(i * S::LANES..(i + 1) * S::LANES) {
            Some(mask) if one_each => s.load(mask),
            _ => one,
        };
        s.store(s.fma(s.load(scores), scale, mask), scores);
    }
    if !rest.is_empty() {
        let mask = match mask.get(whole..whole + rest.len()) {
            Some(mask) if one_each => s.load_partial(mask, 0.0),
            _ => one,
        };
        let x = s.load_partial(rest, 0.0);
        s.store_partial(s.fma(x, scale, mask), rest);
    }
}
