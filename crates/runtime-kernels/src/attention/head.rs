//! The queries of one head: a register tile of them at a time, or one by one where they are few.

use super::Job;
use super::operands::AttentionScores;
use crate::elementwise::math::tanh;
use crate::gemm::arith::Float;
use crate::gemm::direct::Walk;
use crate::gemm::register_tile::{narrow_tile, wide_tile};
use crate::isa::{MAX_MR, MAX_NR, Simd};
use crate::norm::{Reduce, accumulate, exponentials};
use crate::threads::TileMut;

/// One head of queries with the keys and values that it sees.
pub(super) struct Head<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) b: usize,
    pub(super) h: usize,
    /// Panels of its keys and values; none where there are few queries.
    pub(super) packed_keys: &'a [f32],
    pub(super) packed_values: &'a [f32],
    /// Keys, filled up to whole panels: the distance of the rows of scores.
    pub(super) keys: usize,
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

    /// The shares of keys for query `i`, without their common factor, which is given back; 0 behind the keys that it sees.
    #[inline(always)]
    fn shares<S: Simd>(&self, s: S, i: usize, scores: &mut [f32], shares: &mut [f32]) -> f32 {
        let (how, seen) = (self.job.scores, self.visible(i));
        let (scores, (shares, unseen)) = (&mut scores[..seen], shares.split_at_mut(seen));
        let mask = how
            .mask
            .map(|mask| mask.row([self.b, self.h, i], self.job.shape.keys));
        finish_scores(s, how, mask.unwrap_or(&[0.0]), scores);
        let max = accumulate(s, Reduce::Max, scores);
        unseen.fill(0.0);
        if seen == 0 || (max == f32::NEG_INFINITY && how.unseeing_is_zero) {
            shares.fill(0.0);
            return 0.0;
        }
        1.0 / exponentials(s, scores, max, shares)
    }

    /// The result of query `i`, with keys and values read where they stand, written from row and column `at` of `out` on.
    #[inline(always)]
    pub(super) fn single<S: Simd>(
        &self,
        s: S,
        i: usize,
        scores: &mut [f32],
        shares: &mut [f32],
        (row, col): (usize, usize),
        out: &mut TileMut<'_, f32>,
    ) {
        let (job, shape, seen) = (self.job, self.job.shape, self.visible(i));
        let kv = self.h / shape.group();
        let query = &job.q.from(self.b, self.h, i)[..shape.size];
        let (scores, shares) = (&mut scores[..seen], &mut shares[..seen]);
        dots(s, query, job.k.from(self.b, kv, 0), job.k.row, scores);
        let factor = self.shares(s, i, scores, shares);
        let result = out.row(row, col, shape.value_size);
        weighted(s, shares, job.v.from(self.b, kv, 0), job.v.row, result);
        result.iter_mut().for_each(|y| *y *= factor);
    }

    /// The results of `live` queries from `first` on, written from row and column `at` of `out` on.
    #[inline(always)]
    #[expect(
        clippy::too_many_arguments,
        reason = "the buffers of one task, and its place"
    )]
    pub(super) fn queries<S: Simd>(
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
        for (r, factor) in factors.iter_mut().enumerate().take(live) {
            let scores = &mut scores[r * self.keys..][..visible];
            let shares = &mut shares[r * self.keys..][..visible];
            *factor = self.shares(s, first + r, scores, shares);
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

/// Rows whose sums are kept in registers side by side.
const SIDE_BY_SIDE: usize = 4;

/// `out[j] = query · row j`, of rows `step` apart.
#[inline(always)]
fn dots<S: Simd>(s: S, query: &[f32], rows: &[f32], step: usize, out: &mut [f32]) {
    let whole = query.len() / S::LANES * S::LANES;
    for (block, out) in out.chunks_mut(SIDE_BY_SIDE).enumerate() {
        // The last row stands for those behind it.
        let row = |i: usize| {
            let j = block * SIDE_BY_SIDE + i.min(out.len() - 1);
            &rows[j * step..][..query.len()]
        };
        let rows: [&[f32]; SIDE_BY_SIDE] = std::array::from_fn(row);
        let mut sums = [s.splat(0.0); SIDE_BY_SIDE];
        for d in (0..whole).step_by(S::LANES) {
            let q = s.load(&query[d..]);
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = s.fma(q, s.load(&row[d..]), *sum);
            }
        }
        if whole < query.len() {
            let q = s.load_partial(&query[whole..], 0.0);
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = s.fma(q, s.load_partial(&row[whole..], 0.0), *sum);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = s.sum(sum);
        }
    }
}

/// `out = Σ weights[j] · row j`, of rows `step` apart.
#[inline(always)]
fn weighted<S: Simd>(s: S, weights: &[f32], rows: &[f32], step: usize, out: &mut [f32]) {
    let mut col = 0;
    while col < out.len() {
        let left = out.len() - col;
        if left >= SIDE_BY_SIDE * S::LANES {
            let mut sums = [s.splat(0.0); SIDE_BY_SIDE];
            for (j, &weight) in weights.iter().enumerate() {
                let (weight, row) = (s.splat(weight), &rows[j * step + col..]);
                let row = &row[..SIDE_BY_SIDE * S::LANES];
                for (sum, x) in sums.iter_mut().zip(row.chunks_exact(S::LANES)) {
                    *sum = s.fma(weight, s.load(x), *sum);
                }
            }
            let out = &mut out[col..][..SIDE_BY_SIDE * S::LANES];
            for (out, sum) in out.chunks_exact_mut(S::LANES).zip(sums) {
                s.store(sum, out);
            }
            col += SIDE_BY_SIDE * S::LANES;
            continue;
        }
        let n = left.min(S::LANES);
        let mut sum = s.splat(0.0);
        for (j, &weight) in weights.iter().enumerate() {
            let row = &rows[j * step + col..][..n];
            sum = s.fma(s.splat(weight), s.load_partial(row, 0.0), sum);
        }
        s.store_partial(sum, &mut out[col..col + n]);
        col += n;
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
    let tile = walk.of::<Float>(rows, live).tiles().next(live, S::MR);
    for col in (0..cols).step_by(nr) {
        let panel = &panels[col * walk.words..][..walk.words * nr];
        let to = (&mut out[col..], stride);
        if cols - col <= S::LANES {
            narrow_tile::<S, Float>(s, live, walk, &tile, (panel, &[]), to);
        } else {
            wide_tile::<S, Float>(s, live, walk, &tile, (panel, &[]), to);
        }
    }
}

/// Scales and caps the scores of a query and adds the mask: a summand for each, or one for all.
#[inline(always)]
fn finish_scores<S: Simd>(s: S, how: &AttentionScores<'_>, mask: &[f32], scores: &mut [f32]) {
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
        s.store(finished(s, how, s.load(scores), mask), scores);
    }
    if !rest.is_empty() {
        let mask = match mask.get(whole..whole + rest.len()) {
            Some(mask) if one_each => s.load_partial(mask, 0.0),
            _ => one,
        };
        let x = s.load_partial(rest, 0.0);
        s.store_partial(finished(s, how, x, mask), rest);
    }
}

/// The scores of products. A function, since a closure would not be compiled for the instruction set.
#[inline(always)]
fn finished<S: Simd>(s: S, how: &AttentionScores<'_>, x: S::F, mask: S::F) -> S::F {
    let scale = s.splat(how.scale);
    if how.cap > 0.0 {
        let x = s.mul(s.mul(x, scale), s.splat(1.0 / how.cap));
        return s.fma(tanh(s, x), s.splat(how.cap), mask);
    }
    s.fma(x, scale, mask)
}
