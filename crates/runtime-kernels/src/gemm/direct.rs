//! The product with packed weights on the right whose left operand is read where it stands.
//!
//! A register tile broadcasts words of `MR` rows straight from memory against a packed panel, so
//! nothing is rearranged for a product that is too small to pay for it. A row need not be
//! contiguous: it is a few runs, the same distances apart for every row ([`Walk`]). That makes a
//! convolution over a channels-last image such a product (the indirect convolution of Dukhan,
//! arXiv:1907.02129, with distances in place of pointers): the taps of one image row are one run.
//!
//! Each element is summed in the order of the reduction, so results do not depend on the tiles.

use std::ops::Range;

use super::arith::Arith;
use super::driver::{Cut, Finish, Part, Pieces};
use super::panel::Packed;
use super::register_tile::{Finishing, lone_row, narrow_tile, wide_tile};
use crate::isa::{Isa, MAX_MR, MAX_NR, RowTile, Simd, SpacedRows, simd_dispatch};
use crate::threads::{Place, product_work};
use crate::{Context, KernelError};

/// Rows that tasks take multiples of: whole register tiles on every instruction set.
pub(crate) const ROW_UNIT: usize = 12;

/// Weights of so many bytes stay in the first cache while rows pass by: all columns of a few rows are computed
/// then before the next ones, so that a line of the result is written in one go.
const SMALL_WEIGHTS: usize = 24 * 1024;
/// Weights of more bytes come from beyond a core's own cache.
pub(crate) const FAR_WEIGHTS: usize = 512 * 1024;
/// How many rows pass by small weights: a multiple of the height of every register tile.
const ROW_CHUNK: usize = 24;

/// Where the rows of a block stand, in units from its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    /// Rows of one line: output pixels of one image row.
    pub(crate) line: usize,
    /// From a row to the next one in its line.
    pub(crate) step: usize,
    /// From a line to the next.
    pub(crate) line_step: usize,
    /// Runs of a row, outermost first, and the distances between them.
    pub(crate) runs: [usize; 3],
    pub(crate) run_steps: [usize; 3],
    /// Words of a run.
    pub(crate) words: usize,
}

impl Walk {
    /// Contiguous rows `step` units apart.
    pub(crate) fn rows(step: usize, words: usize) -> Self {
        Self {
            line: usize::MAX,
            step,
            line_step: 0,
            runs: [1; 3],
            run_steps: [0; 3],
            words,
        }
    }

    pub(super) fn groups(&self) -> usize {
        self.runs.iter().product::<usize>() * self.words
    }

    /// `rows` rows of `units`, a word of which has so many.
    ///
    /// # Panics
    /// Where they do not lie there.
    #[inline(always)]
    pub(crate) fn of<'u, A: Arith>(
        &self,
        units: &'u [A::Unit],
        rows: usize,
    ) -> SpacedRows<'u, A::Unit> {
        let runs = self.runs.iter().zip(self.run_steps);
        let reach = match self.runs.contains(&0) {
            true => 0,
            false => runs.map(|(n, d)| (n - 1) * d).sum::<usize>() + self.words * A::UNITS,
        };
        SpacedRows::new(units, (self.line, self.step, self.line_step), rows, reach)
    }
}

/// A left operand, handed out block by block.
pub(crate) trait Source<A: Arith>: Sync {
    /// Where the block that starts at `row` ends, at most `end`.
    fn block_end(&self, row: usize, end: usize) -> usize;

    /// Units of scratch memory that a block needs.
    fn scratch_units(&self) -> usize;

    /// The rows of a block as group `group` of the weights reads them.
    fn block<'b>(
        &'b self,
        isa: Isa,
        rows: Range<usize>,
        group: usize,
        scratch: &'b mut [A::Unit],
    ) -> (&'b [A::Unit], Walk);
}

/// `out = finish(source * weights)`.
pub(crate) struct DirectProduct<'a, A: Arith, F> {
    pub(crate) rows: usize,
    /// Tasks take whole multiples of so many rows.
    pub(crate) row_unit: usize,
    /// Groups of columns, each with a packed matrix of its own.
    pub(crate) groups: usize,
    pub(crate) weights: &'a (dyn Fn(usize) -> &'a Packed<A::Weight> + Sync),
    pub(crate) source: &'a dyn Source<A>,
    pub(crate) finish: &'a F,
}

/// Refuses weights of panels of another width than those of an instruction set.
pub(crate) fn check_width(isa: Isa, packed: usize) -> Result<(), KernelError> {
    let needed = isa.tile().nr;
    match packed == needed {
        true => Ok(()),
        false => Err(KernelError::PackedFor {
            operand: "right operand",
            packed,
            isa: isa.name(),
            needed,
        }),
    }
}

/// How a product is cut into tasks.
struct Cuts {
    tasks: usize,
    by_cols: bool,
}

