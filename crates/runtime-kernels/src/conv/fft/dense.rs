//! Filters over all channels: each frequency is a matrix product.
//!
//! With `Z = A + iB` of a piece's frequency `f` and the weights `W = U + iV` of it, `Z · conj W` is `[A B] P + i [B -A] P` for the matrix `P` of `U`
//! above `V`; and since the weights are real, the product of `-f` is `[A -B] P + i [B A] P` with the same `P`. A pair of pieces is
//! four rows of the product of two frequencies.

use super::transform::{Complex, forward, frequency, inverse};
use super::window::{Pair, buffer_len, read_rows, stride, write_rows};
use super::{Call, FftTile, Taps, lanes};
use crate::gemm::arith::Float;
use crate::gemm::direct::{Walk, check_width};
use crate::gemm::driver::{Cut, Pieces};
use crate::gemm::register_tile::{narrow_tile, wide_tile};
use crate::gemm::{PackedF32, Side, vector};
use crate::isa::{Isa, MAX_MR, simd_dispatch};
use crate::threads::{TileMut, product_work};
use crate::{Context, KernelError, MatRef, Scratch};
use std::ops::Range;

/// Rows of a pair in each matrix.
const PAIR_ROWS: usize = 4;
/// Floats of the matrices of a block of pairs at most, unless one pair has more: they stream once, as the weights do.
const BLOCK: usize = 1024 * 1024;

/// Where a frequency is multiplied.
#[derive(Clone, Copy, Debug)]
struct Home {
    slot: usize,
    /// Whether as the frequency, as its mirror, or as both, which is its own mirror.
    as_itself: bool,
    as_mirror: bool,
}

/// A matrix `[2 channels, out_channels]` for each two frequencies that mirror each other.
#[derive(Clone, Debug)]
pub(super) struct Spectra {
    slots: Vec<PackedF32>,
    /// By place, column by column.
    homes: Vec<Home>,
}

impl Spectra {
    pub(super) fn new(
        isa: Isa,
        taps: &Taps<'_>,
        out_channels: usize,
        channels: usize,
    ) -> Result<Self, KernelError> {
        let (homes, slots) = homes(taps.tile);
        let size = 2 * channels * out_channels;
        // Slot by slot, `[2 channels, out_channels]`.
        let mut floats = vec![0.0f32; slots * size];
        for at in 0..out_channels * channels {
            let (out, channel) = (at / channels, at % channels);
            for (home, [re, im]) in homes.iter().zip(taps.spectrum(at)) {
                if home.as_itself {
                    let matrix = &mut floats[home.slot * size..][..size];
                    matrix[channel * out_channels + out] = re as f32;
                    matrix[(channels + channel) * out_channels + out] = im as f32;
                }
            }
        }
        let slots = floats.chunks_exact(size.max(1)).map(|slot| {
            let matrix = MatRef::row_major(slot, 2 * channels, out_channels)?;
            PackedF32::new(isa, Side::Rhs, matrix)
        });
        Ok(Self {
            slots: slots.collect::<Result<_, _>>()?,
            homes,
        })
    }

    /// Refuses weights that were packed for another instruction set.
    pub(super) fn check(&self, isa: Isa) -> Result<(), KernelError> {
        let mut widths = self.slots.iter().map(|slot| slot.panels().width());
        widths.try_for_each(|width| check_width(isa, width))
    }

    pub(super) fn bytes(&self) -> usize {
        let homes = self.homes.len() * size_of::<Home>();
        self.slots.iter().map(PackedF32::bytes).sum::<usize>() + homes
    }
}

/// Where each place is multiplied, and the number of matrices.
fn homes(tile: FftTile) -> (Vec<Home>, usize) {
    let FftTile { rows, columns } = tile;
    let of = |at: usize| [frequency(rows, at % rows), frequency(columns, at / rows)];
    let mut at_frequency = vec![0; rows * columns];
    for at in 0..rows * columns {
        let [y, x] = of(at);
        at_frequency[x * rows + y] = at;
    }
    let mut homes: Vec<Option<Home>> = vec![None; rows * columns];
    let mut slots = 0;
    for at in 0..rows * columns {
        if homes[at].is_some() {
            continue;
        }
        let [y, x] = of(at);
        let mirror = at_frequency[(columns - x) % columns * rows + (rows - y) % rows];
        let home = |as_itself, as_mirror| {
            Some(Home {
                slot: slots,
                as_itself,
                as_mirror,
            })
        };
        homes[mirror] = home(false, true);
        homes[at] = home(true, mirror == at);
        slots += 1;
    }
    (homes.into_iter().flatten().collect(), slots)
}

/// How the matrices of a block of pairs lie in scratch memory.
#[derive(Clone, Copy)]
struct Blocks {
    pairs: usize,
    /// Floats of a row of pieces, and of a row of products: whole vectors.
    depth: usize,
    cols: usize,
    /// Floats from one matrix to the next.
    input: usize,
    output: usize,
    slots: usize,
    lanes: usize,
}

