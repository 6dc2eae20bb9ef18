//! Fake quantization: reals rounded to the values that integer codes stand for, and its adjoints by an estimator of the
//! gradient of rounding.

use crate::elementwise::math::tanh;
use crate::error::check_len;
use crate::isa::{Simd, simd_dispatch};
use crate::{Context, KernelError, Scratch};

/// Elements of a run whose sums are taken together; runs are cut by the extents alone.
const PIECE: usize = 1 << 14;
/// Elements of a run from which on runs are worth handing out one by one.
const SHARED: usize = 64;

/// The values `step * k` for whole `k` of `low..=high`: those of codes `k + zero_point`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// The distance of neighbours, above 0.
    pub step: f32,
    /// The least `k`: `q_min - zero_point`.
    pub low: f32,
    /// The greatest `k`: `q_max - zero_point`.
    pub high: f32,
}

/// What stands for the gradient of rounding. With `v = x / step`, `q = round(clamp(v, low, high))` and `y = q step`, for an element
/// within `low..=high`, or outside of it:
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Estimator {
    /// `dx = dy`, `dstep = dy (q - v)`; outside `dx = 0`, `dstep = dy q` (Bengio et al. 2013, arXiv:1308.3432; of the step Esser et al.
    /// 2020, arXiv:1902.08153).
    StraightThrough,
    /// The same of `x`; the step learns from what lies outside alone: inside `dstep = 0` (Choi et al. 2018, arXiv:1805.06085).
    Clipping,
    /// `dx = dy f` with `f = 1 + strength sign(dy) (v - q)`, `dstep = dy q - dx v` (Lee et al. 2021, arXiv:2104.00903).
    Scaled {
        /// How much the distance from the grid scales the gradient, per step.
        strength: f32,
    },
    /// That of the soft staircase `step (i + (1 + tanh(κ (v - i - ½)) / (1 - alpha)) / 2)` with `i = floor(v)` and `κ = ln(2 / alpha - 1)`
    /// (Gong et al. 2019, arXiv:1908.05033).
    Soft {
        /// How far the staircase is from that of rounding: of `0 < alpha < 1`.
        alpha: f32,
    },
}

/// `y = step round(clamp(x / step, low, high))`, halves to even: what `QuantizeLinear` and `DequantizeLinear` give, to the bit.
///
/// Neighbouring runs of `inner` elements have the grids in turn, as the channels of an axis; with one grid it is that of all elements.
///
/// # Errors
/// [`KernelError::Length`] if the slices do not have one length, or are not whole runs for every grid.
///
/// # Examples
/// ```
/// use runtime_kernels::Context;
/// use runtime_kernels::quantized::{Grid, fake_quantize};
///
/// let grid = Grid { step: 0.5, low: -2.0, high: 1.0 };
/// let mut y = [0.0; 4];
/// fake_quantize(&Context::default(), &[grid], 4, &[-3.0, -0.3, 0.25, 7.0], &mut y)?;
/// assert_eq!(y, [-1.0, -0.5, 0.0, 0.5]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn fake_quantize(
    ctx: &Context,
    grids: &[Grid],
    inner: usize,
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    check_len("input", x.len(), Some(y.len()))?;
    if let &[grid] = grids {
        ctx.parallelism.for_each_rows(y, 1, 4, |first, y| {
            round_run(ctx.isa, grid, &x[first..first + y.len()], y);
        });
        return Ok(());
    }
    check_runs(grids, inner, y.len())?;
    if inner == 1 {
        let (columns, wide) = (Columns::of(grids), grids.len());
        ctx.parallelism
            .for_each_rows(y, wide, wide.saturating_mul(4), |first, y| {
                let from = first * wide;
                round_rows(ctx.isa, columns.each(), &x[from..from + y.len()], y);
            });
        return Ok(());
    }
    let work = inner.saturating_mul(4);
    ctx.parallelism
        .for_each_rows(y, inner, work, |first, rows| {
            for (i, y) in rows.chunks_mut(inner).enumerate() {
                let from = (first + i) * inner;
                let grid = grids[(first + i) % grids.len()];
                round_run(ctx.isa, grid, &x[from..from + inner], y);
            }
        });
    Ok(())
}