impl<'a, A: Arith, F: Finish<A>> DirectProduct<'a, A, F> {
    /// Refuses weights that were packed for another instruction set.
    pub(crate) fn check(&self, isa: Isa) -> Result<(), KernelError> {
        (0..self.groups).try_for_each(|group| check_width(isa, (self.weights)(group).width()))
    }

    fn cuts(&self, ctx: &Context) -> Cuts {
        if ctx.parallelism.threads() == 1 || self.groups == 0 {
            return Cuts {
                tasks: 1,
                by_cols: false,
            };
        }
        let weights = (self.weights)(0);
        let cols = weights.lines().saturating_mul(self.groups);
        let work = product_work(self.rows, weights.groups(), cols);
        let row_units = self.rows.div_ceil(self.row_unit);
        let by_cols = self.groups == 1 && row_units < 2 * ctx.parallelism.threads();
        let limit = if by_cols {
            weights.lines().div_ceil(ctx.isa.tile().nr)
        } else {
            row_units
        };
        Cuts {
            tasks: ctx.parallelism.tasks(work, limit),
            by_cols,
        }
    }

    /// Units of scratch memory that [`DirectProduct::run`] needs.
    pub(crate) fn scratch_units(&self, ctx: &Context) -> usize {
        let cuts = self.cuts(ctx);
        cuts.tasks * self.task_units(ctx.isa, &cuts)
    }

    /// The same of one task.
    fn task_units(&self, isa: Isa, cuts: &Cuts) -> usize {
        let groups = match self.groups {
            0 => 0,
            _ => (self.weights)(0).groups(),
        };
        let rows = match cuts.by_cols {
            true => self.rows,
            false => self
                .rows
                .min(self.rows.div_ceil(self.row_unit).div_ceil(cuts.tasks) * self.row_unit),
        };
        self.source.scratch_units() + A::sweep_units(isa, rows, groups)
    }

    /// Computes the product into `out`: `rows` by all columns of all groups.
    pub(crate) fn run(&self, ctx: &Context, out: F::Out<'_>, scratch: &mut [A::Unit]) {
        let cuts = self.cuts(ctx);
        let Cuts { tasks, by_cols } = cuts;
        if tasks == 1 {
            return self.task(ctx.isa, 0, 0, out, scratch);
        }
        let (extent, unit) = if by_cols {
            (out.cols(), ctx.isa.tile().nr)
        } else {
            (out.rows(), self.row_unit)
        };
        let step = extent.div_ceil(unit).div_ceil(tasks).max(1) * unit;
        let own = self.task_units(ctx.isa, &cuts);
        let cut = if by_cols {
            Cut::split_cols
        } else {
            Cut::split_rows
        };
        let parts = Pieces::new(out, extent, step, cut, scratch, own);
        ctx.parallelism.for_each(tasks, parts, |(from, part, own)| {
            let (row, col) = if by_cols { (0, from) } else { (from, 0) };
            self.task(ctx.isa, row, col, part, own);
        });
    }

    /// The part of the result that starts at (`row`, `col`).
    fn task(&self, isa: Isa, row: usize, col: usize, mut out: F::Out<'_>, scratch: &mut [A::Unit]) {
        let end = row + out.rows();
        let (scratch, of_sweep) = scratch.split_at_mut(self.source.scratch_units());
        let mut from = row;
        while from < end {
            let to = self.source.block_end(from, end);
            for group in 0..self.groups {
                let weights = (self.weights)(group);
                let cols = if self.groups == 1 {
                    out.cols()
                } else {
                    weights.lines()
                };
                let (units, walk) = self.source.block(isa, from..to, group, scratch);
                let block = Block {
                    units,
                    walk,
                    weights,
                    lone: self.rows == 1 && walk.runs == [1; 3],
                    row: from,
                    first_row: row,
                    rows: to - from,
                    first_col: col,
                    cols,
                    base: group * weights.lines(),
                };
                A::sweep(isa, &block, self.finish, &mut out, of_sweep);
            }
            from = to;
        }
    }
}

/// One block of rows against the columns of one group.
pub(crate) struct Block<'a, A: Arith> {
    pub(super) units: &'a [A::Unit],
    pub(super) walk: Walk,
    pub(super) weights: &'a Packed<A::Weight>,
    /// The product has this row only.
    pub(super) lone: bool,
    /// The first row in the product, and that of the result's piece.
    pub(super) row: usize,
    pub(super) first_row: usize,
    pub(super) rows: usize,
    /// The first column in the group's weights: where the result's piece starts.
    pub(super) first_col: usize,
    pub(super) cols: usize,
    /// The group's first column in the product.
    pub(super) base: usize,
}

simd_dispatch! {
    /// Multiplies one block.
    pub(super) fn sweep[A: Arith, F: Finish<A>](
        s: S,
        block: &Block<'_, A>,
        finish: &F,
        out: &mut F::Out<'_>,
    ) {
        sweep_with(s, block, finish, out);
    }
}

