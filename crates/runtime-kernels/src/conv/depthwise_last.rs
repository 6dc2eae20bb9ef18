//! Depthwise convolution in two dimensions, channels last: a vector of channels at a time.
//!
//! A band of output rows is staged as floats with its padding and whole vectors of channels, so
//! that the loop over the taps has no borders; each weight vector serves several output pixels.
//! Floats with whole vectors of channels are read where they stand instead: taps in the padding are
//! left out, and the pixels whose windows reach over a side are summed one by one.

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
use std::ops::Range;

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
    let work = ow * shape.out_channels * (shape.taps() + 4);
    let lanes = ctx.isa.tile().nr / 2;
    // Few pixels at the sides, which take longer one by one than to be staged.
    let in_place = shape.in_channels.is_multiple_of(lanes) && 4 * (ow - inside(shape).len()) <= ow;
    if let Some(image) = T::floats(image).filter(|_| in_place) {
        by_bands(
            ctx,
            shape,
            (oh, work, 0),
            &mut [0.0; 0],
            out,
            |band, _, out| {
                convolve(
                    ctx.isa,
                    shape,
                    band,
                    Image::InPlace(image),
                    op.weights,
                    finish,
                    out,
                );
            },
        );
        return;
    }
    let row_len = Staged::new(ctx.isa, shape, 1).row_len();
    let per_band = (BLOCK_BYTES
        / row_len
            .saturating_mul(shape.strides[1])
            .saturating_mul(4)
            .max(1))
    .clamp(1, oh);
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
            convolve(
                ctx.isa,
                shape,
                band,
                Image::Staged(staged),
                padded,
                finish,
                out,
            );
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

/// The image that a band reads.
#[derive(Clone, Copy)]
enum Image<'a> {
    /// The rows under the band, with their padding.
    Staged(&'a [f32]),
    /// A batch of whole images with whole vectors of channels.
    InPlace(&'a [f32]),
}

/// What an output row reads.
struct Line<'a> {
    /// From the row of the first tap on.
    image: &'a [f32],
    /// Elements from an image row to the next.
    row_len: usize,
    /// Elements from a pixel to the next.
    channels: usize,
    /// Columns before the first of the image.
    left: usize,
    /// Columns of the image.
    width: usize,
    /// The rows of taps that are in the image.
    taps: Range<usize>,
    /// The pixels whose windows reach over no side.
    inside: Range<usize>,
}

/// The output columns whose windows reach over neither side of the image.
fn inside(shape: &ConvShape) -> Range<usize> {
    let (ow, left, stride) = (shape.output[2], shape.pads[2], shape.strides[2]);
    let from = left.div_ceil(stride).min(ow);
    let window = (shape.kernel[2] - 1) * shape.dilations[2] + 1;
    let last = (shape.input[2] + left).checked_sub(window);
    from..last.map_or(0, |last| last / stride + 1).clamp(from, ow)
}

impl<'a> Line<'a> {
    /// What row `y` of a band reads.
    #[inline(always)]
    fn new<S: Simd>(shape: &ConvShape, band: Band, image: Image<'a>, y: usize) -> Self {
        let [_, h, w] = shape.input;
        let ([_, sy, _], [_, dy, _]) = (shape.strides, shape.dilations);
        let ([_, kh, _], [_, _, ow]) = (shape.kernel, shape.output);
        match image {
            Image::Staged(image) => {
                let channels = shape.in_channels.next_multiple_of(S::LANES);
                let width = shape.reach(2);
                let row_len = width * channels;
                Self {
                    image: &image[y * sy * row_len..],
                    row_len,
                    channels,
                    left: 0,
                    width,
                    taps: 0..kh,
                    inside: 0..ow,
                }
            }
            Image::InPlace(image) => {
                let (channels, row_len) = (shape.in_channels, w * shape.in_channels);
                let (top, [_, above, left]) = ((band.y + y) * sy, shape.pads);
                let first = above.saturating_sub(top).div_ceil(dy).min(kh);
                let end = (h + above)
                    .saturating_sub(top)
                    .div_ceil(dy)
                    .clamp(first, kh);
                let row = band.image * h + (top + first * dy).saturating_sub(above);
                Self {
                    image: image.get(row * row_len..).unwrap_or_default(),
                    row_len,
                    channels,
                    left,
                    width: w,
                    taps: first..end,
                    inside: inside(shape),
                }
            }
        }
    }
}

