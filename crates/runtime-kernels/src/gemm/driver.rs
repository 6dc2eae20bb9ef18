//! The blocked matrix product, once for all arithmetics (Goto & van de Geijn, "Anatomy of
//! High-Performance Matrix Multiplication", 2008).
//!
//! ```text
//! for a block of columns (NC), for a block of the reduction (KC): pack the right operand
//!   for a block of rows (MC): pack the left operand
//!     for a panel of columns (NR), for a panel of rows (MR): register tile, then finish
//! ```
//! Prepacked operands skip their packing. Tasks take whole panels, and each element is summed in
//! an order fixed by the shape alone.

use std::ops::Range;

use bytemuck::Pod;

use super::arith::Arith;
use super::panel::{Packed, PanelSource};
use crate::isa::{Isa, MAX_MR, MAX_NR, Simd, simd_dispatch};
use crate::threads::{Place, TileMut, product_work};
use crate::{Context, KernelError};

/// A left or right operand.
pub(crate) enum Operand<'a, W> {
    Packed(&'a Packed<W>),
    Source(&'a dyn PanelSource<W>),
}

impl<W> Clone for Operand<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<W> Copy for Operand<'_, W> {}

/// A result that tasks can cut into disjoint pieces.
pub(crate) trait Cut: Send + Sized {
    fn rows(&self) -> usize;
    fn cols(&self) -> usize;
    /// The rows before `at` and those from `at` on.
    fn split_rows(self, at: usize) -> (Self, Self);
    /// The columns before `at` and those from `at` on.
    fn split_cols(self, at: usize) -> (Self, Self);
}

impl Cut for TileMut<'_, f32> {
    fn rows(&self) -> usize {
        self.rows()
    }
    fn cols(&self) -> usize {
        self.cols()
    }
    fn split_rows(self, at: usize) -> (Self, Self) {
        self.split_rows(at)
    }
    fn split_cols(self, at: usize) -> (Self, Self) {
        self.split_cols(at)
    }
}

/// The pieces of a result, each with where it starts and scratch memory of its own.
pub(crate) struct Pieces<'s, O, W> {
    rest: Option<O>,
    range: std::iter::StepBy<Range<usize>>,
    step: usize,
    cut: fn(O, usize) -> (O, O),
    scratch: &'s mut [W],
    per_piece: usize,
}

/// Cuts a result of which pieces are so many elements, for [`Pieces`].
pub(crate) fn cut_elements<T>(out: &mut [T], at: usize) -> (&mut [T], &mut [T]) {
    out.split_at_mut(at.min(out.len()))
}

impl<'s, O, W> Pieces<'s, O, W> {
    /// The first `extent` rows or columns of `out` in pieces of `step`; `cut` is [`Cut::split_rows`] or
    /// [`Cut::split_cols`]. Each piece gets `per_piece` elements of `scratch`, as far as they go.
    pub(crate) fn new(
        out: O,
        extent: usize,
        step: usize,
        cut: fn(O, usize) -> (O, O),
        scratch: &'s mut [W],
        per_piece: usize,
    ) -> Self {
        Self {
            rest: Some(out),
            range: (0..extent).step_by(step.max(1)),
            step,
            cut,
            scratch,
            per_piece,
        }
    }
}

impl<'s, O, W> Iterator for Pieces<'s, O, W> {
    type Item = (usize, O, &'s mut [W]);

    fn next(&mut self) -> Option<Self::Item> {
        let from = self.range.next()?;
        let (piece, rest) = (self.cut)(self.rest.take()?, self.step);
        self.rest = Some(rest);
        let scratch = std::mem::take(&mut self.scratch);
        let (own, others) = scratch.split_at_mut(self.per_piece.min(scratch.len()));
        self.scratch = others;
        Some((from, piece, own))
    }
}

/// What becomes of a register tile.
pub(crate) trait Finish<A: Arith>: Sync {
    /// The result.
    type Out<'o>: Cut;
    /// Steps of the reduction per block; `usize::MAX` where the result cannot hold partial sums.
    const K_BLOCK: usize;

    /// Takes the accumulators of the tile that starts at (`row`, `col`) of the product and stands
    /// at `at` in `out`. `acc` holds rows of two vectors.
    #[expect(
        clippy::too_many_arguments,
        reason = "the facts of one tile, built in the innermost loops"
    )]
    fn tile<S: Simd>(
        &self,
        s: S,
        part: Part,
        row: usize,
        col: usize,
        acc: &[A::Word],
        at: Place,
        out: &mut Self::Out<'_>,
    );

    /// Takes the sums of a whole tile out of the registers, of the whole reduction, where that is simple; tells whether
    /// it was. They need not be stored for [`Finish::tile`] then.
    #[inline(always)]
    fn registers<S: Simd, const R: usize, const V: usize>(
        &self,
        s: S,
        (row, col): (usize, usize),
        sums: &[[A::Vector<S>; V]; R],
        at: Place,
        out: &mut Self::Out<'_>,
    ) -> bool {
        let _ = (s, row, col, sums, at, out);
        false
    }
}

/// Which part of the reduction the accumulators hold.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) first: bool,
    pub(crate) last: bool,
}