/// The adjoints of [`fake_quantize`] from the adjoint `dy` of its result: `dx`, and for each grid the sum `dstep` over its elements and
/// the sum `rest` of `dy - dx`, what is the adjoint of an offset of the grid.
///
/// # Errors
/// [`KernelError::Length`] if the slices do not have one length, are not whole runs for every grid, or do not have an element for each.
pub fn fake_quantize_grad(
    ctx: &Context,
    scratch: &mut Scratch,
    estimator: Estimator,
    grids: &[Grid],
    inner: usize,
    (dy, x): (&[f32], &[f32]),
    (dx, dstep, rest): (&mut [f32], &mut [f32], &mut [f32]),
) -> Result<(), KernelError> {
    check_len("adjoint of the result", dy.len(), Some(dx.len()))?;
    check_len("input", x.len(), Some(dx.len()))?;
    check_len("adjoint of the steps", dstep.len(), Some(grids.len()))?;
    check_len("adjoint of the offsets", rest.len(), Some(grids.len()))?;
    let inner = match grids {
        [_] => dx.len(),
        _ => inner,
    };
    dstep.fill(0.0);
    rest.fill(0.0);
    if dx.is_empty() {
        return Ok(());
    }
    check_runs(grids, inner, dx.len())?;
    if inner == 1 {
        let outputs = (dx, dstep, rest);
        columns_grad(ctx, scratch, estimator, grids, (dy, x), outputs);
        return Ok(());
    }
    let per_run = inner.div_ceil(PIECE);
    let pieces = dx.len() / inner * per_run;
    let (sums, _) = scratch.parts(2 * pieces, 0);
    let tasks = match inner < SHARED {
        true => 1,
        false => ctx.parallelism.tasks(16 * dx.len(), pieces),
    };
    let runs = dx.chunks_mut(inner).flat_map(|run| run.chunks_mut(PIECE));
    let parts = runs.zip(sums.chunks_exact_mut(2)).enumerate();
    ctx.parallelism.for_each(tasks, parts, |(i, (dx, sums))| {
        let run = i / per_run;
        let from = run * inner + i % per_run * PIECE;
        let part = from..from + dx.len();
        let grid = grids[run % grids.len()];
        let pair = (&dy[part.clone()], &x[part]);
        adjoint_run(ctx.isa, estimator, grid, pair, dx, sums);
    });
    // In their order, so that no sum depends on the number of threads.
    let mut totals = vec![[0f64; 2]; grids.len()];
    for (i, pair) in sums.chunks_exact(2).take(pieces).enumerate() {
        let total = &mut totals[i / per_run % grids.len()];
        total[0] += f64::from(pair[0]);
        total[1] += f64::from(pair[1]);
    }
    for (i, [of_step, of_offset]) in totals.into_iter().enumerate() {
        (dstep[i], rest[i]) = (of_step as f32, of_offset as f32);
    }
    Ok(())
}

/// [`fake_quantize_grad`] where neighbours have the grids in turn, as with the columns of a matrix.
fn columns_grad(
    ctx: &Context,
    scratch: &mut Scratch,
    estimator: Estimator,
    grids: &[Grid],
    (dy, x): (&[f32], &[f32]),
    (dx, dstep, rest): (&mut [f32], &mut [f32], &mut [f32]),
) {
    let (columns, wide) = (Columns::of(grids), grids.len());
    let piece = (PIECE / wide).max(1) * wide;
    let pieces = dx.len().div_ceil(piece);
    let (sums, _) = scratch.parts(2 * wide * pieces, 0);
    let tasks = ctx.parallelism.tasks(16 * dx.len(), pieces);
    let parts = dx.chunks_mut(piece).zip(sums.chunks_exact_mut(2 * wide));
    ctx.parallelism
        .for_each(tasks, parts.enumerate(), |(i, (dx, sums))| {
            let part = i * piece..i * piece + dx.len();
            let pair = (&dy[part.clone()], &x[part]);
            adjoint_rows(ctx.isa, estimator, columns.each(), pair, dx, sums);
        });
    // In their order, so that no sum depends on the number of threads.
    for (of, to) in [(0, dstep), (wide, rest)] {
        for (c, to) in to.iter_mut().enumerate() {
            let each = sums.chunks_exact(2 * wide).take(pieces);
            let total: f64 = each.map(|sums| f64::from(sums[of + c])).sum();
            *to = total as f32;
        }
    }
}

/// Steps, least and greatest numbers of grids, each side by side.
struct Columns {
    values: Vec<f32>,
    wide: usize,
}

impl Columns {
    fn of(grids: &[Grid]) -> Self {
        let of = |value: fn(&Grid) -> f32| grids.iter().map(value);
        Self {
            values: of(|g| g.step)
                .chain(of(|g| g.low))
                .chain(of(|g| g.high))
                .collect(),
            wide: grids.len(),
        }
    }

    fn each(&self) -> [&[f32]; 3] {
        [0, 1, 2].map(|i| &self.values[i * self.wide..(i + 1) * self.wide])
    }
}

