//! Depthwise convolution in two dimensions, channels last: a vector of channels at a time.
//!
//! A band of output rows is staged as floats with its padding and whole vectors of channels, so
//! that the loop over the taps has no borders; each weight vector serves several output pixels.

use super::depthwise::{Depthwise, Pixel, staged_at_most};
use super::depthwise_rows::{Band, by_bands, tasks};
use super::shape::ConvShape;
use crate::gemm::arith::Float;
use crate::gemm::direct::{Finishing, Sink};
use crate::gemm::driver::{Finish, Part};
use crate::gemm::rows::BLOCK_BYTES;
use crate::isa::{Isa, MAX_MR, MAX_NR, Simd, simd_dispatch};
use crate::threads::Place;
use crate::{Context, Scratch};

/// Output pixels of a tile: two vectors each leave room for the weights in the registers.
const PIXELS: usize = 6;

/// The staged image under a band of output rows.
#[derive(Clone, Copy)]
struct Staged {
    rows: usize,
    width: usize,
    /// Channels, filled up to whole vectors.
    channels: usize,
}

impl Staged {
    fn new(isa: Isa, shape: &ConvShape, lines: usize) -> Self {
        let [_, reach, _] = shape.kernel;
        Self {
            rows: (lines - 1) * shape.strides[1] + (reach - 1) * shape.dilations[1] + 1,
            width: shape.reach(2),
            channels: shape.in_channels.next_multiple_of(isa.tile().nr / 2),
        }
    }

    /// Elements, or the largest number where there are more.
    fn bounded_len(&self) -> usize {
        let row_len = self.width.saturating_mul(self.channels);
        self.rows.saturating_mul(row_len)
    }

    fn row_len(&self) -> usize {
        self.width * self.channels
    }

    fn len(&self) -> usize {
        self.rows * self.row_len()
    }
}

/// Whether the image under one output row is worth staging: wide dilations spread it over more than memory holds.
pub(super) fn stages_little(isa: Isa, shape: &ConvShape) -> bool {
    Staged::new(isa, shape, 1).bounded_len() <= staged_at_most(shape, shape.in_channels)
}

/// Convolves a batch of images; `out` holds one pixel per row.
pub(super) fn run_channels_last<T: Pixel, F: Finish<Float>>(
    ctx: &Context,
    scratch: &mut Scratch,
    op: &Depthwise<'_>,
    image: &[T],
    finish: &F,
    out: F::Out<'_>,
) {
    let shape = op.shape;
    let [_, oh, ow] = shape.output;
    let row_len = Staged::new(ctx.isa, shape, 1).row_len();
    let per_band = (BLOCK_BYTES
        / row_len
            .saturating_mul(shape.strides[1])
            .saturating_mul(4)
            .max(1))
    .clamp(1, oh);
    let work = ow * shape.out_channels * (shape.taps() + 4);
    let own = Staged::new(ctx.isa, shape, per_band).len();
    let weight_len = Staged::new(ctx.isa, shape, 1).channels * shape.taps();
    let (floats, _) = scratch.parts(own * tasks(ctx, shape, work) + weight_len, 0);
    let (padded, floats) = floats.split_at_mut(weight_len);
    pad_weights(op, padded);
    let padded = &*padded;
    by_bands(
        ctx,
        shape,
        (per_band, work, own),
        floats,
        out,
        |band, staged, out| {
            stage(ctx.isa, op, band, image, staged);
            convolve(ctx.isa, shape, band, staged, padded, finish, out);
        },
    );
}

/// The weights with whole vectors of channels.
fn pad_weights(op: &Depthwise<'_>, out: &mut [f32]) {
    let channels = op.shape.out_channels;
    let padded = out.len() / op.shape.taps();
    let taps = out.chunks_exact_mut(padded);
    for (out, tap) in taps.zip(op.weights.chunks_exact(channels)) {
        let (live, rest) = out.split_at_mut(channels);
        live.copy_from_slice(tap);
        rest.fill(0.0);
    }
}

simd_dispatch! {
    /// Writes the image under a band as floats.
    fn stage[T: Pixel](
        s: S,
        op: &Depthwise<'_>,
        band: Band,
        image: &[T],
        out: &mut [f32],
    ) {
        let shape = op.shape;
        let staged = Staged {
            channels: shape.in_channels.next_multiple_of(S::LANES),
            ..Staged::new(Isa::scalar(), shape, band.lines)
        };
        let [_, h, w] = shape.input;
        let channels = shape.in_channels;
        let zero_point = s.splat_i32(op.zero_point);
        let left = shape.pads[2].min(staged.width);
        let live = w.min(staged.width - left);
        for (i, out) in out[..staged.len()].chunks_exact_mut(staged.row_len()).enumerate() {
            let y = (band.y * shape.strides[1] + i).checked_sub(shape.pads[1]).filter(|&y| y < h);
            let Some(y) = y else {
                out.fill(0.0);
                continue;
            };
            let (before, rest) = out.split_at_mut(left * staged.channels);
            let (inside, after) = rest.split_at_mut(live * staged.channels);
            before.fill(0.0);
            after.fill(0.0);
            let start = (band.image * h + y) * w * channels;
            let row = &image[start..start + live * channels];
            if staged.channels == channels {
                for (out, x) in inside.chunks_exact_mut(S::LANES).zip(row.chunks_exact(S::LANES)) {
                    s.store(T::load(s, x, zero_point), out);
                }
                continue;
            }
            for (out, pixel) in inside.chunks_exact_mut(staged.channels).zip(row.chunks_exact(channels)) {
                let (live, rest) = out.split_at_mut(channels);
                live.iter_mut().zip(pixel).for_each(|(o, &x)| *o = x.real(op.zero_point));
                rest.fill(0.0);
            }
        }
    }
}

