//! Rows of one length at regular distances, checked once for all register tiles that read them.

use super::MAX_MR;
use std::marker::PhantomData;

/// Rows of one slice, all of one length: `line` of them stand `step` elements apart, and lines `line_step` elements apart.
///
/// A register tile reads a word of each of its rows in every step. As slices, each row would be checked for itself, which takes
/// a good part of the time of products with shallow windows; here the places of all rows are checked when this is made.
#[derive(Clone, Copy)]
pub(crate) struct SpacedRows<'a, T> {
    all: &'a [T],
    rows: usize,
    len: usize,
    line: usize,
    step: usize,
    line_step: usize,
}

impl<'a, T> SpacedRows<'a, T> {
    /// `rows` rows of `len` elements; a `line` of 0 is taken as one of all rows.
    ///
    /// # Panics
    /// Where a row does not lie in `all`.
    #[inline(always)]
    pub(crate) fn new(
        all: &'a [T],
        (line, step, line_step): (usize, usize, usize),
        rows: usize,
        len: usize,
    ) -> Self {
        let line = if line == 0 { usize::MAX } else { line };
        let rows_of = Self {
            all,
            rows,
            len,
            line,
            step,
            line_step,
        };
        if let Some(last) = rows.checked_sub(1) {
            // Within a line the last row is the farthest one: that of the last line, or that of the line before, which may be longer.
            let longest = (last / line).checked_sub(1).map(|l| (l, line - 1));
            for (l, x) in longest.into_iter().chain([(last / line, last % line)]) {
                assert!(rows_of.end(l, x).is_some_and(|end| end <= all.len()));
            }
        }
        rows_of
    }

    /// Where row `x` of line `l` ends.
    fn end(&self, l: usize, x: usize) -> Option<usize> {
        let start = (l.checked_mul(self.line_step)?).checked_add(x.checked_mul(self.step)?)?;
        start.checked_add(self.len)
    }

    /// The rows tile by tile.
    #[inline(always)]
    pub(crate) fn tiles(&self) -> RowTiles<'a, T> {
        let back = (self.line - 1).wrapping_mul(self.step);
        RowTiles {
            next: self.all.as_ptr(),
            left: self.rows,
            x: 0,
            line: self.line,
            single: self.line >= self.rows,
            step: self.step,
            turn: self.line_step.wrapping_sub(back),
            len: self.len,
            life: PhantomData,
        }
    }
}

/// See [`SpacedRows::tiles`].
pub(crate) struct RowTiles<'a, T> {
    /// Where the next row starts, if there is one.
    next: *const T,
    left: usize,
    /// The next row in its line.
    x: usize,
    line: usize,
    /// Whether all rows stand in one line.
    single: bool,
    step: usize,
    /// From the last row of a line to the first one of the next, modulo the size of the address space.
    turn: usize,
    len: usize,
    life: PhantomData<&'a [T]>,
}

impl<'a, T> RowTiles<'a, T> {
    /// The next `live` rows, as a tile of `height`, in which the last of them stands for those that are missing.
    ///
    /// # Panics
    /// Where `live` is 0 or more than `height` or than there are rows, or `height` more than [`MAX_MR`].
    #[inline(always)]
    pub(crate) fn next(&mut self, live: usize, height: usize) -> RowTile<'a, T> {
        assert!(live > 0 && live <= self.left && live <= height && height <= MAX_MR);
        // The tile goes on by its height, whatever of it is live.
        self.left = self.left.saturating_sub(height);
        let mut starts = [self.next; MAX_MR];
        // What is behind the live rows may be anywhere: it is computed, as all of a tile is, and replaced below.
        if self.single {
            for start in starts.iter_mut().take(height) {
                *start = self.next;
                self.next = self.next.wrapping_add(self.step);
            }
        } else {
            for start in starts.iter_mut().take(height) {
                *start = self.next;
                let turns = self.x + 1 == self.line;
                self.x = if turns { 0 } else { self.x + 1 };
                let by = if turns { self.turn } else { self.step };
                self.next = self.next.wrapping_add(by);
            }
        }
        if live < MAX_MR {
            let last = starts[live - 1];
            starts[live..].fill(last);
        }
        RowTile {
            starts,
            len: self.len,
            life: PhantomData,
        }
    }
}