/// `out = finish(lhs * rhs)`.
pub(crate) struct Product<'a, A: Arith, F> {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// Steps of the reduction, in words.
    pub(crate) groups: usize,
    pub(crate) lhs: Operand<'a, A::Word>,
    pub(crate) rhs: Operand<'a, A::Word>,
    pub(crate) finish: &'a F,
}

/// Words of a packed block of the left operand: most of a core's own cache.
const LHS_BLOCK_WORDS: usize = 32 * 1024;
/// Words of a packed block of the right operand: a share of the last cache.
const RHS_BLOCK_WORDS: usize = 192 * 1024;

/// Block sizes, and the words of scratch memory that one task needs.
#[derive(Clone, Copy)]
struct Blocking {
    k: usize,
    rows: usize,
    cols: usize,
    lhs_words: usize,
    rhs_words: usize,
}

impl Part {
    /// All of it.
    pub(crate) const WHOLE: Self = Self {
        first: true,
        last: true,
    };
}

impl<A: Arith, F: Finish<A>> Product<'_, A, F> {
    fn blocking(&self, isa: Isa) -> Blocking {
        let tile = isa.tile();
        let k = self.groups.min(F::K_BLOCK).max(1);
        let whole = |extent: usize, unit: usize| extent.div_ceil(unit) * unit;
        let fit = |words: usize, unit: usize| (words / k / unit).max(1) * unit;
        let rows = fit(LHS_BLOCK_WORDS, tile.mr).min(whole(self.rows, tile.mr));
        let cols = fit(RHS_BLOCK_WORDS, tile.nr).min(whole(self.cols, tile.nr));
        let words = |operand: &Operand<'_, A::Word>, lines: usize| match operand {
            Operand::Packed(_) => 0,
            Operand::Source(_) => lines * k,
        };
        Blocking {
            k,
            rows,
            cols,
            lhs_words: words(&self.lhs, rows),
            rhs_words: words(&self.rhs, cols),
        }
    }

    /// Tasks, and whether they share out the columns (else the rows).
    fn tasks(&self, ctx: &Context) -> (usize, bool) {
        let tile = ctx.isa.tile();
        let (row_tiles, col_tiles) = (self.rows.div_ceil(tile.mr), self.cols.div_ceil(tile.nr));
        let work = product_work(self.rows, self.groups, self.cols);
        let by_cols = match (&self.lhs, &self.rhs) {
            // The operand that is packed on the way is best packed once.
            (Operand::Packed(_), Operand::Source(_)) => col_tiles >= ctx.parallelism.threads(),
            (Operand::Source(_), Operand::Packed(_)) => row_tiles < ctx.parallelism.threads(),
            _ => col_tiles >= row_tiles,
        };
        (
            ctx.parallelism
                .tasks(work, if by_cols { col_tiles } else { row_tiles }),
            by_cols,
        )
    }

    /// Words of scratch memory that [`Product::run`] needs.
    pub(crate) fn scratch_words(&self, ctx: &Context) -> usize {
        let b = self.blocking(ctx.isa);
        self.tasks(ctx).0 * (b.lhs_words + b.rhs_words)
    }

    /// Computes the product into `out`, a tile of `rows x cols`.
    pub(crate) fn run(
        &self,
        ctx: &Context,
        out: F::Out<'_>,
        scratch: &mut [A::Word],
    ) -> Result<(), KernelError> {
        let tile = ctx.isa.tile();
        self.check_packed(&self.lhs, "left operand", tile.mr, ctx.isa)?;
        self.check_packed(&self.rhs, "right operand", tile.nr, ctx.isa)?;
        if self.rows == 0 || self.cols == 0 {
            return Ok(());
        }
        let blocking = self.blocking(ctx.isa);
        let per_task = blocking.lhs_words + blocking.rhs_words;
        let (tasks, by_cols) = self.tasks(ctx);
        let (extent, unit) = if by_cols {
            (self.cols, tile.nr)
        } else {
            (self.rows, tile.mr)
        };
        if tasks == 1 {
            run_task(ctx.isa, self, blocking, 0, 0, out, scratch);
            return Ok(());
        }
        let step = extent.div_ceil(unit).div_ceil(tasks).max(1) * unit;
        let cut = if by_cols {
            Cut::split_cols
        } else {
            Cut::split_rows
        };
        let parts = Pieces::new(out, extent, step, cut, scratch, per_task);
        ctx.parallelism.for_each(tasks, parts, |(from, part, own)| {
            let (row, col) = if by_cols { (0, from) } else { (from, 0) };
            run_task(ctx.isa, self, blocking, row, col, part, own);
        });
        Ok(())
    }

    fn check_packed(
        &self,
        operand: &Operand<'_, A::Word>,
        name: &'static str,
        needed: usize,
        isa: Isa,
    ) -> Result<(), KernelError> {
        match operand {
            Operand::Packed(p) if p.width() != needed => Err(KernelError::PackedFor {
                operand: name,
                packed: p.width(),
                isa: isa.name(),
                needed,
            }),
            _ => Ok(()),
        }
    }
}

