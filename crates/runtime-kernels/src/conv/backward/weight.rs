//! The adjoint with respect to the weights: for each window the outer product of its image and its adjoint, added up.
//!
//! The windows are the rows of a channels-last image as [`Windows`] hands them out block by block; a register tile adds, for a few
//! of a window's elements and vectors of output channels, the products of a whole block. What is added up is cut into pieces by
//! the extents alone, whose sums are added in order, so that the result does not depend on the number of threads.

use std::ops::Range;

use crate::conv::ConvShape;
use crate::conv::fresh::check_last;
use crate::conv::image::Windows;
use crate::error::{check_len, product};
use crate::gemm::arith::Float;
use crate::gemm::direct::{Source, Walk};
use crate::isa::{Isa, MAX_LANES, Simd, simd_dispatch};
use crate::{Context, KernelError, Scratch};

/// Pieces at most that the sums are taken in.
const PIECES: usize = 16;
/// Multiply-adds of a piece at least.
const PIECE_WORK: usize = 1 << 20;
/// Floats that the sums of all pieces may take.
const SUMS: usize = 1 << 22;
/// Output channels that are worth a piece of their own.
const PIECE_CHANNELS: usize = 4 * MAX_LANES;

/// `dw[m, c, k] = sum over p of dy[p, m] * x[p * stride + k * dilation - pad, c]`: the adjoint `[out_channels, in_channels / groups,
/// kernel…]` of the weights of the convolution `shape`, whose channels stand last, from the adjoint `dy` of its result and its
/// image `x`. The sums are over all pixels of the batch; without any they are zero.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have the extents of `shape`, [`KernelError::Extent`] for channels first.
///
/// # Examples
/// ```
/// use runtime_kernels::conv::{ConvParams, ConvShape, Layout, conv_weight_grad};
/// use runtime_kernels::{Context, Scratch};
///
/// let mut params = ConvParams::default();
/// params.layout = Layout::ChannelsLast;
/// let shape = ConvShape::new(&params, 1, 1, &[3], 1, &[2])?;
/// let mut dw = [0.0; 2];
/// let (dy, x) = ([1.0, 10.0], [1.0, 2.0, 3.0]);
/// conv_weight_grad(&Context::default(), &mut Scratch::new(), &shape, &dy, &x, &mut dw)?;
/// assert_eq!(dw, [21.0, 32.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn conv_weight_grad(
    ctx: &Context,
    scratch: &mut Scratch,
    shape: &ConvShape,
    dy: &[f32],
    x: &[f32],
    dw: &mut [f32],
) -> Result<(), KernelError> {
    check_last(shape)?;
    check_len("adjoint of the result", dy.len(), shape.output_len())?;
    check_len("image", x.len(), shape.input_len())?;
    let sizes = [shape.out_channels, shape.in_per_group(), shape.taps()];
    check_len("adjoint of the weights", dw.len(), product(&sizes))?;
    if dy.is_empty() || x.is_empty() || dw.is_empty() {
        dw.fill(0.0);
        return Ok(());
    }
    if !shape.is_depthwise() {
        let windows = Windows::new::<Float>(ctx.isa, shape, x, 0.0);
        let dense = Sums::new(ctx.isa, shape, &windows, dy, Kind::Dense);
        dense.run(ctx, scratch, dw);
        return Ok(());
    }
    // The windows of all channels at once.
    let mut mixed = shape.clone();
    mixed.groups = 1;
    let windows = Windows::new::<Float>(ctx.isa, &mixed, x, 0.0);
    Sums::new(ctx.isa, shape, &windows, dy, Kind::Depthwise).run(ctx, scratch, dw);
    Ok(())
}

/// Which elements of a window meet an output channel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// All those of its group.
    Dense,
    /// Those of the channel itself.
    Depthwise,
}