/// [`sweep`], of an instruction set and what a CPU has beyond it.
#[inline(always)]
pub(super) fn sweep_with<S: Simd, A: Arith, F: Finish<A>>(
    s: S,
    block: &Block<'_, A>,
    finish: &F,
    out: &mut F::Out<'_>,
) {
    let nr = 2 * S::LANES;
    let mut tile = [A::Word::default(); MAX_MR * MAX_NR];
    let rows = block.walk.of::<A>(block.units, block.rows);
    if size_of::<A::Weight>() * block.weights.words() > SMALL_WEIGHTS || block.lone {
        for j in (0..block.cols).step_by(nr) {
            let height = height::<S>(block.cols - j);
            let mut tiles = rows.tiles();
            let mut parts = block.parts_behind(j, nr, height);
            for i in (0..block.rows).step_by(height) {
                let live = height.min(block.rows - i);
                let of_rows = tiles.next(live, height);
                let at = (i, live, j);
                let ahead = parts.next().unwrap_or_default();
                one_tile::<S, A, F>(s, block, finish, at, (&of_rows, ahead), &mut tile, out);
            }
        }
        return;
    }
    let wide = block.cols - block.cols % nr;
    let wide = if block.cols - wide > S::LANES {
        block.cols
    } else {
        wide
    };
    // Tiles go on from chunk to chunk.
    const { assert!(ROW_CHUNK.is_multiple_of(S::MR) && ROW_CHUNK.is_multiple_of(S::MR_NARROW)) };
    let mut panels = [
        (0..wide, S::MR, rows.tiles()),
        (wide..block.cols, S::MR_NARROW, rows.tiles()),
    ];
    for first in (0..block.rows).step_by(ROW_CHUNK) {
        let end = block.rows.min(first + ROW_CHUNK);
        for (cols, height, tiles) in panels.iter_mut().filter(|(cols, ..)| !cols.is_empty()) {
            for i in (first..end).step_by(*height) {
                let live = (end - i).min(*height);
                let of_rows = tiles.next(live, *height);
                for j in cols.clone().step_by(nr) {
                    let at = (i, live, j);
                    one_tile::<S, A, F>(s, block, finish, at, (&of_rows, &[]), &mut tile, out);
                }
            }
        }
    }
}

impl<'a, A: Arith> Block<'a, A> {
    /// The panel behind the one of column `j`, in parts that the tiles of that one, so many rows high, are to ask for: it comes from afar
    /// while they compute. A single tile leaves no time for it.
    #[inline(always)]
    fn parts_behind(
        &self,
        j: usize,
        nr: usize,
        height: usize,
    ) -> std::slice::Chunks<'a, A::Weight> {
        let tiles = self.rows.div_ceil(height);
        let next = j + nr;
        let is_far = size_of::<A::Weight>() * self.weights.words() > FAR_WEIGHTS;
        let panel = match is_far && next < self.cols && tiles > 1 {
            true => (self.weights).panel((self.first_col + next) / nr, 0..self.walk.groups()),
            false => &[],
        };
        panel.chunks(panel.len().div_ceil(tiles).max(1))
    }
}

/// Rows of a tile where so many columns are left.
#[inline(always)]
fn height<S: Simd>(cols: usize) -> usize {
    if cols <= S::LANES {
        S::MR_NARROW
    } else {
        S::MR
    }
}

/// Computes the tile of `live` rows from row `i` and of a panel of columns from column `j` on.
#[inline(always)]
fn one_tile<S: Simd, A: Arith, F: Finish<A>>(
    s: S,
    block: &Block<'_, A>,
    finish: &F,
    (i, live, j): (usize, usize, usize),
    (rows, ahead): (&RowTile<'_, A::Unit>, &[A::Weight]),
    tile: &mut [A::Word; MAX_MR * MAX_NR],
    out: &mut F::Out<'_>,
) {
    let nr = 2 * S::LANES;
    let panel = block
        .weights
        .panel((block.first_col + j) / nr, 0..block.walk.groups());
    let place = Place {
        row: block.row - block.first_row + i,
        col: block.base + j,
        rows: live,
        cols: nr.min(block.cols - j),
    };
    let (row, col) = (block.row + i, block.base + block.first_col + j);
    let mut taken = false;
    if block.lone {
        lone_row::<S, A>(s, &block.walk, block.units, panel, tile);
    } else {
        let to = Finishing {
            finish,
            row,
            col,
            place,
            out: &mut *out,
            tile: &mut *tile,
            taken: &mut taken,
        };
        if place.cols <= S::LANES {
            narrow_tile::<S, A>(s, live, &block.walk, rows, (panel, ahead), to);
        } else {
            wide_tile::<S, A>(s, live, &block.walk, rows, (panel, ahead), to);
        }
    }
    if !taken {
        finish.tile(s, Part::WHOLE, row, col, tile, place, out);
    }
}