simd_dispatch! {
    /// One task: the tile `out`, which starts at (`row`, `col`) of the result.
    fn run_task[A: Arith, F: Finish<A>](
        s: S,
        product: &Product<'_, A, F>,
        blocking: Blocking,
        row: usize,
        col: usize,
        out: F::Out<'_>,
        scratch: &mut [A::Word],
    ) {
        let mut out = out;
        let nr = 2 * S::LANES;
        let (lhs_block, rhs_block) = scratch.split_at_mut(blocking.lhs_words);
        let (rows, cols) = (out.rows(), out.cols());
        let mut tile = [A::Word::default(); MAX_MR * MAX_NR];
        for jc in (0..cols).step_by(blocking.cols) {
            let block_cols = blocking.cols.min(cols - jc);
            let mut k = 0;
            loop {
                let groups = k..product.groups.min(k + blocking.k);
                let part = Part { first: k == 0, last: groups.end == product.groups };
                pack_block(product.rhs, col + jc, block_cols, groups.clone(), nr, rhs_block);
                for ic in (0..rows).step_by(blocking.rows) {
                    let block_rows = blocking.rows.min(rows - ic);
                    pack_block(product.lhs, row + ic, block_rows, groups.clone(), S::MR, lhs_block);
                    for jr in (0..block_cols).step_by(nr) {
                        let b = panel(product.rhs, col + jc, jr, groups.clone(), nr, rhs_block);
                        let live_cols = nr.min(block_cols - jr);
                        for ir in (0..block_rows).step_by(S::MR) {
                            let a = panel(product.lhs, row + ic, ir, groups.clone(), S::MR, lhs_block);
                            let live_rows = S::MR.min(block_rows - ir);
                            register_tile::<S, A>(s, live_rows, a, b, &mut tile);
                            let at = Place { row: ic + ir, col: jc + jr, rows: live_rows, cols: live_cols };
                            product.finish.tile(s, part, row + at.row, col + at.col, &tile, at, &mut out);
                        }
                    }
                }
                k = groups.end;
                if part.last {
                    break;
                }
            }
        }
    }
}

/// Packs the block of an operand that is not packed yet.
#[inline(always)]
fn pack_block<W: Copy>(
    operand: Operand<'_, W>,
    line: usize,
    lines: usize,
    groups: Range<usize>,
    width: usize,
    block: &mut [W],
) {
    if groups.is_empty() {
        return;
    }
    if let Operand::Source(source) = operand {
        let words = width * groups.len();
        for (p, l) in (0..lines).step_by(width).enumerate() {
            let panel = &mut block[p * words..(p + 1) * words];
            source.pack(
                line + l..line + lines.min(l + width),
                groups.clone(),
                width,
                panel,
            );
        }
    }
}

/// The panel that starts at line `base + from`, from the block or from the packed operand.
#[inline(always)]
fn panel<'a, W: Pod>(
    operand: Operand<'a, W>,
    base: usize,
    from: usize,
    groups: Range<usize>,
    width: usize,
    block: &'a [W],
) -> &'a [W] {
    match operand {
        Operand::Packed(packed) => packed.panel((base + from) / width, groups),
        Operand::Source(_) => {
            let words = width * groups.len();
            &block[from / width * words..(from / width + 1) * words]
        }
    }
}

/// Multiplies two panels; only the first `live` rows of the tile are wanted.
#[inline(always)]
fn register_tile<S: Simd, A: Arith>(
    s: S,
    live: usize,
    a: &[A::Word],
    b: &[A::Word],
    tile: &mut [A::Word],
) {
    match live {
        1 => tile_of_rows::<S, A, 1>(s, a, b, tile),
        2 => tile_of_rows::<S, A, 2>(s, a, b, tile),
        3..=4 => tile_of_rows::<S, A, 4>(s, a, b, tile),
        5..=6 => tile_of_rows::<S, A, 6>(s, a, b, tile),
        7..=8 => tile_of_rows::<S, A, 8>(s, a, b, tile),
        _ => tile_of_rows::<S, A, 12>(s, a, b, tile),
    }
}

/// The register tile of `R` rows and two vectors of columns.
#[inline(always)]
fn tile_of_rows<S: Simd, A: Arith, const R: usize>(
    s: S,
    a: &[A::Word],
    b: &[A::Word],
    tile: &mut [A::Word],
) {
    if R > S::MR {
        return;
    }
    let mut acc = [[A::splat(s, A::Word::default()); 2]; R];
    for (a, b) in a.chunks_exact(S::MR).zip(b.chunks_exact(2 * S::LANES)) {
        let b0 = A::load(s, &b[..S::LANES]);
        let b1 = A::load(s, &b[S::LANES..]);
        for r in 0..R {
            let x = A::splat(s, a[r]);
            acc[r][0] = A::mac(s, acc[r][0], x, b0);
            acc[r][1] = A::mac(s, acc[r][1], x, b1);
        }
    }
    for (acc, tile) in acc.iter().zip(tile.chunks_exact_mut(2 * S::LANES)) {
        A::store(s, acc[0], &mut tile[..S::LANES]);
        A::store(s, acc[1], &mut tile[S::LANES..]);
    }
}
