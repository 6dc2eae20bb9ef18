//! Depthwise convolution of bytes in two dimensions, channels last, by the dot product of four bytes.
//!
//! A word holds a channel of four pixels side by side, and stands in the staged image once for each two pixels:
//! `[x, x + 1, x + 2, x + 3]` for even `x`. Times `[w0, w1, w2, 0]` it adds a row of taps to the pixel at `x`, times
//! `[0, w0, w1, w2]` to the pixel at `x + 1`; with a stride of two, each word serves one pixel. The words of a vector come from
//! interleaving bytes ([`Simd::interleave`]), and packing the sums to bytes undoes its order.

use super::depthwise::staged_at_most;
use super::depthwise_rows::{Band, by_bands, tasks};
use super::filters::Filters;
use super::shape::{ConvParams, ConvShape, Layout};
use crate::gemm::bytes::Role;
use crate::gemm::rows::BLOCK_BYTES;
use crate::isa::{Isa, MAX_LANES, Simd, packed_lane, simd_dispatch};
use crate::quantized::{QuantByte, Requantization, SumTile, copy_short, packed_range};
use crate::threads::TileMut;
use crate::{Context, Scratch};

/// Pixels that are summed at once.
const QUAD: usize = 4;
/// Words of taps that a filter may have, so that where they apply stands in an array.
const MAX_WORDS: usize = 32;

/// Weights as words.
#[derive(Clone, Debug)]
pub(super) struct ByteTaps {
    isa: Isa,
    /// Step of the window along a row.
    stride: usize,
    /// Words that a row of taps takes.
    row_words: usize,
    /// `[block of channels][kernel row][word][pixel of a word][vector]`, vectors in the order of [`Simd::pack`].
    words: Vec<i32>,
    /// The sum of the weights of every channel.
    sums: Vec<i32>,
}

impl ByteTaps {
    /// Words of weights `[channel][tap]`; nothing if the loop does not apply to them.
    pub(super) fn new(
        isa: Isa,
        params: &ConvParams,
        filters: &Filters,
        reals: &[i32],
    ) -> Option<Self> {
        let stride = params.strides.last().copied().unwrap_or(1);
        let dilation = params.dilations.last().copied().unwrap_or(1);
        let one_to_one = filters.out_channels == filters.groups;
        let are_bytes = reals.iter().all(|&w| i8::try_from(w).is_ok());
        if filters.layout == Layout::ChannelsFirst
            || isa.tile().k_group != 4
            || !(1..=2).contains(&stride)
            || dilation != 1
            || !(one_to_one && are_bytes)
        {
            return None;
        }
        let (taps, row_taps) = (filters.taps(), filters.row_taps());
        let row_words = (row_taps + pixels_of_word(stride) - 1).div_ceil(4);
        if reals.is_empty() || taps / row_taps * row_words > MAX_WORDS {
            return None;
        }
        let tap = |channel: usize, row: usize, word: usize, pixel: usize| {
            let byte = |i: usize| match (4 * word + i).checked_sub(pixel) {
                Some(x) if x < row_taps => reals[channel * taps + row * row_taps + x] as u8,
                _ => 0,
            };
            i32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
        };
        let mut words = Vec::new();
        for block in blocks(isa, filters.out_channels) {
            for (row, word) in
                (0..taps / row_taps).flat_map(|row| (0..row_words).map(move |word| (row, word)))
            {
                for pixel in 0..pixels_of_word(stride) {
                    let of = |channel: usize| tap(channel, row, word, pixel);
                    let live = filters.out_channels.min(block + block_len(isa));
                    let channels: Vec<i32> = (block..live).map(of).collect();
                    let at = words.len();
                    words.resize(at + block_len(isa), 0);
                    in_packed_order(isa, &channels, &mut words[at..]);
                }
            }
        }
        Some(Self {
            isa,
            stride,
            row_words,
            words,
            sums: reals.chunks_exact(taps).map(|of| of.iter().sum()).collect(),
        })
    }

    pub(super) fn bytes(&self) -> usize {
        4 * (self.words.len() + self.sums.len())
    }
}