impl Blocks {
    /// For tasks of up to `pairs` pairs.
    fn new(isa: Isa, call: &Call<'_>, slots: usize, pairs: usize) -> Self {
        let lanes = lanes(isa);
        let depth = 2 * call.shape.in_channels;
        let cols = call.shape.out_channels.next_multiple_of(lanes);
        let each = (slots * PAIR_ROWS).saturating_mul(depth.saturating_add(cols));
        let pairs = (BLOCK / each.max(1)).clamp(1, pairs.max(1));
        Self {
            pairs,
            depth,
            cols,
            // An odd number of cache lines; the last vector of a row may reach past it.
            input: ((pairs * PAIR_ROWS * depth + 2 * lanes).div_ceil(16) | 1) * 16,
            // Register tiles are stored whole.
            output: (((pairs * PAIR_ROWS + MAX_MR) * cols + lanes).div_ceil(16) | 1) * 16,
            slots,
            lanes,
        }
    }

    fn floats(&self, tile: FftTile) -> usize {
        let line = 2 * self.lanes * tile.rows;
        self.slots * (self.input + self.output) + buffer_len(tile, self.lanes) + line
    }
}

/// All images; tasks take whole units of pairs.
pub(super) fn run(
    ctx: &Context,
    scratch: &mut Scratch,
    call: &Call<'_>,
    spectra: &Spectra,
    out: TileMut<'_, f32>,
) {
    let (shape, grid) = (call.shape, call.grid);
    let (units, pixels) = (grid.units(), shape.out_pixels());
    let work = product_work(
        PAIR_ROWS * grid.pairs(),
        spectra.slots.len().saturating_mul(2 * shape.in_channels),
        shape.out_channels,
    );
    let tasks = ctx.parallelism.tasks(work, units);
    let per_task = units.div_ceil(tasks);
    let per_unit = grid.per_unit();
    let blocks = Blocks::new(ctx.isa, call, spectra.slots.len(), per_task * per_unit);
    let own = blocks.floats(call.tile);
    let (floats, _) = scratch.parts(own * tasks, 0);
    let mut rest = out;
    for n in 0..shape.batch {
        let (image, after) = rest.split_rows(pixels);
        rest = after;
        let task = |first: usize, mut out: TileMut<'_, f32>, floats: &mut [f32]| {
            let units = first..units.min(first + per_task);
            let pairs = units.start * per_unit..units.end * per_unit;
            let from = n * pixels + first * grid.unit_pixels();
            for start in pairs.clone().step_by(blocks.pairs) {
                let block = start..pairs.end.min(start + blocks.pairs);
                let task = Block {
                    call,
                    spectra,
                    blocks,
                    n,
                    pairs: block,
                };
                task.run(ctx.isa, from, &mut out, floats);
            }
        };
        if tasks == 1 {
            task(0, image, floats);
            continue;
        }
        let step = per_task * grid.unit_pixels();
        let parts = Pieces::new(image, pixels, step, Cut::split_rows, floats, own);
        ctx.parallelism
            .for_each(tasks, parts, |(from, out, floats)| {
                task(from / grid.unit_pixels(), out, floats);
            });
    }
}

/// Pairs of image `n` that are computed together.
struct Block<'a> {
    call: &'a Call<'a>,
    spectra: &'a Spectra,
    blocks: Blocks,
    n: usize,
    pairs: Range<usize>,
}

impl Block<'_> {
    fn run(&self, isa: Isa, from: usize, out: &mut TileMut<'_, f32>, floats: &mut [f32]) {
        let (call, blocks) = (self.call, &self.blocks);
        let (input, floats) = floats.split_at_mut(blocks.slots * blocks.input);
        let (output, floats) = floats.split_at_mut(blocks.slots * blocks.output);
        let (buffer, column) = floats.split_at_mut(buffer_len(call.tile, blocks.lanes));
        let pair = |at: usize| -> Pair { call.grid.pair(at) };
        for (row, at) in self.pairs.clone().enumerate() {
            for channel in (0..call.shape.in_channels).step_by(blocks.lanes) {
                read_rows(isa, call, (self.n, channel), pair(at), buffer);
                spread_columns(isa, self, (row, channel), buffer, column, input);
            }
        }
        multiply(isa, self, input, output);
        for (row, at) in self.pairs.clone().enumerate() {
            for channel in (0..call.shape.out_channels).step_by(blocks.lanes) {
                gather_columns(isa, self, (row, channel), output, column, buffer);
                write_rows(
                    isa,
                    call,
                    (self.n, channel),
                    pair(at),
                    buffer,
                    (from, 0),
                    out,
                );
            }
        }
    }
}