/// Up to [`MAX_MR`] rows.
#[derive(Clone, Copy)]
pub(crate) struct RowTile<'a, T> {
    /// Of rows that lie in a slice that is borrowed for `'a`, with `len` elements each.
    starts: [*const T; MAX_MR],
    len: usize,
    life: PhantomData<&'a [T]>,
}

impl<'a, T> RowTile<'a, T> {
    /// The `len` elements of every row from `from` on.
    ///
    /// # Panics
    /// Where rows have fewer.
    #[inline(always)]
    pub(crate) fn columns(&self, from: usize, len: usize) -> Columns<'a, '_, T> {
        assert!(len <= self.len && from <= self.len - len);
        Columns {
            tile: self,
            from,
            len,
        }
    }
}

/// The same columns of all rows of a tile.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a, 't, T> {
    tile: &'t RowTile<'a, T>,
    from: usize,
    len: usize,
}

impl<'a, T> Columns<'a, '_, T> {
    /// Those of row `r`.
    #[inline(always)]
    pub(crate) fn row(&self, r: usize) -> &'a [T] {
        // SAFETY: `RowTile::columns` checked that the columns lie in the rows. `SpacedRows::new` checked that so many rows lie in a slice
        // that is borrowed for `'a`, and `RowTiles::next` gives out no others: those that it computes behind them it replaces.
        unsafe { std::slice::from_raw_parts(self.tile.starts[r].add(self.from), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tiles_hold_the_rows_one_after_another(
            rows in 1usize..40,
            line in 0usize..9,
            step in 0usize..5,
            line_step in 0usize..30,
            len in 0usize..6,
            height in 1usize..=MAX_MR,
        ) {
            let in_line = if line == 0 { usize::MAX } else { line };
            let place = |r: usize| (r / in_line) * line_step + (r % in_line) * step;
            let size = (0..rows).map(|r| place(r) + len).max().unwrap();
            let all: Vec<usize> = (0..size).collect();
            let spaced = SpacedRows::new(&all, (line, step, line_step), rows, len);
            let mut tiles = spaced.tiles();
            for from in (0..rows).step_by(height) {
                let live = height.min(rows - from);
                let tile = tiles.next(live, height);
                for r in 0..MAX_MR {
                    let row = from + r.min(live - 1);
                    prop_assert_eq!(tile.columns(0, len).row(r), &all[place(row)..][..len]);
                }
            }
            let short = &all[..size.saturating_sub(1)];
            let refused = std::panic::catch_unwind(|| {
                SpacedRows::new(short, (line, step, line_step), rows, len);
            });
            prop_assert_eq!(refused.is_err(), size > 0);
        }
    }

    #[test]
    #[should_panic]
    fn columns_behind_the_end_of_the_rows_are_refused() {
        let rows = SpacedRows::new(&[0u8; 20], (0, 5, 0), 4, 5);
        rows.tiles().next(4, 4).columns(4, 2);
    }

    #[test]
    #[should_panic]
    fn more_rows_than_there_are_are_refused() {
        let rows = SpacedRows::new(&[0u8; 20], (0, 5, 0), 4, 5);
        let mut tiles = rows.tiles();
        tiles.next(2, 2);
        tiles.next(3, 4);
    }

    #[test]
    #[should_panic]
    fn rows_behind_tiles_that_were_not_full_are_counted() {
        let rows = SpacedRows::new(&[0u8; 40], (0, 5, 0), 8, 5);
        let mut tiles = rows.tiles();
        tiles.next(3, 4);
        tiles.next(4, 4);
        tiles.next(1, 4);
    }

    #[test]
    #[should_panic]
    fn distances_beyond_all_memory_are_refused() {
        SpacedRows::new(&[0u8; 20], (2, usize::MAX / 2, 1), 4, 5);
    }
}
