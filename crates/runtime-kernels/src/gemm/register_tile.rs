//! Register tiles of a direct product: a few rows, read where they stand, by one or two vectors of columns of a packed panel.

use super::arith::Arith;
use super::direct::Walk;
use super::driver::Finish;
use crate::isa::{RowTile, Simd};
use crate::threads::Place;

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
            s.prefetch_far(self.of, self.at);
            if self.step > line {
                s.prefetch_far(self.of, self.at + line);
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
pub(super) fn lone_row<S: Simd, A: Arith>(
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