simd_dispatch! {
    /// The columns of a pair are transformed, and each place goes to its rows of the matrices.
    fn spread_columns(
        s: S,
        block: &Block<'_>,
        of: (usize, usize),
        buffer: &[f32],
        column: &mut [f32],
        input: &mut [f32],
    ) {
        let (pair, channel) = of;
        let (call, blocks) = (block.call, &block.blocks);
        let (rows, columns) = (call.tile.rows, call.tile.columns);
        let (width, stride) = (2 * S::LANES, stride(columns, S::LANES));
        let channels = call.shape.in_channels;
        let live = S::LANES.min(channels - channel);
        let column = &mut column[..width * rows];
        let zero = s.splat(0.0);
        for (x, homes) in block.spectra.homes.chunks_exact(rows).enumerate() {
            for (y, place) in column.chunks_exact_mut(width).enumerate() {
                Complex::load(s, &buffer[y * stride + x * width..]).store(s, place);
            }
            forward(s, column, call.roots[0]);
            for (place, home) in column.chunks_exact(width).zip(homes) {
                let Complex { re, im } = Complex::load(s, place);
                let to = home.slot * blocks.input + pair * PAIR_ROWS * blocks.depth;
                let to = &mut input[to..][..PAIR_ROWS * blocks.depth];
                let mut put = |row: usize, part: usize, v: S::F| {
                    let at = row * blocks.depth + part * channels + channel;
                    let to = &mut to[at..at + live];
                    if live == S::LANES {
                        s.store(v, to);
                    } else {
                        s.store_partial(v, to);
                    }
                };
                if home.as_itself {
                    put(0, 0, re);
                    put(0, 1, im);
                    put(1, 0, im);
                    put(1, 1, s.sub(zero, re));
                }
                if home.as_mirror {
                    put(2, 0, re);
                    put(2, 1, s.sub(zero, im));
                    put(3, 0, im);
                    put(3, 1, re);
                }
            }
        }
    }
}

simd_dispatch! {
    /// One product per matrix; rows past the last pair are filled up to whole register tiles.
    fn multiply(s: S, block: &Block<'_>, input: &[f32], output: &mut [f32]) {
        let (nr, blocks) = (2 * S::LANES, &block.blocks);
        let rows = block.pairs.len() * PAIR_ROWS;
        let walk = Walk::rows(blocks.depth, blocks.depth);
        let inputs = input.chunks_exact(blocks.input);
        let outputs = output.chunks_exact_mut(blocks.output);
        for ((weights, input), output) in block.spectra.slots.iter().zip(inputs).zip(outputs) {
            for j in (0..blocks.cols).step_by(nr) {
                let panel = weights.panels().panel(j / nr, 0..blocks.depth);
                let narrow = blocks.cols - j <= S::LANES;
                let height = if narrow { S::MR_NARROW } else { S::MR };
                let mut tiles = walk.of::<Float>(input, rows).tiles();
                for i in (0..rows).step_by(height) {
                    let live = height.min(rows - i);
                    let tile = tiles.next(live, height);
                    let to = (&mut output[i * blocks.cols + j..], blocks.cols);
                    if narrow {
                        narrow_tile::<S, Float>(s, live, &walk, &tile, (panel, &[]), to);
                    } else {
                        wide_tile::<S, Float>(s, live, &walk, &tile, (panel, &[]), to);
                    }
                }
            }
        }
    }
}

simd_dispatch! {
    /// The products of a pair as columns of places, transformed back.
    fn gather_columns(
        s: S,
        block: &Block<'_>,
        of: (usize, usize),
        output: &[f32],
        column: &mut [f32],
        buffer: &mut [f32],
    ) {
        let (pair, channel) = of;
        let (call, blocks) = (block.call, &block.blocks);
        let (rows, columns) = (call.tile.rows, call.tile.columns);
        let (width, stride) = (2 * S::LANES, stride(columns, S::LANES));
        let column = &mut column[..width * rows];
        for (x, homes) in block.spectra.homes.chunks_exact(rows).enumerate() {
            for (place, home) in column.chunks_exact_mut(width).zip(homes) {
                let row = pair * PAIR_ROWS + if home.as_itself { 0 } else { 2 };
                let from = home.slot * blocks.output + row * blocks.cols + channel;
                let product = Complex::<S> {
                    re: vector(s, &output[from..], S::LANES),
                    im: vector(s, &output[from + blocks.cols..], S::LANES),
                };
                product.store(s, place);
            }
            inverse(s, column, call.roots[0]);
            for (y, place) in column.chunks_exact(width).enumerate().take(call.grid.tile_rows()) {
                Complex::load(s, place).store(s, &mut buffer[y * stride + x * width..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_and_their_mirrors_share_a_matrix() {
        for (rows, columns) in [(1, 8), (8, 1), (4, 16), (2, 2), (1, 1)] {
            let (homes, slots) = homes(FftTile { rows, columns });
            assert_eq!(homes.len(), rows * columns);
            let own = homes.iter().filter(|h| h.as_itself && h.as_mirror).count();
            assert_eq!(2 * slots, homes.len() + own);
            for slot in 0..slots {
                let at = |f: &dyn Fn(&&Home) -> bool| {
                    homes.iter().filter(|h| h.slot == slot).filter(f).count()
                };
                assert_eq!((at(&|h| h.as_itself), at(&|h| h.as_mirror)), (1, 1));
            }
        }
    }
}
