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
use crate::isa::{Isa, MAX_MR, MAX_NR, RowTile, Simd, SpacedRows, simd_dispatch};
use crate::threads::{Place, product_work};
use crate::{Context, KernelError};

/// Rows that tasks take multiples of: whole register tiles on every instruction set.
pub(crate) const ROW_UNIT: usize = 12;

/// Weights of so many bytes stay in the first cache while rows pass by: all columns of a few rows are computed
/// then before the next ones, so that a line of the result is written in one go.
const SMALL_WEIGHTS: usize = 24 * 1024;
/// How many rows that are: a multiple of the height of every register tile.
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
        self.cuts(ctx).tasks * self.task_units(ctx.isa)
    }

    /// The same of one task.
    fn task_units(&self, isa: Isa) -> usize {
        let groups = match self.groups {
            0 => 0,
            _ => (self.weights)(0).groups(),
        };
        self.source.scratch_units() + A::sweep_units(isa, self.rows, groups)
    }

    /// Computes the product into `out`: `rows` by all columns of all groups.
    pub(crate) fn run(&self, ctx: &Context, out: F::Out<'_>, scratch: &mut [A::Unit]) {
        let Cuts { tasks, by_cols } = self.cuts(ctx);
        if tasks == 1 {
            return self.task(ctx.isa, 0, 0, out, scratch);
        }
        let (extent, unit) = if by_cols {
            (out.cols(), ctx.isa.tile().nr)
        } else {
            (out.rows(), self.row_unit)
        };
        let step = extent.div_ceil(unit).div_ceil(tasks).max(1) * unit;
        let own = self.task_units(ctx.isa);
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
                one_tile::<S, A, F>(s, block, finish, at, &of_rows, ahead, &mut tile, out);
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
                    one_tile::<S, A, F>(s, block, finish, at, &of_rows, &[], &mut tile, out);
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
        let panel = match next < self.cols && tiles > 1 {
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
    rows: &RowTile<'_, A::Unit>,
    ahead: &[A::Weight],
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

/// What becomes of the sums of a register tile.
pub(crate) trait Sink<A: Arith> {
    fn take<S: Simd, const R: usize, const V: usize>(self, s: S, sums: &[[A::Vector<S>; V]; R]);
}

/// Stores rows so many words apart.
impl<A: Arith> Sink<A> for (&mut [A::Word], usize) {
    #[inline(always)]
    fn take<S: Simd, const R: usize, const V: usize>(self, s: S, sums: &[[A::Vector<S>; V]; R]) {
        let (tile, stride) = self;
        for r in 0..R {
            for v in 0..V {
                A::store(s, sums[r][v], &mut tile[r * stride + v * S::LANES..]);
            }
        }
    }
}

/// Hands sums to an epilogue as they stand in the registers, or stores them for it in rows of two vectors.
pub(crate) struct Finishing<'f, 'o, A: Arith, F: Finish<A>> {
    pub(crate) finish: &'f F,
    /// The first row and column in the product.
    pub(crate) row: usize,
    pub(crate) col: usize,
    pub(crate) place: Place,
    pub(crate) out: &'f mut F::Out<'o>,
    pub(crate) tile: &'f mut [A::Word],
    /// Whether the epilogue took them.
    pub(crate) taken: &'f mut bool,
}

impl<A: Arith, F: Finish<A>> Sink<A> for Finishing<'_, '_, A, F> {
    #[inline(always)]
    fn take<S: Simd, const R: usize, const V: usize>(self, s: S, sums: &[[A::Vector<S>; V]; R]) {
        let from = (self.row, self.col);
        *self.taken = self.finish.registers(s, from, sums, self.place, self.out);
        if !*self.taken {
            Sink::<A>::take((self.tile, 2 * S::LANES), s, sums);
        }
    }
}

/// The sums of `live` rows, or a few more, and two vectors of columns. Of the panels, the second is asked for only, on the way.
#[inline(always)]
pub(crate) fn wide_tile<S: Simd, A: Arith>(
    s: S,
    live: usize,
    walk: &Walk,
    rows: &RowTile<'_, A::Unit>,
    panels: (&[A::Weight], &[A::Weight]),
    to: impl Sink<A>,
) {
    match live {
        1 => tile_of::<S, A, 1, 2>(s, walk, rows, panels, to),
        2 => tile_of::<S, A, 2, 2>(s, walk, rows, panels, to),
        3..=4 => tile_of::<S, A, 4, 2>(s, walk, rows, panels, to),
        5..=6 => tile_of::<S, A, 6, 2>(s, walk, rows, panels, to),
        7..=8 => tile_of::<S, A, 8, 2>(s, walk, rows, panels, to),
        _ => tile_of::<S, A, 12, 2>(s, walk, rows, panels, to),
    }
}

/// As [`wide_tile`], of one vector of columns.
#[inline(always)]
pub(crate) fn narrow_tile<S: Simd, A: Arith>(
    s: S,
    live: usize,
    walk: &Walk,
    rows: &RowTile<'_, A::Unit>,
    panels: (&[A::Weight], &[A::Weight]),
    to: impl Sink<A>,
) {
    match live {
        1..=4 => tile_of::<S, A, 4, 1>(s, walk, rows, panels, to),
        5..=8 => tile_of::<S, A, 8, 1>(s, walk, rows, panels, to),
        _ => tile_of::<S, A, 12, 1>(s, walk, rows, panels, to),
    }
}

/// Words of a panel by which prefetches run ahead of the products, and bytes of a cache line.
///
/// The weights of a model outgrow a core's own cache, and the hardware's prefetcher stops at the
/// end of a page, so a panel that is read the first time would stall every few dozen steps.
const AHEAD: usize = 1536;
const LINE_BYTES: usize = 64;

/// Asks for what the next steps read; near a panel's end that is the next panel's start.
#[inline(always)]
fn prefetch_panel<S: Simd, A: Arith>(s: S, panel: &[A::Weight], words: usize) {
    for line in (0..words).step_by(LINE_BYTES / size_of::<A::Weight>()) {
        s.prefetch(panel, AHEAD + line);
    }
}

/// What a tile asks for, a few cache lines in every two steps.
struct Ahead<'a, W> {
    of: &'a [W],
    at: usize,
    /// Words from one time to the next.
    step: usize,
}

impl<'a, W> Ahead<'a, W> {
    #[inline(always)]
    fn new(of: &'a [W], walk: &Walk) -> Self {
        let line = LINE_BYTES / size_of::<W>();
        let times = (walk.groups() / 2).max(1);
        let step = of.len().div_ceil(times).next_multiple_of(line);
        Self { of, at: 0, step }
    }

    #[inline(always)]
    fn ask<S: Simd>(&mut self, s: S) {
        let line = LINE_BYTES / size_of::<W>();
        if self.step > 0 {
            s.prefetch(self.of, self.at);
            if self.step > line {
                s.prefetch(self.of, self.at + line);
            }
            self.at += self.step;
        }
    }
}

/// A register tile of `R` rows and `V` vectors.
#[inline(always)]
fn tile_of<S: Simd, A: Arith, const R: usize, const V: usize>(
    s: S,
    walk: &Walk,
    rows: &RowTile<'_, A::Unit>,
    panels: (&[A::Weight], &[A::Weight]),
    to: impl Sink<A>,
) {
    if R > (if V == 1 { S::MR_NARROW } else { S::MR }) {
        return;
    }
    let nr = 2 * S::LANES;
    let mut acc = [[A::splat(s, A::Word::default()); V]; R];
    let (mut panel, ahead) = panels;
    let mut ahead = Ahead::new(ahead, walk);
    let ([nz, ny, nx], [dz, dy, dx]) = (walk.runs, walk.run_steps);
    if nz * ny * nx == 0 {
        return to.take(s, &acc);
    }
    let (mut y, mut x, mut run) = (0, 0, 0usize);
    for _ in 0..nz * ny * nx {
        let (weights, rest) = panel.split_at(walk.words * nr);
        panel = rest;
        let mut place = run;
        // Two steps at a time: the loop's own instructions take issue slots from the products.
        let pairs = weights.chunks_exact(2 * nr);
        let last = pairs.remainder();
        for b in pairs {
            let columns = rows.columns(place, 2 * A::UNITS);
            place += 2 * A::UNITS;
            ahead.ask::<S>(s);
            for i in 0..2 {
                let b = &b[i * nr..];
                prefetch_panel::<S, A>(s, b, V * S::LANES);
                let b = load_vectors::<S, A, V>(s, b);
                for (r, acc) in acc.iter_mut().enumerate() {
                    let cell = A::cells(columns.row(r), 2)[i];
                    mac_row::<S, A, V>(s, acc, cell, &b);
                }
            }
        }
        if !last.is_empty() {
            let columns = rows.columns(place, A::UNITS);
            let b = load_vectors::<S, A, V>(s, last);
            for (r, acc) in acc.iter_mut().enumerate() {
                mac_row::<S, A, V>(s, acc, A::cells(columns.row(r), 1)[0], &b);
            }
        }
        // From the end of a row of runs to the start of the next, and so with the planes.
        (x, run) = (x + 1, run + dx);
        if x == nx {
            (x, y, run) = (0, y + 1, run - nx * dx + dy);
            if y == ny {
                (y, run) = (0, run - ny * dy + dz);
            }
        }
    }
    to.take(s, &acc);
}

/// `V` vectors of a step's weights.
#[inline(always)]
fn load_vectors<S: Simd, A: Arith, const V: usize>(s: S, from: &[A::Weight]) -> [A::Vector<S>; V] {
    let mut vectors = [A::splat(s, A::Word::default()); V];
    for v in 0..V {
        vectors[v] = A::load_weights(s, &from[v * S::LANES..]);
    }
    vectors
}

/// Adds a word of a row times a step's weights to the row's sums.
#[inline(always)]
fn mac_row<S: Simd, A: Arith, const V: usize>(
    s: S,
    acc: &mut [A::Vector<S>; V],
    cell: A::Cell,
    weights: &[A::Vector<S>; V],
) {
    let x = A::broadcast(s, cell);
    for v in 0..V {
        acc[v] = A::mac(s, acc[v], x, weights[v]);
    }
}

/// A product of one contiguous row: four steps at a time, which keeps enough sums in flight to
/// wait for memory only.
#[inline(always)]
fn lone_row<S: Simd, A: Arith>(
    s: S,
    walk: &Walk,
    units: &[A::Unit],
    panel: &[A::Weight],
    tile: &mut [A::Word],
) {
    const STEPS: usize = 4;
    let nr = 2 * S::LANES;
    let row = A::cells(units, walk.words);
    let mut acc = [[A::splat(s, A::Word::default()); 2]; STEPS];
    let (fours, rest) = row.as_chunks::<STEPS>();
    let (whole, tail) = panel.split_at(fours.len() * STEPS * nr);
    for (cells, b) in fours.iter().zip(whole.chunks_exact(STEPS * nr)) {
        prefetch_panel::<S, A>(s, b, STEPS * nr);
        for i in 0..STEPS {
            let x = A::broadcast(s, cells[i]);
            for v in 0..2 {
                let w = A::load_weights(s, &b[i * nr + v * S::LANES..]);
                acc[i][v] = A::mac(s, acc[i][v], x, w);
            }
        }
    }
    for (&cell, b) in rest.iter().zip(tail.chunks_exact(nr)) {
        let x = A::broadcast(s, cell);
        for v in 0..2 {
            acc[0][v] = A::mac(s, acc[0][v], x, A::load_weights(s, &b[v * S::LANES..]));
        }
    }
    for v in 0..2 {
        let sum = A::add(
            s,
            A::add(s, acc[0][v], acc[1][v]),
            A::add(s, acc[2][v], acc[3][v]),
        );
        A::store(s, sum, &mut tile[v * S::LANES..]);
    }
}