/// The sums that are to be taken, and how they are cut into pieces.
struct Sums<'a> {
    shape: &'a ConvShape,
    windows: &'a dyn Source<Float>,
    dy: &'a [f32],
    kind: Kind,
    lanes: usize,
    /// Lines of the result, and those of a piece.
    lines: usize,
    piece_lines: usize,
    /// Output channels of a group, and those of a piece; whole vectors, but for the last ones.
    channels: usize,
    piece_channels: usize,
    /// Rows of the sums: the elements of a window that meet a channel, of all groups.
    rows: usize,
}

impl<'a> Sums<'a> {
    fn new(
        isa: Isa,
        shape: &'a ConvShape,
        windows: &'a dyn Source<Float>,
        dy: &'a [f32],
        kind: Kind,
    ) -> Self {
        let lanes = isa.tile().nr / 2;
        let (channels, rows) = match kind {
            Kind::Dense => (shape.out_per_group(), shape.groups * shape.depth()),
            Kind::Depthwise => (shape.out_channels, shape.taps()),
        };
        let lines = shape.batch * shape.output[0] * shape.output[1];
        // Counted in vectors of the widest instruction set, so that all cut alike.
        let padded = channels.next_multiple_of(MAX_LANES);
        let work = (lines * shape.output[2])
            .saturating_mul(rows)
            .saturating_mul(padded);
        let pieces = (work / PIECE_WORK).clamp(1, PIECES);
        let held = SUMS / rows.saturating_mul(padded).max(1);
        let piece_lines = lines.div_ceil(pieces.min(held).max(1));
        let along = lines.div_ceil(piece_lines);
        let blocks = (pieces / along).clamp(1, padded.div_ceil(PIECE_CHANNELS));
        Self {
            shape,
            windows,
            dy,
            kind,
            lanes,
            lines,
            piece_lines,
            channels,
            piece_channels: padded.div_ceil(blocks).next_multiple_of(MAX_LANES),
            rows,
        }
    }

    /// Adds all up and puts the sums in their places.
    fn run(&self, ctx: &Context, scratch: &mut Scratch, dw: &mut [f32]) {
        let along = self.lines.div_ceil(self.piece_lines);
        let blocks = self.channels.div_ceil(self.piece_channels);
        let size = self.rows * self.piece_channels;
        let staged = self.windows.scratch_units();
        let padded = self.padded_units();
        let (floats, _) = scratch.parts(along * blocks * (size + staged + padded), 0);
        let (sums, others) = floats.split_at_mut(along * blocks * size);
        let (staging, padding) = others.split_at_mut(along * blocks * staged);
        let work = self.lines * self.shape.output[2] * self.shape.depth();
        let work = work.saturating_mul(self.shape.out_channels);
        let tasks = ctx.parallelism.tasks(work, along * blocks);
        let mut rest = (staging, padding);
        let parts = sums.chunks_exact_mut(size).enumerate().map(|(i, sums)| {
            let (all, padding) = std::mem::take(&mut rest);
            let ((staging, a), (padding, b)) =
                (all.split_at_mut(staged), padding.split_at_mut(padded));
            rest = (a, b);
            (i, sums, staging, padding)
        });
        ctx.parallelism
            .for_each(tasks, parts, |(i, sums, staging, padding)| {
                let first = i % along * self.piece_lines;
                let lines = first..self.lines.min(first + self.piece_lines);
                let from = i / along * self.piece_channels;
                let channels = from..self.channels.min(from + self.piece_channels);
                self.add_piece(ctx.isa, lines, channels, (staging, padding), sums);
            });
        for (block, pieces) in sums.chunks_exact_mut(along * size).enumerate() {
            let (sum, others) = pieces.split_at_mut(size);
            for other in others.chunks_exact(size) {
                add(ctx.isa, other, sum);
            }
            self.place(block * self.piece_channels, sum, dw);
        }
    }

    /// Whether rows of the adjoint are copied, with whole vectors of channels.
    fn pads(&self) -> bool {
        self.kind == Kind::Dense && !self.channels.is_multiple_of(self.lanes)
    }

