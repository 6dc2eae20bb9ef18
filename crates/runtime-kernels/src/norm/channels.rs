//! Sums per channel of tensors `[outer, channels, inner]`, and functions of an element with numbers of its channel.
//!
//! What is summed is cut into pieces by the extents alone; within a piece, blocks of rows are summed apart, so that little is
//! lost to rounding.

use crate::isa::{MAX_LANES, Simd, simd_dispatch};
use crate::{Context, Scratch};

/// Pieces at most that sums are taken in.
const PIECES: usize = 16;
/// Elements of a piece at least.
const PIECE: usize = 1 << 14;
/// Rows, or vectors of a row, that are summed before they are added to the sums so far.
const BLOCK: usize = 128;

/// Two terms of an element, of one that goes with it, and of a number of the channel.
pub(super) trait Terms: Copy + Send + Sync {
    fn of<S: Simd>(self, s: S, x: S::F, other: S::F, centre: S::F) -> (S::F, S::F);
}

/// `x - centre` and its square.
#[derive(Clone, Copy)]
pub(super) struct Deviations;

impl Terms for Deviations {
    #[inline(always)]
    fn of<S: Simd>(self, s: S, x: S::F, _: S::F, centre: S::F) -> (S::F, S::F) {
        let apart = s.sub(x, centre);
        (apart, s.mul(apart, apart))
    }
}

/// The other element, and its product with `x - centre`.
#[derive(Clone, Copy)]
pub(super) struct Products;

impl Terms for Products {
    #[inline(always)]
    fn of<S: Simd>(self, s: S, x: S::F, other: S::F, centre: S::F) -> (S::F, S::F) {
        (other, s.mul(other, s.sub(x, centre)))
    }
}

/// Tensors of one shape `[outer, channels, inner]`.
#[derive(Clone, Copy)]
pub(super) struct Channels<'a> {
    pub(super) extents: [usize; 3],
    pub(super) x: &'a [f32],
    /// The tensor that goes with it, or the same.
    pub(super) other: &'a [f32],
    /// A number per channel.
    pub(super) centre: &'a [f32],
}

impl Channels<'_> {
    /// The sums of both terms, one after the other: `2 * channels` numbers.
    pub(super) fn sums<T: Terms>(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        terms: T,
        sums: &mut [f32],
    ) {
        let [outer, channels, inner] = self.extents;
        let pieces = (self.x.len() / PIECE).clamp(1, PIECES).min(outer.max(1));
        let each = outer.div_ceil(pieces);
        let width = 2 * channels;
        let (floats, _) = scratch.parts(pieces * width, 0);
        let tasks = ctx.parallelism.tasks(4 * self.x.len(), pieces);
        let parts = floats.chunks_exact_mut(width).enumerate();
        ctx.parallelism.for_each(tasks, parts, |(i, sums)| {
            let rows = (i * each).min(outer)..((i + 1) * each).min(outer);
            sums.fill(0.0);
            let (first, second) = sums.split_at_mut(channels);
            if inner == 1 {
                columns(ctx.isa, self, terms, rows, first, second);
            } else {
                planes(ctx.isa, self, terms, rows, first, second);
            }
        });
        sums.fill(0.0);
        for piece in floats.chunks_exact(width) {
            sums.iter_mut().zip(piece).for_each(|(sum, x)| *sum += x);
        }
    }
}

simd_dispatch! {
    /// Sums rows of channels.
    fn columns[T: Terms](
        s: S,
        of: &Channels<'_>,
        terms: T,
        rows: std::ops::Range<usize>,
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let channels = first.len();
        let mut from = rows.start;
        while from < rows.end {
            let to = rows.end.min(from + BLOCK);
            let block = from * channels..to * channels;
            let (x, other) = (&of.x[block.clone()], &of.other[block]);
            for c in (0..channels).step_by(S::LANES) {
                let live = S::LANES.min(channels - c);
                let (first, second) = (&mut first[c..c + live], &mut second[c..c + live]);
                let centre = &of.centre[c..c + live];
                if live == S::LANES {
                    let load = |from: &[f32]| s.load(from);
                    column(s, terms, channels, (&x[c..], &other[c..]), load, (centre, first, second));
                } else {
                    let load = |from: &[f32]| s.load_partial(&from[..live], 0.0);
                    column(s, terms, channels, (&x[c..], &other[c..]), load, (centre, first, second));
                }
            }
            from = to;
        }
    }
}