/// Output pixels that a word of the staged image serves.
fn pixels_of_word(stride: usize) -> usize {
    if stride == 1 { 2 } else { 1 }
}

/// Channels that are summed at once: four vectors.
fn block_len(isa: Isa) -> usize {
    2 * isa.tile().nr
}

/// The first channel of each block; the last block reaches back where the channels do not fill it.
fn blocks(isa: Isa, channels: usize) -> impl Iterator<Item = usize> {
    let len = block_len(isa);
    (0..channels.div_ceil(len)).map(move |b| (b * len).min(channels.saturating_sub(len)))
}

simd_dispatch! {
    /// Words in the order in which they stand in four vectors that [`Simd::pack`] brings back into theirs.
    fn in_packed_order(s: S, from: &[i32], to: &mut [i32]) {
        let _ = s;
        for (i, &word) in from.iter().enumerate() {
            let (vector, lane) = packed_lane::<S>(i);
            to[vector * S::LANES + lane] = word;
        }
    }
}

/// The staged image under a band of output rows, for one block of channels.
#[derive(Clone, Copy)]
struct Staged {
    rows: usize,
    /// Numbers of a row.
    row_len: usize,
}

impl Staged {
    fn new(isa: Isa, shape: &ConvShape, taps: &ByteTaps, lines: usize) -> Self {
        let quads = shape.output[2].div_ceil(QUAD);
        let words = quads * (QUAD / pixels_of_word(taps.stride)) + 2 * (taps.row_words - 1);
        Self {
            rows: (lines - 1) * shape.strides[1] + (shape.kernel[1] - 1) * shape.dilations[1] + 1,
            row_len: words.saturating_mul(block_len(isa)),
        }
    }

    /// Numbers, or the largest number where there are more.
    fn bounded_len(&self) -> usize {
        self.rows.saturating_mul(self.row_len)
    }
}

/// The operands beside the image.
#[derive(Clone, Copy)]
pub(super) struct ByteDepthwise<'a> {
    pub(super) shape: &'a ConvShape,
    pub(super) taps: &'a ByteTaps,
    /// Of the image.
    pub(super) zero_point: i32,
    /// A summand per channel, or empty.
    pub(super) bias: &'a [i32],
    pub(super) rule: &'a Requantization,
}

impl ByteDepthwise<'_> {
    /// Whether the loop has the bits of the rule, for these extents and this result, and the words are those of the instruction set.
    pub(super) fn applies(&self, isa: Isa, out: &SumTile<'_>) -> bool {
        let packs = match out {
            SumTile::U8(_) => self.rule.packs::<u8>(),
            SumTile::I8(_) => self.rule.packs::<i8>(),
            _ => false,
        };
        let shape = self.shape;
        let staged = Staged::new(self.taps.isa, shape, self.taps, 1).bounded_len();
        packs
            && self.taps.isa == isa
            && shape.strides[2] == self.taps.stride
            && shape.dilations[2] == 1
            && staged <= staged_at_most(shape, shape.in_channels)
    }

    /// Convolves a batch of images; `out` holds one pixel per row.
    pub(super) fn run<B: QuantByte>(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        image: &[B],
        out: SumTile<'_>,
    ) {
        let shape = self.shape;
        let [_, oh, ow] = shape.output;
        let row_bytes = Staged::new(ctx.isa, shape, self.taps, 1)
            .row_len
            .saturating_mul(4);
        let per_band =
            (BLOCK_BYTES / row_bytes.saturating_mul(shape.strides[1]).max(1)).clamp(1, oh);
        let own = Staged::new(ctx.isa, shape, self.taps, per_band).bounded_len();
        let work = ow * shape.out_channels * (shape.taps() / 2 + 4);
        let (_, words) = scratch.parts(0, own * tasks(ctx, shape, work));
        by_bands(
            ctx,
            shape,
            (per_band, work, own),
            words,
            out,
            |band, staged, out| match out {
                SumTile::U8(out) => convolve(ctx.isa, self, band, image, staged, out),
                SumTile::I8(out) => convolve(ctx.isa, self, band, image, staged, out),
                _ => unreachable!("a result of bytes, see `applies`"),
            },
        );
    }
}