simd_dispatch! {
    /// Convolves a band; `weights` are `[tap][channel]`, whole vectors of channels.
    fn convolve[F: Finish<Float>](
        s: S,
        shape: &ConvShape,
        band: Band,
        image: Image<'_>,
        weights: &[f32],
        finish: &F,
        out: &mut F::Out<'_>,
    ) {
        let [_, _, ow] = shape.output;
        let nr = 2 * S::LANES;
        let mut tile = [0.0; MAX_MR * MAX_NR];
        for y in 0..band.lines {
            let line = Line::new::<S>(shape, band, image, y);
            // Pixels of a register tile, shared out evenly: a row of seven is four and three.
            let tiles = line.inside.len().div_ceil(PIXELS).max(1);
            let step = line.inside.len().div_ceil(tiles).max(1);
            let mut x = 0;
            while x < ow {
                let inside = line.inside.contains(&x);
                let pixels = if inside { step.min(line.inside.end - x) } else { 1 };
                for c in (0..shape.in_channels).step_by(nr) {
                    let cols = nr.min(shape.in_channels - c);
                    let taps = Taps { shape, line: &line, weights, x, c };
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
                    match (inside, cols > S::LANES) {
                        (true, true) => taps.pixels::<S, 2>(s, pixels, to),
                        (true, false) => taps.pixels::<S, 1>(s, pixels, to),
                        (false, true) => taps.at_side::<S, 2>(s, to),
                        (false, false) => taps.at_side::<S, 1>(s, to),
                    }
                    if !taken {
                        finish.tile(s, Part::WHOLE, row, c, &tile, place, out);
                    }
                }
                x += pixels;
            }
        }
    }
}

/// The operands of one register tile.
#[derive(Clone, Copy)]
struct Taps<'a> {
    shape: &'a ConvShape,
    line: &'a Line<'a>,
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
        let [_, _, kw] = self.shape.kernel;
        let Line {
            image, channels, ..
        } = *self.line;
        let step = self.shape.strides[2] * channels;
        let tap_step = self.shape.dilations[2] * channels;
        let row_step = self.shape.dilations[1] * self.line.row_len;
        let first = self.x * step - self.line.left * channels + self.c;
        let mut acc = [[s.splat(0.0); V]; P];
        if kw == 3 && step == channels && tap_step == channels {
            for (i, ky) in self.line.taps.clone().enumerate() {
                let row = &image[first + i * row_step..][..(P + 1) * channels + V * S::LANES];
                let weights =
                    &self.weights[3 * ky * channels + self.c..][..2 * channels + V * S::LANES];
                neighbours::<S, P, V>(s, channels, row, weights, &mut acc);
            }
            return to.take(s, &acc);
        }
        let reach = (kw - 1) * tap_step + V * S::LANES;
        let weight_reach = (kw - 1) * channels + V * S::LANES;
        for (i, ky) in self.line.taps.clone().enumerate() {
            let at = first + i * row_step;
            // Slices of one length, so that one check in the loop serves all pixels.
            let mut rows = [&image[..0]; P];
            for (p, row) in rows.iter_mut().enumerate() {
                *row = &image[at + p * step..][..reach];
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

impl Taps<'_> {
    /// The sums of a pixel whose window reaches over a side, and `V` vectors of channels.
    #[inline(always)]
    fn at_side<S: Simd, const V: usize>(&self, s: S, to: impl Sink<Float>) {
        let [_, _, kw] = self.shape.kernel;
        let Line {
            image,
            channels,
            left,
            width,
            ..
        } = *self.line;
        let row_step = self.shape.dilations[1] * self.line.row_len;
        let start = self.x * self.shape.strides[2];
        let mut acc = [[s.splat(0.0); V]; 1];
        for (i, ky) in self.line.taps.clone().enumerate() {
            for kx in 0..kw {
                let column = (start + kx * self.shape.dilations[2]).checked_sub(left);
                let Some(column) = column.filter(|&x| x < width) else {
                    continue;
                };
                let x = &image[i * row_step + column * channels + self.c..][..V * S::LANES];
                let w = &self.weights[(ky * kw + kx) * channels + self.c..][..V * S::LANES];
                for v in 0..V {
                    let (x, w) = (s.load(&x[v * S::LANES..]), s.load(&w[v * S::LANES..]));
                    acc[0][v] = s.fma(x, w, acc[0][v]);
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