/// Sums a vector of channels over rows that are `step` apart.
#[inline(always)]
fn column<S: Simd, T: Terms>(
    s: S,
    terms: T,
    step: usize,
    (x, other): (&[f32], &[f32]),
    load: impl Fn(&[f32]) -> S::F,
    (centre, first, second): (&[f32], &mut [f32], &mut [f32]),
) {
    let centre = load(centre);
    let (mut a, mut b) = (s.splat(0.0), s.splat(0.0));
    for (x, other) in x.chunks(step).zip(other.chunks(step)) {
        let (p, q) = terms.of(s, load(x), load(other), centre);
        (a, b) = (s.add(a, p), s.add(b, q));
    }
    s.store_partial(s.add(load(first), a), first);
    s.store_partial(s.add(load(second), b), second);
}

simd_dispatch! {
    /// Sums planes of each channel.
    fn planes[T: Terms](
        s: S,
        of: &Channels<'_>,
        terms: T,
        rows: std::ops::Range<usize>,
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let [_, channels, inner] = of.extents;
        for row in rows {
            for c in 0..channels {
                let from = (row * channels + c) * inner;
                let (x, other) = (&of.x[from..from + inner], &of.other[from..from + inner]);
                let centre = s.splat(of.centre[c]);
                for (x, other) in x.chunks(BLOCK * MAX_LANES).zip(other.chunks(BLOCK * MAX_LANES)) {
                    let (mut a, mut b) = (s.splat(0.0), s.splat(0.0));
                    let whole = x.len() / S::LANES * S::LANES;
                    let pairs = x.chunks_exact(S::LANES).zip(other.chunks_exact(S::LANES));
                    for (x, other) in pairs {
                        let (p, q) = terms.of(s, s.load(x), s.load(other), centre);
                        (a, b) = (s.add(a, p), s.add(b, q));
                    }
                    if whole < x.len() {
                        // Lanes without an element give no terms: they deviate from nothing, and go with zero.
                        let last = s.load_partial(&x[whole..], of.centre[c]);
                        let (p, q) = terms.of(s, last, s.load_partial(&other[whole..], 0.0), centre);
                        (a, b) = (s.add(a, p), s.add(b, q));
                    }
                    first[c] += s.sum(a);
                    second[c] += s.sum(b);
                }
            }
        }
    }
}

/// `y = a * other + b * (x - centre) + k`, with `a`, `b` and `k` of the channel.
pub(super) fn map(ctx: &Context, of: &Channels<'_>, [a, b, k]: [&[f32]; 3], y: &mut [f32]) {
    let [_, channels, inner] = of.extents;
    let row = match inner {
        1 => channels,
        _ => inner,
    };
    ctx.parallelism.for_each_rows(y, row, row, |first, y| {
        map_rows(ctx.isa, of, [a, b, k], first, y);
    });
}