simd_dispatch! {
    /// Convolves a staged band; `weights` are `[tap][channel]`, whole vectors of channels.
    fn convolve[F: Finish<Float>](
        s: S,
        shape: &ConvShape,
        band: Band,
        image: &[f32],
        weights: &[f32],
        finish: &F,
        out: &mut F::Out<'_>,
    ) {
        let staged = Staged {
            channels: shape.in_channels.next_multiple_of(S::LANES),
            ..Staged::new(Isa::scalar(), shape, band.lines)
        };
        let [_, _, ow] = shape.output;
        let nr = 2 * S::LANES;
        let mut tile = [0.0; MAX_MR * MAX_NR];
        // Pixels of a register tile, shared out evenly: a row of seven is four and three.
        let step = ow.div_ceil(ow.div_ceil(PIXELS).max(1)).max(1);
        for y in 0..band.lines {
            let image = &image[y * shape.strides[1] * staged.row_len()..staged.len()];
            for x in (0..ow).step_by(step) {
                let pixels = step.min(ow - x);
                for c in (0..shape.in_channels).step_by(nr) {
                    let cols = nr.min(shape.in_channels - c);
                    let taps = Taps { shape, staged, image, weights, x, c };
                    let pixel = y * ow + x;
                    let place = Place { row: band.out_row + pixel, col: c, rows: pixels, cols };
                    let (row, mut taken) = (band.row + pixel, false);
                    let to = Finishing {
                        finish,
                        row,
                        col: c,
                        place,
                        out: &mut *out,
                        tile: &mut tile,
                        taken: &mut taken,
                    };
                    if cols > S::LANES {
                        taps.pixels::<S, 2>(s, pixels, to);
                    } else {
                        taps.pixels::<S, 1>(s, pixels, to);
                    }
                    if !taken {
                        finish.tile(s, Part::WHOLE, row, c, &tile, place, out);
                    }
                }
            }
        }
    }
}

/// The operands of one register tile.
#[derive(Clone, Copy)]
struct Taps<'a> {
    shape: &'a ConvShape,
    staged: Staged,
    /// From the first image row of the output row on.
    image: &'a [f32],
    weights: &'a [f32],
    x: usize,
    c: usize,
}

impl Taps<'_> {
    /// The sums of up to [`PIXELS`] pixels and `V` vectors of channels.
    #[inline(always)]
    fn pixels<S: Simd, const V: usize>(&self, s: S, pixels: usize, to: impl Sink<Float>) {
        match pixels {
            1 => self.tile::<S, 1, V>(s, to),
            2 => self.tile::<S, 2, V>(s, to),
            3 => self.tile::<S, 3, V>(s, to),
            4 => self.tile::<S, 4, V>(s, to),
            5 => self.tile::<S, 5, V>(s, to),
            _ => self.tile::<S, PIXELS, V>(s, to),
        }
    }

    /// The sums of `P` pixels and `V` vectors of channels.
    #[inline(always)]
    fn tile<S: Simd, const P: usize, const V: usize>(&self, s: S, to: impl Sink<Float>) {
        let [_, kh, kw] = self.shape.kernel;
        let channels = self.staged.channels;
        let step = self.shape.strides[2] * channels;
        let tap_step = self.shape.dilations[2] * channels;
        let row_step = self.shape.dilations[1] * self.staged.row_len();
        let first = self.x * step + self.c;
        let mut acc = [[s.splat(0.0); V]; P];
        if kw == 3 && step == channels && tap_step == channels {
            for ky in 0..kh {
                let row = &self.image[first + ky * row_step..][..(P + 1) * channels + V * S::LANES];
                let weights =
                    &self.weights[3 * ky * channels + self.c..][..2 * channels + V * S::LANES];
                neighbours::<S, P, V>(s, channels, row, weights, &mut acc);
            }
            return to.take(s, &acc);
        }
        let reach = (kw - 1) * tap_step + V * S::LANES;
        let weight_reach = (kw - 1) * channels + V * S::LANES;
        for ky in 0..kh {
            let at = first + ky * row_step;
            // Slices of one length, so that one check in the loop serves all pixels.
            let mut rows = [&self.image[..0]; P];
            for (p, row) in rows.iter_mut().enumerate() {
                *row = &self.image[at + p * step..][..reach];
            }
            let weights = &self.weights[ky * kw * channels + self.c..][..weight_reach];
            for kx in 0..kw {
                let w = &weights[kx * channels..][..V * S::LANES];
                for v in 0..V {
                    let w = s.load(&w[v * S::LANES..]);
                    for p in 0..P {
                        let x = &rows[p][kx * tap_step..][..V * S::LANES];
                        acc[p][v] = s.fma(s.load(&x[v * S::LANES..]), w, acc[p][v]);
                    }
                }
            }
        }
        to.take(s, &acc);
    }
}

/// Adds three taps side by side to the sums of adjacent pixels: each pixel of the image is loaded once for the three.
#[inline(always)]
fn neighbours<S: Simd, const P: usize, const V: usize>(
    s: S,
    channels: usize,
    row: &[f32],
    weights: &[f32],
    acc: &mut [[S::F; V]; P],
) {
    for v in 0..V {
        let at = |from: &[f32], i: usize| s.load(&from[i * channels + v * S::LANES..]);
        let taps = [at(weights, 0), at(weights, 1), at(weights, 2)];
        let (mut left, mut middle) = (at(row, 0), at(row, 1));
        for (p, acc) in acc.iter_mut().enumerate() {
            let right = at(row, p + 2);
            // In the order of the taps.
            let sum = s.fma(left, taps[0], acc[v]);
            acc[v] = s.fma(right, taps[2], s.fma(middle, taps[1], sum));
            (left, middle) = (middle, right);
        }
    }
}