simd_dispatch! {
    /// Convolves the rows of a band, block after block of channels.
    fn convolve[B: QuantByte, T: QuantByte](
        s: S,
        op: &ByteDepthwise<'_>,
        band: Band,
        image: &[B],
        staged: &mut [i32],
        out: &mut TileMut<'_, T>,
    ) {
        let extents = Staged::new(s.isa(), op.shape, op.taps, band.lines);
        let channels = op.shape.out_channels;
        let weights = op.taps.words.len() / channels.div_ceil(4 * S::LANES);
        let blocks = blocks(s.isa(), channels).zip(op.taps.words.chunks_exact(weights));
        for (first, weights) in blocks {
            stage(s, op, (extents, band, first), image, staged);
            let block = Block {
                op,
                extents,
                band,
                staged: &*staged,
                weights,
                first,
                channels: (4 * S::LANES).min(channels - first),
            };
            let scaling = &block.scaling::<S>(op.zero_point + Role::Unsigned.shift::<B>());
            match (op.taps.stride, weights.len() / (4 * S::LANES)) {
                (1, 6) => block.rows::<S, T, 2, 2, 3>(s, scaling, out),
                (1, _) => block.rows::<S, T, 2, 2, 0>(s, scaling, out),
                (_, 3) => block.rows::<S, T, 4, 1, 3>(s, scaling, out),
                (_, _) => block.rows::<S, T, 4, 1, 0>(s, scaling, out),
            }
        }
    }
}

/// Writes the words of a block of channels from channel `first` on.
#[inline(always)]
fn stage<S: Simd, B: QuantByte>(
    s: S,
    op: &ByteDepthwise<'_>,
    (extents, band, first): (Staged, Band, usize),
    image: &[B],
    out: &mut [i32],
) {
    let shape = op.shape;
    let [_, h, w] = shape.input;
    let (channels, left) = (shape.in_channels, shape.pads[2]);
    let shift = Role::Unsigned.shift::<B>();
    let sign = s.splat_i32(i32::from_le_bytes([shift as u8; 4]));
    let zero = s.splat_i32(i32::from_le_bytes([(op.zero_point + shift) as u8; 4]));
    let rows = out[..extents.rows * extents.row_len].chunks_exact_mut(extents.row_len);
    for (i, out) in rows.enumerate() {
        let y = (band.y * shape.strides[1] + i).checked_sub(shape.pads[1]);
        let Some(y) = y.filter(|&y| y < h) else {
            for out in out.chunks_exact_mut(S::LANES) {
                s.store_i32(zero, out);
            }
            continue;
        };
        let row = &image[(band.image * h + y) * w * channels + first..];
        let pixel = |x: usize| match x.checked_sub(left).filter(|&x| x < w) {
            Some(x) => s.xor_i32(load::<S, B>(s, &row[x * channels..]), sign),
            None => zero,
        };
        let (mut a, mut b) = (pixel(0), pixel(1));
        for (i, out) in out.chunks_exact_mut(4 * S::LANES).enumerate() {
            let (c, d) = (pixel(2 * i + 2), pixel(2 * i + 3));
            let words = s.interleave([a, b, c, d]);
            for (words, out) in words.into_iter().zip(out.chunks_exact_mut(S::LANES)) {
                s.store_i32(words, out);
            }
            (a, b) = (c, d);
        }
    }
}

/// A vector of bytes; past the end of the image they are zero.
#[inline(always)]
fn load<S: Simd, B: QuantByte>(s: S, from: &[B]) -> S::I {
    if from.len() >= 4 * S::LANES {
        return s.load_bytes(from);
    }
    let mut bytes = [B::default(); 4 * MAX_LANES];
    bytes[..from.len()].copy_from_slice(from);
    s.load_bytes(&bytes)
}

/// A block of channels of a band.
struct Block<'a> {
    op: &'a ByteDepthwise<'a>,
    extents: Staged,
    band: Band,
    staged: &'a [i32],
    weights: &'a [i32],
    first: usize,
    /// Those that are stored.
    channels: usize,
}