simd_dispatch! {
    /// The rows of channels, or planes of a channel, from the `first` one on.
    fn map_rows(s: S, of: &Channels<'_>, factors: [&[f32]; 3], first: usize, y: &mut [f32]) {
        let [_, channels, inner] = of.extents;
        let row = if inner == 1 { channels } else { inner };
        let from = first * row;
        let (x, other) = (&of.x[from..from + y.len()], &of.other[from..from + y.len()]);
        let rows = x.chunks_exact(row).zip(other.chunks_exact(row));
        for (i, (y, (x, other))) in y.chunks_exact_mut(row).zip(rows).enumerate() {
            let [a, b, k] = factors;
            if inner == 1 {
                for c in (0..channels).step_by(S::LANES) {
                    let live = S::LANES.min(channels - c);
                    let to = c..c + live;
                    let numbers = [a, b, k, of.centre].map(|f| &f[to.clone()]);
                    let (x, other, y) = (&x[to.clone()], &other[to.clone()], &mut y[to]);
                    if live == S::LANES {
                        let [a, b, k, centre] = numbers.map(|f| s.load(f));
                        let value = s.fma(b, s.sub(s.load(x), centre), k);
                        s.store(s.fma(a, s.load(other), value), y);
                    } else {
                        let [a, b, k, centre] = numbers.map(|f| s.load_partial(f, 0.0));
                        let value = s.fma(b, s.sub(s.load_partial(x, 0.0), centre), k);
                        s.store_partial(s.fma(a, s.load_partial(other, 0.0), value), y);
                    }
                }
                continue;
            }
            let c = (first + i) % channels;
            let [a, b, k, centre] = [a[c], b[c], k[c], of.centre[c]].map(|f| s.splat(f));
            let value = |x, other| s.fma(a, other, s.fma(b, s.sub(x, centre), k));
            let whole = row / S::LANES * S::LANES;
            let pairs = x.chunks_exact(S::LANES).zip(other.chunks_exact(S::LANES));
            for (y, (x, other)) in y.chunks_exact_mut(S::LANES).zip(pairs) {
                s.store(value(s.load(x), s.load(other)), y);
            }
            let last = value(s.load_partial(&x[whole..], 0.0), s.load_partial(&other[whole..], 0.0));
            s.store_partial(last, &mut y[whole..]);
        }
    }
}

/// About the mean of each channel, of a few elements spread over all: what deviations are taken from.
pub(super) fn centres(extents: [usize; 3], x: &[f32], out: &mut [f32]) {
    const SAMPLES: usize = 64;
    let [outer, channels, inner] = extents;
    let count = outer * inner;
    let samples = count.min(SAMPLES);
    for (c, out) in out.iter_mut().enumerate() {
        let at = (0..samples).map(|i| i * count / samples);
        let sum: f32 = at
            .map(|i| x[(i / inner * channels + c) * inner + i % inner])
            .sum();
        let mean = sum / samples as f32;
        *out = if mean.is_finite() { mean } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn sums_are_the_same_for_any_order_of_axes_and_number_of_threads() {
        let (outer, channels, inner) = (5, 19, 131);
        let planes: Vec<f32> = (0..outer * channels * inner)
            .map(|i| ((i * 7919) % 1013) as f32 * 0.01 + 3.0)
            .collect();
        let mut rows = vec![0.0; planes.len()];
        for (i, &x) in planes.iter().enumerate() {
            let (n, c, p) = (i / inner / channels, i / inner % channels, i % inner);
            rows[(n * inner + p) * channels + c] = x;
        }
        let centre = vec![8.0; channels];
        for isa in Isa::available() {
            let of = |extents, x| {
                let mut all = Vec::new();
                for threads in [1, 3] {
                    let parallelism = crate::Parallelism::with_threads(threads).unwrap();
                    let ctx = Context::new(parallelism).with_isa(isa);
                    let mut sums = vec![f32::NAN; 2 * channels];
                    let channels = Channels {
                        extents,
                        x,
                        other: x,
                        centre: &centre,
                    };
                    channels.sums(&ctx, &mut Scratch::new(), Deviations, &mut sums);
                    all.push(sums);
                }
                assert_eq!(all[0], all[1]);
                all.remove(0)
            };
            let first = of([outer, channels, inner], &planes);
            let last = of([outer * inner, channels, 1], &rows);
            for c in 0..channels {
                let members = (0..outer).flat_map(|n| {
                    let from = (n * channels + c) * inner;
                    planes[from..from + inner]
                        .iter()
                        .map(|&x| f64::from(x) - 8.0)
                });
                let expected: f64 = members.clone().sum();
                let squares: f64 = members.map(|d| d * d).sum();
                for sums in [&first, &last] {
                    assert!((f64::from(sums[c]) - expected).abs() < 1e-4 * squares);
                    assert!((f64::from(sums[channels + c]) - squares).abs() < 1e-5 * squares);
                }
            }
        }
    }
}