    /// Floats of such a copy under a block.
    fn padded_units(&self) -> usize {
        if !self.pads() {
            return 0;
        }
        let width = self.shape.output[2];
        let lines = self.shape.output[1];
        let end = (0..lines).map(|y| self.windows.block_end(y * width, lines * width) - y * width);
        end.max().unwrap_or(0) * self.piece_channels
    }

    /// Adds up what the windows of these lines and these channels, of each group, give.
    fn add_piece(
        &self,
        isa: Isa,
        lines: Range<usize>,
        channels: Range<usize>,
        (staging, padding): (&mut [f32], &mut [f32]),
        sums: &mut [f32],
    ) {
        sums.fill(0.0);
        let width = self.shape.output[2];
        let (mut row, end) = (lines.start * width, lines.end * width);
        let groups = match self.kind {
            Kind::Dense => self.shape.groups,
            Kind::Depthwise => 1,
        };
        let per_group = sums.len() / groups;
        while row < end {
            let to = self.windows.block_end(row, end);
            let adjoint = &self.dy[row * self.shape.out_channels..to * self.shape.out_channels];
            for (group, sums) in sums.chunks_exact_mut(per_group).enumerate() {
                let (units, walk) = self.windows.block(isa, row..to, group, staging);
                let first = group * self.channels + channels.start;
                let mut dy = Rows {
                    data: adjoint,
                    step: self.shape.out_channels,
                    first,
                };
                let count = channels.len();
                if self.pads() {
                    dy = dy.padded(count, self.piece_channels, padding);
                }
                let block = Block {
                    units,
                    walk,
                    lines: (to - row) / width,
                    dy,
                    channels: count,
                    width: self.piece_channels,
                };
                match self.kind {
                    Kind::Dense => add_dense(isa, &block, sums),
                    Kind::Depthwise => add_depthwise(isa, &block, self.shape, channels.start, sums),
                }
            }
            row = to;
        }
    }

    /// Puts the sums of the channels from `first` on, of each group, in their places.
    fn place(&self, first: usize, sums: &[f32], dw: &mut [f32]) {
        let (taps, width) = (self.shape.taps(), self.piece_channels);
        let live = width.min(self.channels - first);
        if self.kind == Kind::Depthwise {
            for (tap, row) in sums.chunks_exact(width).enumerate() {
                let places = dw.iter_mut().skip(first * taps + tap).step_by(taps);
                places.zip(&row[..live]).for_each(|(to, &sum)| *to = sum);
            }
            return;
        }
        let (depth, per_group) = (self.shape.depth(), self.shape.in_per_group());
        for (i, row) in sums.chunks_exact(width).enumerate() {
            let (group, k) = (i / depth, i % depth);
            let at = k % per_group * taps + k / per_group;
            let first = group * self.channels + first;
            let places = dw.iter_mut().skip(first * depth + at).step_by(depth);
            places.zip(&row[..live]).for_each(|(to, &sum)| *to = sum);
        }
    }
}

/// Rows of the result's adjoint.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f32],
    /// From a row to the next.
    step: usize,
    /// The first channel at hand.
    first: usize,
}

impl<'a> Rows<'a> {
    /// A copy of `count` channels in rows of `width`.
    fn padded<'b>(&self, count: usize, width: usize, out: &'b mut [f32]) -> Rows<'b>
    where
        'a: 'b,
    {
        let rows = self.data.chunks_exact(self.step);
        for (out, row) in out.chunks_exact_mut(width).zip(rows) {
            out[..count].copy_from_slice(&row[self.first..self.first + count]);
            out[count..].fill(0.0);
        }
        Rows {
            data: out,
            step: width,
            first: 0,
        }
    }
}

/// The windows of some lines and their adjoints.
struct Block<'a> {
    units: &'a [f32],
    walk: Walk,
    lines: usize,
    dy: Rows<'a>,
    /// Output channels, and those of a row of sums: whole vectors.
    channels: usize,
    width: usize,
}

