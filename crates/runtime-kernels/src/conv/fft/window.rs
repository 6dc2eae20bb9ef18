//! Pieces of an image: which there are, how they are read, and how their results are stored.

use super::transform::{forward, inverse};
use super::{Call, FftTile, window};
use crate::conv::shape::ConvShape;
use crate::gemm::arith::Float;
use crate::gemm::driver::{Finish, Part};
use crate::gemm::vector;
use crate::isa::simd_dispatch;
use crate::threads::{Place, TileMut};

/// The pieces of one image. Two of them are computed together: a pair. Which two does not depend on how the work is shared out, so that
/// results do not either.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Results of a piece.
    tile: [usize; 2],
    /// Pieces from the top to the bottom, and from left to right.
    down: usize,
    across: usize,
    output: [usize; 2],
}

/// Two pieces: where each starts in the result. The second may be missing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair(pub(super) [Option<[usize; 2]>; 2]);

impl Grid {
    pub(super) fn new(tile: FftTile, shape: &ConvShape) -> Self {
        let output = [shape.output[1], shape.output[2]];
        let results = |places: usize, axis: usize| {
            let fits = places.saturating_sub(window(shape, axis) - 1).max(1);
            fits.min(output[axis - 1].max(1))
        };
        let tile = [results(tile.rows, 1), results(tile.columns, 2)];
        Self {
            tile,
            down: output[0].div_ceil(tile[0]),
            across: output[1].div_ceil(tile[1]),
            output,
        }
    }

    pub(super) fn tile_rows(&self) -> usize {
        self.tile[0]
    }

    /// Whether the pieces of a pair stand one below the other.
    fn is_vertical(&self) -> bool {
        self.across == 1
    }

    /// Pairs of a unit: whole rows of the result, or a run of pixels of the only one.
    pub(super) fn per_unit(&self) -> usize {
        match self.is_vertical() || self.output[0] == 1 {
            true => 1,
            false => self.across.div_ceil(2),
        }
    }

    /// Units, one after another in the result.
    pub(super) fn units(&self) -> usize {
        if self.is_vertical() {
            self.down.div_ceil(2)
        } else if self.output[0] == 1 {
            self.across.div_ceil(2)
        } else {
            self.down
        }
    }

    /// Pixels of a unit but the last.
    pub(super) fn unit_pixels(&self) -> usize {
        let [rows, columns] = self.tile;
        if self.is_vertical() {
            2 * rows * self.output[1]
        } else if self.output[0] == 1 {
            2 * columns
        } else {
            rows * self.output[1]
        }
    }

    pub(super) fn pairs(&self) -> usize {
        self.units() * self.per_unit()
    }

    pub(super) fn pair(&self, at: usize) -> Pair {
        let (unit, along) = (at / self.per_unit(), at % self.per_unit());
        let places = if self.is_vertical() {
            [[2 * unit, 0], [2 * unit + 1, 0]]
        } else if self.output[0] == 1 {
            [[0, 2 * unit], [0, 2 * unit + 1]]
        } else {
            [[unit, 2 * along], [unit, 2 * along + 1]]
        };
        let [rows, columns] = self.tile;
        Pair(
            places.map(|[y, x]| {
                (y < self.down && x < self.across).then_some([y * rows, x * columns])
            }),
        )
    }
}

/// Floats from one line of places to the next: columns that lie a power of two apart would share few lines of the cache.
pub(super) fn stride(columns: usize, lanes: usize) -> usize {
    2 * lanes * columns + 16
}

/// Floats of the places of a pair.
pub(super) fn buffer_len(tile: FftTile, lanes: usize) -> usize {
    tile.rows * stride(tile.columns, lanes)
}

simd_dispatch! {
    /// The windows of a pair, of image `n` and the channels from `channel` on, with their rows transformed.
    pub(super) fn read_rows(
        s: S,
        call: &Call<'_>,
        of: (usize, usize),
        pair: Pair,
        buffer: &mut [f32],
    ) {
        let (n, channel) = of;
        let (shape, columns) = (call.shape, call.tile.columns);
        let [_, height, width] = shape.input;
        let channels = shape.in_channels;
        let live = S::LANES.min(channels - channel);
        let image = &call.image[n * height * width * channels..][..height * width * channels];
        let lines = buffer.chunks_exact_mut(stride(columns, S::LANES));
        for (y, line) in lines.enumerate() {
            let line = &mut line[..2 * S::LANES * columns];
            line.fill(0.0);
            let mut seen = false;
            for (part, corner) in pair.0.iter().enumerate() {
                let Some([top, left]) = *corner else { continue };
                let row = (top + y).checked_sub(shape.pads[1]).filter(|&row| row < height);
                let Some(row) = row else { continue };
                // The places of the line that lie in the image.
                let from = shape.pads[2].saturating_sub(left).min(columns);
                let to = (width + shape.pads[2]).saturating_sub(left).min(columns).max(from);
                if from == to {
                    continue;
                }
                seen = true;
                let start = (row * width + left + from - shape.pads[2]) * channels + channel;
                let places = line[2 * S::LANES * from..2 * S::LANES * to].chunks_exact_mut(2 * S::LANES);
                for (x, place) in places.enumerate() {
                    let pixel = vector(s, &image[start + x * channels..], live);
                    s.store(pixel, &mut place[part * S::LANES..]);
                }
            }
            if seen {
                forward(s, line, call.roots[1]);
            }
        }
    }
}

simd_dispatch! {
    /// The results of a pair, of image `n` and the channels from `channel` on: the rows are transformed back and stored. The tile `out`
    /// starts at pixel `from` of all images and at channel `first`.
    pub(super) fn write_rows(
        s: S,
        call: &Call<'_>,
        of: (usize, usize),
        pair: Pair,
        buffer: &mut [f32],
        start: (usize, usize),
        out: &mut TileMut<'_, f32>,
    ) {
        let ((n, channel), (from, first)) = (of, start);
        let shape = call.shape;
        let [_, height, width] = shape.output;
        let cols = S::LANES.min(shape.out_channels - channel);
        let lines = buffer.chunks_exact_mut(stride(call.tile.columns, S::LANES));
        for (y, line) in lines.enumerate().take(call.grid.tile[0]) {
            let line = &mut line[..2 * S::LANES * call.tile.columns];
            inverse(s, line, call.roots[1]);
            for (part, corner) in pair.0.iter().enumerate() {
                let Some([top, left]) = *corner else { continue };
                if top + y >= height {
                    continue;
                }
                let pixel = (top + y) * width + left;
                let rows = call.grid.tile[1].min(width - left);
                let row = n * height * width + pixel;
                let at = Place { row: row - from, col: channel - first, rows, cols };
                // The finish reads one vector of each two: the real or the imaginary parts.
                let sums = &line[part * S::LANES..];
                Finish::<Float>::tile(call.finish, s, Part::WHOLE, row, channel, sums, at, out);
            }
        }
    }
}