/// What the sums of a block of channels become: four vectors each in the order of [`Simd::pack`].
struct Scaling {
    summands: [i32; 4 * MAX_LANES],
    multipliers: [f32; 4 * MAX_LANES],
}

impl Block<'_> {
    /// Convolves the rows of the band. A quad of pixels reads `WORDS` words of the image in a row of taps, each for `PIXELS`
    /// pixels; `N` is how many words of taps a filter has, or 0 for any number.
    #[inline(always)]
    fn rows<S: Simd, T: QuantByte, const WORDS: usize, const PIXELS: usize, const N: usize>(
        &self,
        s: S,
        scaling: &Scaling,
        out: &mut TileMut<'_, T>,
    ) {
        let (shape, taps, extents) = (self.op.shape, self.op.taps, self.extents);
        let ([_, kh, _], [_, _, ow]) = (shape.kernel, shape.output);
        let block = 4 * S::LANES;
        let (low, high) = packed_range(s, self.op.rule);
        let n = if N > 0 { N } else { kh * taps.row_words };
        let reach = ow.div_ceil(QUAD) * WORDS * block;
        for y in 0..self.band.lines {
            let mut words = [&self.staged[..0]; MAX_WORDS];
            for (i, words) in words.iter_mut().enumerate().take(n) {
                let (ky, word) = (i / taps.row_words, i % taps.row_words);
                let row = y * shape.strides[1] + ky * shape.dilations[1];
                *words = &self.staged[row * extents.row_len + 2 * word * block..][..reach];
            }
            for quad in 0..ow.div_ceil(QUAD) {
                let mut scaled = [[s.splat_i32(0); 4]; QUAD];
                for v in 0..4 {
                    let summands = s.load_i32(&scaling.summands[v * S::LANES..]);
                    let multipliers = s.load(&scaling.multipliers[v * S::LANES..]);
                    let mut sums = [summands; QUAD];
                    for (i, words) in words[..n].iter().enumerate() {
                        let image = &words[quad * WORDS * block..][..WORDS * block];
                        let weights = &self.weights[i * PIXELS * block..][..PIXELS * block];
                        for word in 0..WORDS {
                            let image = s.load_i32(&image[word * block + v * S::LANES..]);
                            for pixel in 0..PIXELS {
                                let weights = s.load_i32(&weights[pixel * block + v * S::LANES..]);
                                let sum = &mut sums[word * PIXELS + pixel];
                                *sum = s.dot(*sum, image, weights);
                            }
                        }
                    }
                    for (scaled, sum) in scaled.iter_mut().zip(sums) {
                        scaled[v] = s.to_i32(s.mul(s.to_f32(sum), multipliers));
                    }
                }
                let x = quad * QUAD;
                let first = self.band.out_row + y * ow + x;
                let pixels = out.rows_from((first, QUAD.min(ow - x)), (self.first, self.channels));
                for (scaled, pixel) in scaled.into_iter().zip(pixels) {
                    let bytes = s.pack::<T>(scaled, self.op.rule.zero_point);
                    let bytes = s.clamp_bytes::<T>(bytes, low, high);
                    if pixel.len() == block {
                        s.store_bytes(bytes, pixel);
                    } else {
                        let mut lanes = [T::default(); 4 * MAX_LANES];
                        s.store_bytes(bytes, &mut lanes);
                        copy_short(&lanes, pixel);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn scaling<S: Simd>(&self, zero_point: i32) -> Scaling {
        let multipliers = &self.op.rule.multipliers;
        let mut scaling = Scaling {
            summands: [0; 4 * MAX_LANES],
            multipliers: [multipliers[0]; 4 * MAX_LANES],
        };
        for i in 0..self.channels {
            let (vector, lane) = packed_lane::<S>(i);
            let (at, channel) = (vector * S::LANES + lane, self.first + i);
            let bias = self.op.bias.get(channel).copied().unwrap_or(0);
            let folded = zero_point.wrapping_mul(self.op.taps.sums[channel]);
            scaling.summands[at] = bias.wrapping_sub(folded);
            if multipliers.len() > 1 {
                scaling.multipliers[at] = multipliers[channel];
            }
        }
        scaling
    }
}