simd_dispatch! {
    /// `sum += other`.
    fn add(s: S, other: &[f32], sum: &mut [f32]) {
        let (vectors, rest) = sum.as_chunks_mut::<MAX_LANES>();
        let (others, last) = other.as_chunks::<MAX_LANES>();
        for (sum, other) in vectors.iter_mut().zip(others) {
            for (sum, other) in sum.chunks_exact_mut(S::LANES).zip(other.chunks_exact(S::LANES)) {
                s.store(s.add(s.load(sum), s.load(other)), sum);
            }
        }
        rest.iter_mut().zip(last).for_each(|(sum, other)| *sum += other);
    }
}

simd_dispatch! {
    /// Adds the products of all elements of the windows with all channels; a row of sums for each element.
    fn add_dense(s: S, block: &Block<'_>, sums: &mut [f32]) {
        let walk = &block.walk;
        let ([nz, ny, nx], [dz, dy, dx]) = (walk.runs, walk.run_steps);
        let mut channel = 0;
        while channel < block.channels {
            let wide = block.channels - channel > S::LANES;
            for run in 0..nz * ny * nx {
                let start = run / (ny * nx) * dz + run / nx % ny * dy + run % nx * dx;
                let most = if wide { S::MR } else { S::MR_NARROW };
                let step = tile_rows(walk.words, most);
                let mut word = 0;
                while word < walk.words {
                    let left = walk.words - word;
                    let tile = Tile { block, at: start + word, channel };
                    let from = (run * walk.words + word) * block.width + channel;
                    let sums = &mut sums[from..];
                    word += match wide {
                        true => tile.rows::<S, 2>(s, step.min(left), sums),
                        false => tile.rows::<S, 1>(s, step.min(left), sums),
                    };
                }
            }
            channel += if wide { 2 * S::LANES } else { S::LANES };
        }
    }
}

/// Rows of the tiles of `words` elements, of at most `most`: as many as divide them, if they are not few.
#[inline(always)]
fn tile_rows(words: usize, most: usize) -> usize {
    let sizes = [12, 9, 8, 6, 4, 3];
    let even = sizes
        .into_iter()
        .filter(|&r| r <= most && 2 * r >= most.min(8));
    let even = even.clone().find(|r| words.is_multiple_of(*r));
    even.unwrap_or(most)
}

/// A register tile: a few elements of the windows from `at` on, with the channels from `channel` on.
#[derive(Clone, Copy)]
struct Tile<'a> {
    block: &'a Block<'a>,
    at: usize,
    channel: usize,
}

impl Tile<'_> {
    /// Adds the products of up to so many elements; tells how many those were.
    #[inline(always)]
    fn rows<S: Simd, const V: usize>(&self, s: S, rows: usize, sums: &mut [f32]) -> usize {
        match rows {
            1 => self.add::<S, 1, V>(s, sums),
            2 => self.add::<S, 2, V>(s, sums),
            3 => self.add::<S, 3, V>(s, sums),
            4..=5 => self.add::<S, 4, V>(s, sums),
            6..=7 => self.add::<S, 6, V>(s, sums),
            8 => self.add::<S, 8, V>(s, sums),
            9..=11 => self.add::<S, 9, V>(s, sums),
            _ => self.add::<S, 12, V>(s, sums),
        }
    }

    #[inline(always)]
    fn add<S: Simd, const R: usize, const V: usize>(&self, s: S, sums: &mut [f32]) -> usize {
        if R > (if V == 1 { S::MR_NARROW } else { S::MR }) {
            // Not reached: no tile is asked for that does not fit the registers.
            return R;
        }
        let Block {
            units,
            walk,
            lines,
            dy,
            width,
            ..
        } = self.block;
        let mut acc = [[s.splat(0.0); V]; R];
        for (r, acc) in acc.iter_mut().enumerate() {
            for (v, acc) in acc.iter_mut().enumerate() {
                *acc = s.load(&sums[r * width + v * S::LANES..]);
            }
        }
        let mut from = dy.first + self.channel;
        for line in 0..*lines {
            let mut at = line * walk.line_step + self.at;
            for _ in 0..walk.line {
                let x = &units[at..at + R];
                let adjoint = &dy.data[from..from + V * S::LANES];
                let mut vectors = [s.splat(0.0); V];
                for v in 0..V {
                    vectors[v] = s.load(&adjoint[v * S::LANES..]);
                }
                for r in 0..R {
                    let x = s.splat(x[r]);
                    for v in 0..V {
                        acc[r][v] = s.fma(x, vectors[v], acc[r][v]);
                    }
                }
                at += walk.step;
                from += dy.step;
            }
        }
        for (r, acc) in acc.iter().enumerate() {
            for (v, acc) in acc.iter().enumerate() {
                s.store(*acc, &mut sums[r * width + v * S::LANES..]);
            }
        }
        R
    }
}