/// Runs of `inner` elements, as many for each grid.
fn check_runs(grids: &[Grid], inner: usize, len: usize) -> Result<(), KernelError> {
    let rounds = grids.len().checked_mul(inner);
    let rounds = rounds.and_then(|n| len.checked_div(n)).unwrap_or(0);
    let whole = rounds.checked_mul(inner);
    check_len(
        "runs of the grids",
        len,
        whole.and_then(|n| n.checked_mul(grids.len())),
    )
}

simd_dispatch! {
    fn round_run(s: S, grid: Grid, x: &[f32], y: &mut [f32]) {
        let grid = [grid.step, grid.low, grid.high].map(|v| s.splat(v));
        let round = |x| rounded(s, grid, x);
        let whole = y.len() / S::LANES * S::LANES;
        let ((x, x_rest), (y, y_rest)) = (x.split_at(whole), y.split_at_mut(whole));
        for (y, x) in y.chunks_exact_mut(S::LANES).zip(x.chunks_exact(S::LANES)) {
            s.store(round(s.load(x)), y);
        }
        if !y_rest.is_empty() {
            s.store_partial(round(s.load_partial(x_rest, 0.0)), y_rest);
        }
    }
}

simd_dispatch! {
    /// Rows of as many elements as there are grids.
    fn round_rows(s: S, columns: [&[f32]; 3], x: &[f32], y: &mut [f32]) {
        let wide = columns[0].len();
        for (y, x) in y.chunks_exact_mut(wide).zip(x.chunks_exact(wide)) {
            for (i, y) in y.chunks_mut(S::LANES).enumerate() {
                let at = i * S::LANES;
                let grid = columns.map(|c| loaded(s, &c[at..at + y.len()], 1.0));
                let x = loaded(s, &x[at..at + y.len()], 0.0);
                stored(s, rounded(s, grid, x), y);
            }
        }
    }
}

simd_dispatch! {
    fn adjoint_run(
        s: S,
        estimator: Estimator,
        grid: Grid,
        pair: (&[f32], &[f32]),
        dx: &mut [f32],
        sums: &mut [f32],
    ) {
        by_estimator(s, estimator, Run { grid, pair, dx, sums });
    }
}

simd_dispatch! {
    /// `sums` has those of the steps of all columns, then those of the offsets.
    fn adjoint_rows(
        s: S,
        estimator: Estimator,
        columns: [&[f32]; 3],
        pair: (&[f32], &[f32]),
        dx: &mut [f32],
        sums: &mut [f32],
    ) {
        by_estimator(s, estimator, Rows { columns, pair, dx, sums });
    }
}

/// Elements that adjoints are taken of by the slopes of an estimator.
trait Adjoint {
    /// `slopes(dy, v, q, outside)` gives the slopes of `x` and of the step, the former 0 outside of the grid.
    fn run<S: Simd>(self, s: S, slopes: impl Fn(S::F, S::F, S::F, S::M) -> [S::F; 2]);
}

#[inline(always)]
fn by_estimator<S: Simd>(s: S, estimator: Estimator, of: impl Adjoint) {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    match estimator {
        Estimator::StraightThrough => of.run(s, |_, v, q, outside| {
            let within = s.select(outside, zero, v);
            [s.select(outside, zero, one), s.sub(q, within)]
        }),
        Estimator::Clipping => of.run(s, |_, _, q, outside| {
            [s.select(outside, zero, one), s.select(outside, q, zero)]
        }),
        Estimator::Scaled { strength } => {
            let [plus, minus] = [strength, -strength].map(|v| s.splat(v));
            of.run(s, |dy, v, q, outside| {
                let signed = s.select(s.lt(dy, zero), minus, plus);
                let slope = s.fma(signed, s.sub(v, q), one);
                let slope = s.select(outside, zero, slope);
                let within = s.select(outside, zero, v);
                [slope, s.sub(q, s.mul(within, slope))]
            });
        }
        Estimator::Soft { alpha } => {
            let steepness = (2.0 / alpha - 1.0).ln();
            let [kappa, height] = [steepness, 0.5 / (1.0 - alpha)].map(|v| s.splat(v));
            let half = s.splat(0.5);
            of.run(s, |_, v, q, outside| {
                // The middle of the stair that `v` lies on; at a whole number that of either neighbour does.
                let middle = s.add(s.round(s.sub(v, half)), half);
                let t = tanh(s, s.mul(kappa, s.sub(v, middle)));
                let slope = s.mul(s.mul(kappa, height), s.sub(one, s.mul(t, t)));
                let slope = s.select(outside, zero, slope);
                let value = s.select(outside, q, s.fma(height, t, middle));
                let within = s.select(outside, zero, v);
                [slope, s.sub(value, s.mul(within, slope))]
            });
        }
    }
}

