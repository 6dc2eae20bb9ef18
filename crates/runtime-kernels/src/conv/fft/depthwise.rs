//! Filters of one channel each: frequencies are multiplied place by place.

use super::transform::{Complex, forward, inverse};
use super::window::{buffer_len, read_rows, stride, write_rows};
use super::{Call, Taps, lanes};
use crate::gemm::driver::{Cut, Pieces};
use crate::isa::{Isa, simd_dispatch};
use crate::pages::AlignedVec;
use crate::threads::TileMut;
use crate::{Context, Scratch};

/// The weights of a vector of channels after those of another: for each place, column by column, real and imaginary parts.
#[derive(Clone, Debug)]
pub(super) struct Spectra {
    lanes: usize,
    floats: AlignedVec<f32>,
}

impl Spectra {
    pub(super) fn new(isa: Isa, taps: &Taps<'_>, channels: usize) -> Self {
        let (lanes, places) = (lanes(isa), taps.tile.places());
        let mut floats = AlignedVec::zeroed(channels.div_ceil(lanes) * places * 2 * lanes);
        for channel in 0..channels {
            let start = channel / lanes * places * 2 * lanes + channel % lanes;
            let to = &mut floats.as_mut_slice()[start..];
            for (at, [re, im]) in taps.spectrum(channel).into_iter().enumerate() {
                to[2 * lanes * at] = re as f32;
                to[2 * lanes * at + lanes] = im as f32;
            }
        }
        Self { lanes, floats }
    }

    /// The width of the panels of the instruction set that the weights are for.
    pub(super) fn panel(&self) -> usize {
        2 * self.lanes
    }

    pub(super) fn bytes(&self) -> usize {
        4 * self.floats.as_slice().len()
    }
}

/// All images; tasks take whole vectors of channels.
pub(super) fn run(
    ctx: &Context,
    scratch: &mut Scratch,
    call: &Call<'_>,
    spectra: &Spectra,
    out: TileMut<'_, f32>,
) {
    let (lanes, tile) = (lanes(ctx.isa), call.tile);
    let channels = call.shape.out_channels;
    let chunks = channels.div_ceil(lanes);
    let pairs = call.grid.pairs() * call.shape.batch;
    let passes = 2 * tile.places().ilog2() as usize;
    let work = pairs
        .saturating_mul(tile.places() * passes)
        .saturating_mul(channels);
    let tasks = ctx.parallelism.tasks(work, chunks);
    let per_task = chunks.div_ceil(tasks);
    let own = buffer_len(tile, lanes) + 2 * lanes * tile.rows;
    let (floats, _) = scratch.parts(own * tasks, 0);
    let task = |first: usize, mut out: TileMut<'_, f32>, floats: &mut [f32]| {
        let (buffer, column) = floats.split_at_mut(buffer_len(tile, lanes));
        for channel in (first..first + out.cols()).step_by(lanes) {
            let start = channel * 2 * tile.places();
            let weights = &spectra.floats.as_slice()[start..][..2 * lanes * tile.places()];
            for n in 0..call.shape.batch {
                for pair in (0..call.grid.pairs()).map(|at| call.grid.pair(at)) {
                    read_rows(ctx.isa, call, (n, channel), pair, buffer);
                    filter_columns(ctx.isa, call, weights, buffer, column);
                    write_rows(
                        ctx.isa,
                        call,
                        (n, channel),
                        pair,
                        buffer,
                        (0, first),
                        &mut out,
                    );
                }
            }
        }
    };
    if tasks == 1 {
        return task(0, out, floats);
    }
    let step = per_task * lanes;
    let parts = Pieces::new(out, channels, step, Cut::split_cols, floats, own);
    ctx.parallelism
        .for_each(tasks, parts, |(from, out, floats)| task(from, out, floats));
}

simd_dispatch! {
    /// Each column of places is transformed, multiplied with the conjugate weights and transformed back.
    fn filter_columns(
        s: S,
        call: &Call<'_>,
        weights: &[f32],
        buffer: &mut [f32],
        column: &mut [f32],
    ) {
        let (rows, columns) = (call.tile.rows, call.tile.columns);
        let (width, stride) = (2 * S::LANES, stride(columns, S::LANES));
        let column = &mut column[..width * rows];
        for (x, weights) in weights.chunks_exact(width * rows).enumerate() {
            for (y, place) in column.chunks_exact_mut(width).enumerate() {
                Complex::load(s, &buffer[y * stride + x * width..]).store(s, place);
            }
            forward(s, column, call.roots[0]);
            for (place, weight) in column.chunks_exact_mut(width).zip(weights.chunks_exact(width)) {
                let product = Complex::load(s, place).times_conjugate(s, Complex::load(s, weight));
                product.store(s, place);
            }
            inverse(s, column, call.roots[0]);
            for (y, place) in column.chunks_exact(width).enumerate().take(call.grid.tile_rows()) {
                Complex::load(s, place).store(s, &mut buffer[y * stride + x * width..]);
            }
        }
    }
}