simd_dispatch! {
    /// Adds the products of each channel with its own adjoint; a row of sums for each tap. The channels are those from `first` on.
    fn add_depthwise(
        s: S,
        block: &Block<'_>,
        shape: &ConvShape,
        first: usize,
        sums: &mut [f32],
    ) {
        let [_, kh, kw] = shape.kernel;
        let ([_, _, nx], [_, dy, dx]) = (block.walk.runs, block.walk.run_steps);
        let together = (block.walk.words / shape.in_channels).max(1);
        let start = |tap: usize| {
            let run = tap / together;
            run / nx * dy + run % nx * dx + tap % together * shape.in_channels
        };
        for channel in (0..block.channels).step_by(S::LANES) {
            let live = S::LANES.min(block.channels - channel);
            let mut tap = 0;
            while tap < kh * kw {
                let mut at = [0; 9];
                for (i, at) in at.iter_mut().enumerate() {
                    *at = first + channel + start((tap + i).min(kh * kw - 1));
                }
                let sums = &mut sums[tap * block.width + channel..];
                let lanes = Lanes { block, at: &at, channel, live };
                tap += match kh * kw - tap {
                    9.. => lanes.add::<S, 9>(s, sums),
                    5..=8 => lanes.add::<S, 5>(s, sums),
                    3..=4 => lanes.add::<S, 3>(s, sums),
                    _ => lanes.add::<S, 1>(s, sums),
                };
            }
        }
    }
}

/// A vector of channels, and where the pixels under some taps stand.
#[derive(Clone, Copy)]
struct Lanes<'a> {
    block: &'a Block<'a>,
    at: &'a [usize; 9],
    channel: usize,
    live: usize,
}

impl Lanes<'_> {
    /// Adds the products of the first `T` taps.
    #[inline(always)]
    fn add<S: Simd, const T: usize>(&self, s: S, sums: &mut [f32]) -> usize {
        match self.live == S::LANES {
            true => self.add_of::<S, T>(s, sums, |from| s.load(from)),
            false => self.add_of::<S, T>(s, sums, |from| s.load_partial(&from[..self.live], 0.0)),
        }
        T
    }

    #[inline(always)]
    fn add_of<S: Simd, const T: usize>(
        &self,
        s: S,
        sums: &mut [f32],
        load: impl Fn(&[f32]) -> S::F,
    ) {
        let Block {
            units,
            walk,
            lines,
            dy,
            width,
            ..
        } = self.block;
        let mut acc = [s.splat(0.0); T];
        for (t, acc) in acc.iter_mut().enumerate() {
            *acc = s.load(&sums[t * width..]);
        }
        let mut from = dy.first + self.channel;
        for line in 0..*lines {
            let mut pixel = line * walk.line_step;
            for _ in 0..walk.line {
                let adjoint = load(&dy.data[from..]);
                for t in 0..T {
                    acc[t] = s.fma(load(&units[pixel + self.at[t]..]), adjoint, acc[t]);
                }
                pixel += walk.step;
                from += dy.step;
            }
        }
        for (t, acc) in acc.iter().enumerate() {
            s.store(*acc, &mut sums[t * width..]);
        }
    }
}