/// A run of one grid: `dx = dy slope`, and the sums of `dy` times the step's slope and of `dy - dx`.
struct Run<'a> {
    grid: Grid,
    /// `dy` and `x`.
    pair: (&'a [f32], &'a [f32]),
    dx: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Adjoint for Run<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, slopes: impl Fn(S::F, S::F, S::F, S::M) -> [S::F; 2]) {
        let Run {
            grid,
            pair: (dy, x),
            dx,
            sums,
        } = self;
        let grid = [grid.step, grid.low, grid.high].map(|v| s.splat(v));
        let (mut of_step, mut of_offset) = (s.splat(0.0), s.splat(0.0));
        let mut each = |dy: S::F, x: S::F| {
            let [changed, by_step] = adjoint(s, grid, dy, x, &slopes);
            of_step = s.fma(dy, by_step, of_step);
            of_offset = s.add(of_offset, s.sub(dy, changed));
            changed
        };
        let whole = dx.len() / S::LANES * S::LANES;
        let ((dy, dy_rest), (x, x_rest)) = (dy.split_at(whole), x.split_at(whole));
        let (dx, dx_rest) = dx.split_at_mut(whole);
        let pairs = dy.chunks_exact(S::LANES).zip(x.chunks_exact(S::LANES));
        for (dx, (dy, x)) in dx.chunks_exact_mut(S::LANES).zip(pairs) {
            s.store(each(s.load(dy), s.load(x)), dx);
        }
        if !dx_rest.is_empty() {
            // What is missing of the last vector has no adjoint.
            let last = each(s.load_partial(dy_rest, 0.0), s.load_partial(x_rest, 0.0));
            s.store_partial(last, dx_rest);
        }
        sums[0] = s.sum(of_step);
        sums[1] = s.sum(of_offset);
    }
}

/// Rows whose columns have a grid each, with the sums of each column from the first row to the last.
struct Rows<'a> {
    columns: [&'a [f32]; 3],
    pair: (&'a [f32], &'a [f32]),
    dx: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Adjoint for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S, slopes: impl Fn(S::F, S::F, S::F, S::M) -> [S::F; 2]) {
        let Rows {
            columns,
            pair: (dy, x),
            dx,
            sums,
        } = self;
        let wide = columns[0].len();
        let (steps, offsets) = sums.split_at_mut(wide);
        let sums = steps.chunks_mut(S::LANES).zip(offsets.chunks_mut(S::LANES));
        for (i, (step, offset)) in sums.enumerate() {
            let (from, count) = (i * S::LANES, step.len());
            let grid = columns.map(|c| loaded(s, &c[from..from + count], 1.0));
            let (mut of_step, mut of_offset) = (s.splat(0.0), s.splat(0.0));
            for row in (from..dx.len()).step_by(wide) {
                let part = row..row + count;
                let dy = loaded(s, &dy[part.clone()], 0.0);
                let x = loaded(s, &x[part.clone()], 0.0);
                let [changed, by_step] = adjoint(s, grid, dy, x, &slopes);
                of_step = s.fma(dy, by_step, of_step);
                of_offset = s.add(of_offset, s.sub(dy, changed));
                stored(s, changed, &mut dx[part]);
            }
            stored(s, of_step, step);
            stored(s, of_offset, offset);
        }
    }
}

/// `step round(clamp(x / step, low, high))`.
#[inline(always)]
fn rounded<S: Simd>(s: S, [step, low, high]: [S::F; 3], x: S::F) -> S::F {
    // A NaN becomes the least value, as in `QuantizeLinear`, and a code of 0 has no sign.
    let v = s.min(s.max(s.div(x, step), low), high);
    s.mul(s.add(s.round(v), s.splat(0.0)), step)
}

/// `dx`, and the slope of the step.
#[inline(always)]
fn adjoint<S: Simd>(
    s: S,
    [step, low, high]: [S::F; 3],
    dy: S::F,
    x: S::F,
    slopes: &impl Fn(S::F, S::F, S::F, S::M) -> [S::F; 2],
) -> [S::F; 2] {
    let v = s.div(x, step);
    let bounded = s.min(s.max(v, low), high);
    let outside = s.lt(s.splat(0.0), s.abs(s.sub(v, bounded)));
    let [of_x, by_step] = slopes(dy, v, s.round(bounded), outside);
    [s.mul(dy, of_x), by_step]
}

/// A vector, or what there is of one and `missing`.
#[inline(always)]
fn loaded<S: Simd>(s: S, from: &[f32], missing: f32) -> S::F {
    match from.len() == S::LANES {
        true => s.load(from),
        false => s.load_partial(from, missing),
    }
}

#[inline(always)]
fn stored<S: Simd>(s: S, value: S::F, to: &mut [f32]) {
    match to.len() == S::LANES {
        true => s.store(value, to),
        false => s.store_partial(value, to),
    }
}
