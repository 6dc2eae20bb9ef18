//! Depthwise convolution in two dimensions, channels last: a vector of channels at a time.
//!
//! A band of output rows is staged as floats with its padding and whole vectors of channels, so
//! that the loop over the taps has no borders; each weight vector serves several output pixels.
//! Floats with whole vectors of channels are read where they stand instead: taps in the padding are
//! left out, and the pixels whose windows reach over a side are summed one by one.

use super::depthwise::{Depthwise, Pixel, staged_at_most};
use super::depthwise_rows::{Band, by_bands, tasks};
use super::depthwise_tiles::{Apart, AtSide, Neighbours, Taps, Way, Whole};
use super::shape::ConvShape;
use crate::gemm::arith::Float;
use crate::gemm::driver::{Finish, Part};
use crate::gemm::register_tile::Finishing;
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
    // Pixels at the sides take longer one by one than to be staged where they are many.
    let has_few_at_sides = 4 * (ow - inside(shape).len()) <= ow;
    let in_place =
        shape.in_channels.is_multiple_of(lanes) && (has_few_at_sides || is_narrow(shape));
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
pub(super) struct Line<'a> {
    /// From the row of the first tap on.
    pub(super) image: &'a [f32],
    /// Elements from an image row to the next.
    pub(super) row_len: usize,
    /// Elements from a pixel to the next.
    pub(super) channels: usize,
    /// Columns before the first of the image.
    pub(super) left: usize,
    /// Columns of the image.
    pub(super) width: usize,
    /// The rows of taps that are in the image.
    pub(super) taps: Range<usize>,
}

/// Whether a row is one register tile, with windows of three neighbours that reach over both sides.
fn is_narrow(shape: &ConvShape) -> bool {
    let one = [shape.strides[2], shape.dilations[2], shape.pads[2]] == [1; 3];
    one && shape.kernel[2] == 3 && shape.input[2] == shape.output[2] && shape.output[2] <= PIXELS
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
        let [_, kh, _] = shape.kernel;
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
                }
            }
            Image::InPlace(image) => {
                let (channels, row_len) = (shape.in_channels, w * shape.in_channels);
                let (top, [_, above, left]) = ((band.y + y) * sy, shape.pads);
                // A division takes longer than a tap.
                let taps = |rows: usize| if dy == 1 { rows } else { rows.div_ceil(dy) };
                let first = taps(above.saturating_sub(top)).min(kh);
                let end = taps((h + above).saturating_sub(top)).clamp(first, kh);
                let row = band.image * h + (top + first * dy).saturating_sub(above);
                Self {
                    image: image.get(row * row_len..).unwrap_or_default(),
                    row_len,
                    channels,
                    left,
                    width: w,
                    taps: first..end,
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
        let mut tile = [0.0; MAX_MR * MAX_NR];
        let is_in_place = matches!(image, Image::InPlace(_));
        let inside = if is_in_place { inside(shape) } else { 0..ow };
        // Pixels of a register tile, shared out evenly: a row of seven is four and three.
        let tiles = inside.len().div_ceil(PIXELS).max(1);
        let step = inside.len().div_ceil(tiles).max(1);
        let is_adjacent = [shape.kernel[2], shape.strides[2], shape.dilations[2]] == [3, 1, 1];
        for y in 0..band.lines {
            let line = Line::new::<S>(shape, band, image, y);
            let mut row = Row {
                taps: Taps { shape, line: &line, weights },
                finish,
                row: band.row + y * ow,
                out_row: band.out_row + y * ow,
                out: &mut *out,
                tile: &mut tile,
            };
            if is_in_place && is_narrow(shape) {
                row.tiles_of::<S, Whole>(s, ow, 0..ow);
                continue;
            }
            row.tiles::<S, AtSide, 1>(s, 0..inside.start);
            if is_adjacent {
                row.pixels::<S, Neighbours>(s, step, inside.clone());
            } else {
                row.pixels::<S, Apart>(s, step, inside.clone());
            }
            row.tiles::<S, AtSide, 1>(s, inside.end..ow);
        }
    }
}

/// A row of the result in the making.
///
/// Each way of computing a tile has loops of its own: chosen within the loops, what all of them need would be computed for each.
struct Row<'a, 'o, F: Finish<Float>> {
    taps: Taps<'a>,
    finish: &'a F,
    /// The first pixel in the result, and in the piece of the result at hand.
    row: usize,
    out_row: usize,
    out: &'a mut F::Out<'o>,
    tile: &'a mut [f32],
}

impl<F: Finish<Float>> Row<'_, '_, F> {
    /// Pixels in tiles of `step`, and what is left.
    #[inline(always)]
    fn pixels<S: Simd, W: Way>(&mut self, s: S, step: usize, pixels: Range<usize>) {
        let rest = pixels.end - pixels.len() % step;
        self.tiles_of::<S, W>(s, step, pixels.start..rest);
        self.tiles_of::<S, W>(s, pixels.end - rest, rest..pixels.end);
    }

    /// Pixels in tiles of `step`.
    #[inline(always)]
    fn tiles_of<S: Simd, W: Way>(&mut self, s: S, step: usize, pixels: Range<usize>) {
        if pixels.is_empty() {
            return;
        }
        match step {
            1 => self.tiles::<S, W, 1>(s, pixels),
            2 => self.tiles::<S, W, 2>(s, pixels),
            3 => self.tiles::<S, W, 3>(s, pixels),
            4 => self.tiles::<S, W, 4>(s, pixels),
            5 => self.tiles::<S, W, 5>(s, pixels),
            _ => self.tiles::<S, W, PIXELS>(s, pixels),
        }
    }

    /// Pixels in tiles of `P`, whole vectors of channels.
    #[inline(always)]
    fn tiles<S: Simd, W: Way, const P: usize>(&mut self, s: S, pixels: Range<usize>) {
        let channels = self.taps.shape.in_channels;
        for x in pixels.step_by(P) {
            let mut c = 0;
            while c + S::LANES < channels {
                self.tile::<S, W, P, 2>(s, x, c, (channels - c).min(2 * S::LANES));
                c += 2 * S::LANES;
            }
            if c < channels {
                self.tile::<S, W, P, 1>(s, x, c, channels - c);
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, W: Way, const P: usize, const V: usize>(
        &mut self,
        s: S,
        x: usize,
        c: usize,
        cols: usize,
    ) {
        let place = Place {
            row: self.out_row + x,
            col: c,
            rows: P,
            cols,
        };
        let (row, mut taken) = (self.row + x, false);
        let to = Finishing {
            finish: self.finish,
            row,
            col: c,
            place,
            out: &mut *self.out,
            tile: &mut *self.tile,
            taken: &mut taken,
        };
        W::sums::<S, P, V>(s, &self.taps, x, c, to);
        if !taken {
            self.finish
                .tile(s, Part::WHOLE, row, c, self.tile, place, self.out);
        }
    }
}
