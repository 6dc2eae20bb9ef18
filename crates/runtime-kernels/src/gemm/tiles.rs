//! Blocks of a direct product of bytes by whole tiles, where the CPU multiplies such (AMX).
//!
//! A tile of the left operand is 16 rows of one run, read where they stand if these are equally far apart; other rows are laid one behind the
//! other first, for all columns. Tiles of the right operand are read from the panels that vectors read too. Sums are the same integers.

use super::arith::Arith;
use super::direct::Block;
use super::driver::Finish;
use crate::Isa;

/// Bytes of scratch memory that [`sweep`] takes for blocks of so many rows and words.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn scratch_bytes(_: Isa, _: usize, _: usize) -> usize {
    0
}

/// Multiplies a block if `isa` has tiles and they suit it; tells whether it did.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn sweep<A: Arith<Unit = u8, Word = i32, Weight = i32>, F: Finish<A>>(
    _: Isa,
    _: &Block<'_, A>,
    _: &F,
    _: &mut F::Out<'_>,
    _: &mut [u8],
) -> bool {
    false
}

/// Bytes of rows that pass by all columns before the next ones, where there are tiles.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn block_bytes(_: Isa) -> Option<usize> {
    None
}

/// Rows that tasks take multiples of, where there are tiles.
pub(super) fn row_unit(isa: Isa) -> Option<usize> {
    // Whole blocks of tiles, and tiles of registers.
    block_bytes(isa).map(|_| 96)
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{block_bytes, scratch_bytes, sweep};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Arith, Block, Finish, Isa};
    use crate::gemm::direct::Walk;
    use crate::gemm::driver::Part;
    use crate::gemm::rows::share_a_set;
    use crate::isa::amx::{BLOCK, BlockRows, BlockSums, MAX_GROUPS, Steps, TILE, Tiles};
    use crate::isa::{Avx512Vnni, Simd, simd_dispatch};
    use crate::quantized::copy_short;
    use crate::threads::Place;

    /// Rows from which on tiles, which always compute 16, are faster than vectors.
    const LEAST_ROWS: usize = 6;
    /// Words of a step from which on they are.
    const LEAST_GROUPS: usize = 4;
    /// Steps of the longest rows.
    const MAX_STEPS: usize = 256;
    /// Bytes of rows that pass by all columns before the next ones: a part of a core's own cache.
    const CHUNK_BYTES: usize = 768 * 1024;
    const LINE_BYTES: usize = 64;

    /// Bytes from a row that was laid out to the next.
    fn laid_stride(groups: usize) -> usize {
        // An odd number of cache lines: rows spread over all sets.
        (4 * groups).next_multiple_of(LINE_BYTES) | LINE_BYTES
    }

    /// Rows that pass by all columns together.
    fn chunk_rows(rows: usize, groups: usize) -> usize {
        let fitting = CHUNK_BYTES / laid_stride(groups) / BLOCK * BLOCK;
        fitting.max(BLOCK).min(rows.next_multiple_of(BLOCK))
    }

    pub(in crate::gemm) fn block_bytes(isa: Isa) -> Option<usize> {
        matches!(isa, Isa::Avx512Amx(_)).then_some(CHUNK_BYTES)
    }

    pub(in crate::gemm) fn scratch_bytes(isa: Isa, rows: usize, groups: usize) -> usize {
        match isa {
            Isa::Avx512Amx(_) if groups > 0 && rows >= LEAST_ROWS => {
                chunk_rows(rows, groups) * laid_stride(groups) + LINE_BYTES
            }
            _ => 0,
        }
    }

    pub(in crate::gemm) fn sweep<A: Arith<Unit = u8, Word = i32, Weight = i32>, F: Finish<A>>(
        isa: Isa,
        block: &Block<'_, A>,
        finish: &F,
        out: &mut F::Out<'_>,
        scratch: &mut [u8],
    ) -> bool {
        let Isa::Avx512Amx(token) = isa else {
            return false;
        };
        if block.lone || block.rows < LEAST_ROWS {
            return false;
        }
        let Some(cut) = StepCut::of(&block.walk) else {
            return false;
        };
        let total = block.walk.groups();
        let (mut in_place, mut laid) = ([0; MAX_STEPS], [0; MAX_STEPS]);
        let places = Places {
            walk: &block.walk,
            rows: block.rows,
            is_direct: cut.in_place,
            in_place: Steps::new(cut.in_place_steps(&block.walk, &mut in_place)),
            laid: Steps::new(cut.laid_steps(total, &mut laid)),
        };
        let stride = laid_stride(total);
        let skipped = scratch.as_ptr().align_offset(LINE_BYTES);
        let scratch = &mut scratch[skipped.min(LINE_BYTES)..];
        let chunk = chunk_rows(block.rows, total);
        let tiles = Tiles::new(token, cut.groups);
        let mut sums = BlockSums([0; BLOCK * BLOCK]);
        for first in (0..block.rows).step_by(chunk) {
            let end = block.rows.min(first + chunk);
            for i in (first..end).step_by(BLOCK).filter(|&i| !places.direct(i)) {
                let to = &mut scratch[(i - first) * stride..];
                places.lay(block.units, i..end.min(i + BLOCK), to, stride);
            }
            for j in (0..block.cols).step_by(BLOCK) {
                let panel = (block.first_col + j) / BLOCK;
                let panel = block.weights.panel(panel, 0..total);
                let cols = BLOCK.min(block.cols - j);
                for i in (first..end).step_by(BLOCK) {
                    let live = BLOCK.min(end - i);
                    let rows = match places.direct(i) {
                        true => places.block(block.units, i),
                        false => BlockRows {
                            bytes: &scratch[(i - first) * stride..],
                            stride,
                            second: TILE * stride,
                            steps: places.laid,
                        },
                    };
                    tiles.multiply(&rows, panel, (live, cols), &mut sums);
                    let at = Place {
                        row: block.row - block.first_row + i,
                        col: block.base + j,
                        rows: live,
                        cols,
                    };
                    let (row, col) = (block.row + i, block.base + block.first_col + j);
                    let base = Isa::Avx512Vnni(token.base());
                    hand_over(base, finish, (row, col), &sums, at, out);
                }
            }
        }
        true
    }

    // Sums stand in rows of two vectors.
    const _: () = assert!(BLOCK == 2 * <Avx512Vnni as Simd>::LANES);

    simd_dispatch! {
        /// Lets the epilogue take the sums of a block.
        fn hand_over[A: Arith<Word = i32>, F: Finish<A>](
            s: S,
            finish: &F,
            from: (usize, usize),
            sums: &BlockSums,
            at: Place,
            out: &mut F::Out<'_>,
        ) {
            finish.tile(s, Part::WHOLE, from.0, from.1, &sums.0, at, out);
        }
    }

    /// How the words of a row are cut into steps of one size.
    struct StepCut {
        groups: usize,
        /// Whether runs are whole steps.
        in_place: bool,
    }

    impl StepCut {
        /// `None` where steps would be too short or too many, or where there are none.
        fn of(walk: &Walk) -> Option<Self> {
            let total = walk.groups();
            if total == 0 {
                return None;
            }
            let (of_run, of_row) = (largest_step(walk.words), largest_step(total));
            let in_place = 2 * of_run > of_row;
            let groups = if in_place { of_run } else { of_row };
            let fits = groups >= LEAST_GROUPS && total / groups <= MAX_STEPS;
            fits.then_some(Self { groups, in_place })
        }

        fn in_place_steps<'s>(&self, walk: &Walk, to: &'s mut [usize]) -> &'s [usize] {
            if !self.in_place {
                return &[];
            }
            let ([nz, ny, nx], [dz, dy, dx]) = (walk.runs, walk.run_steps);
            let runs = (0..nz).flat_map(|z| {
                (0..ny).flat_map(move |y| (0..nx).map(move |x| z * dz + y * dy + x * dx))
            });
            let steps = runs.flat_map(|run| {
                (0..walk.words / self.groups).map(move |i| run + 4 * self.groups * i)
            });
            let mut count = 0;
            for (to, step) in to.iter_mut().zip(steps) {
                (*to, count) = (step, count + 1);
            }
            &to[..count]
        }

        fn laid_steps<'s>(&self, total: usize, to: &'s mut [usize]) -> &'s [usize] {
            let steps = &mut to[..total / self.groups];
            for (i, to) in steps.iter_mut().enumerate() {
                *to = 4 * self.groups * i;
            }
            steps
        }
    }

    /// The largest number of words that a tile's row holds and that divides `words`.
    fn largest_step(words: usize) -> usize {
        (1..=MAX_GROUPS)
            .rev()
            .find(|&g| words.is_multiple_of(g))
            .unwrap_or(1)
    }

    /// Where the rows of a block stand.
    struct Places<'a> {
        walk: &'a Walk,
        rows: usize,
        is_direct: bool,
        in_place: Steps<'a>,
        laid: Steps<'a>,
    }

    impl Places<'_> {
        fn start(&self, row: usize) -> usize {
            let walk = self.walk;
            row / walk.line * walk.line_step + row % walk.line * walk.step
        }

        /// Whether the rows of the block from row `i` on are read where they stand: all of them are there, those of a tile equally far apart.
        fn direct(&self, i: usize) -> bool {
            let walk = self.walk;
            let is_one_line =
                walk.line >= self.rows || walk.line.checked_mul(walk.step) == Some(walk.line_step);
            self.is_direct
                && i + BLOCK <= self.rows
                && !share_a_set(walk.step)
                && (is_one_line
                    || [i, i + TILE]
                        .into_iter()
                        .all(|i| i % walk.line + TILE <= walk.line))
        }

        fn block<'b>(&'b self, units: &'b [u8], i: usize) -> BlockRows<'b> {
            let start = self.start(i);
            BlockRows {
                bytes: &units[start..],
                stride: self.walk.step,
                second: self.start(i + TILE) - start,
                steps: self.in_place,
            }
        }

        /// Lays rows one behind the other.
        fn lay(&self, units: &[u8], rows: std::ops::Range<usize>, to: &mut [u8], stride: usize) {
            let walk = self.walk;
            let ([nz, ny, nx], [dz, dy, dx]) = (walk.runs, walk.run_steps);
            let len = 4 * walk.words;
            for (row, to) in rows.zip(to.chunks_mut(stride)) {
                let start = self.start(row);
                let mut pieces = to.chunks_exact_mut(len.max(1));
                for z in 0..nz {
                    for y in 0..ny {
                        for x in 0..nx {
                            let from = start + z * dz + y * dy + x * dx;
                            if let Some(to) = pieces.next() {
                                copy_short(&units[from..from + len], to);
                            }
                        }
                    }
                }
            }
        }
    }
}
