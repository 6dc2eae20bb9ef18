//! A rectangle of a row-major matrix that tasks can cut into disjoint pieces.

use std::marker::PhantomData;

/// A mutable view of `rows x cols` elements whose rows lie `stride` apart.
///
/// Two views cut from one ([`TileMut::split_rows`], [`TileMut::split_cols`]) never share an
/// element, though their memory interleaves; hence the raw pointer.
pub struct TileMut<'a, T> {
    data: *mut T,
    rows: usize,
    cols: usize,
    stride: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: a `TileMut` is an exclusive borrow of its elements, like `&mut [T]`.
unsafe impl<T: Send> Send for TileMut<'_, T> {}

impl<'a, T> TileMut<'a, T> {
    /// A view of the start of `data`, or `None` if the last row reaches past its end or rows
    /// would overlap.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize, stride: usize) -> Option<Self> {
        let end = rows
            .saturating_sub(1)
            .checked_mul(stride)?
            .checked_add(cols)?;
        // Without columns no row may be formed: its place may lie past the end.
        let stride = if cols == 0 { 0 } else { stride };
        let fits = rows == 0 || cols == 0 || end <= data.len();
        (fits && (rows <= 1 || cols <= stride)).then_some(Self {
            data: data.as_mut_ptr(),
            rows,
            cols,
            stride,
            life: PhantomData,
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Columns `from..from + len` of row `row`.
    #[inline(always)]
    pub fn row(&mut self, row: usize, from: usize, len: usize) -> &mut [T] {
        assert!(row < self.rows && from <= self.cols && len <= self.cols - from);
        // SAFETY: `new` checked that every row lies in the borrowed slice (without columns at its start), the assertion that the
        // columns lie in the row; the view is borrowed mutably for as long as the result.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.stride + from), len) }
    }

    /// Columns `from..from + len` of `rows` rows from `row` on, one row after the other.
    #[inline(always)]
    pub fn rows_from(
        &mut self,
        (row, rows): (usize, usize),
        (from, len): (usize, usize),
    ) -> Rows<'_, T> {
        assert!(row <= self.rows && rows <= self.rows - row);
        assert!(from <= self.cols && len <= self.cols - from);
        Rows {
            // SAFETY: `new` checked that every row lies in the borrowed slice, the assertion that the first of these is one, or
            // that there is none: then no offset is taken.
            next: unsafe {
                self.data.add(if rows > 0 {
                    row * self.stride + from
                } else {
                    0
                })
            },
            left: rows,
            len,
            stride: self.stride,
            life: PhantomData,
        }
    }

    /// The rows before `at` and those from `at` on.
    pub fn split_rows(self, at: usize) -> (Self, Self) {
        let at = at.min(self.rows);
        // The offset is not formed for an empty second part: it may lie past the allocation.
        let offset = if at < self.rows { at * self.stride } else { 0 };
        // SAFETY: a non-zero offset is the start of a row that `new` found inside the slice; without columns the
        // stride is 0.
        let data = unsafe { self.data.add(offset) };
        (
            Self { rows: at, ..self },
            Self {
                data,
                rows: self.rows - at,
                ..self
            },
        )
    }

    /// The columns before `at` and those from `at` on.
    pub fn split_cols(self, at: usize) -> (Self, Self) {
        let at = at.min(self.cols);
        let offset = if at < self.cols && self.rows > 0 {
            at
        } else {
            0
        };
        // SAFETY: a non-zero offset is a column of the first row, which lies inside the slice.
        let data = unsafe { self.data.add(offset) };
        (
            Self { cols: at, ..self },
            Self {
                data,
                cols: self.cols - at,
                ..self
            },
        )
    }
}

/// Rows of a [`TileMut`], see [`TileMut::rows_from`].
pub struct Rows<'a, T> {
    next: *mut T,
    left: usize,
    len: usize,
    stride: usize,
    life: PhantomData<&'a mut [T]>,
}

impl<'a, T> Iterator for Rows<'a, T> {
    type Item = &'a mut [T];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a mut [T]> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: `rows_from` checked that so many rows follow and that the columns lie in them; rows do not overlap, and each is
        // given out once, out of a view that is borrowed mutably for as long.
        let row = unsafe { std::slice::from_raw_parts_mut(self.next, self.len) };
        if self.left > 0 {
            // SAFETY: another row follows, a stride further on.
            self.next = unsafe { self.next.add(self.stride) };
        }
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_disjoint_and_cover_the_rectangle() {
        let mut data = vec![0; 5 * 7];
        let tile = TileMut::new(&mut data, 5, 6, 7).unwrap();
        let (top, bottom) = tile.split_rows(2);
        let (left, right) = top.split_cols(4);
        for (value, mut piece) in [(1, left), (2, right), (3, bottom)] {
            for r in 0..piece.rows() {
                let cols = piece.cols();
                piece.row(r, 0, cols).iter_mut().for_each(|x| *x += value);
            }
        }
        assert_eq!(data[..7], [1, 1, 1, 1, 2, 2, 0]);
        assert_eq!(data[14..21], [3, 3, 3, 3, 3, 3, 0]);
    }

    #[test]
    fn rows_without_columns_stay_at_the_start_of_the_slice() {
        let mut data = [0u8; 0];
        let start = data.as_mut_ptr();
        let tile = TileMut::new(&mut data, 3, 0, 7).unwrap();
        let (top, mut bottom) = tile.split_rows(1);
        assert_eq!((top.rows(), bottom.rows()), (1, 2));
        assert_eq!(bottom.data, start);
        assert_eq!(bottom.row(1, 0, 0).as_mut_ptr(), start);
    }

    #[test]
    fn rows_are_given_out_in_order_and_within_the_view() {
        let mut data = [0; 4 * 5];
        let mut tile = TileMut::new(&mut data, 4, 4, 5).unwrap();
        for (i, row) in tile.rows_from((1, 3), (2, 2)).enumerate() {
            row.fill(i + 1);
        }
        assert_eq!(tile.rows_from((4, 0), (0, 4)).count(), 0);
        let row = |n| [0, 0, n, n, 0];
        assert_eq!(data, [row(0), row(1), row(2), row(3)].concat()[..]);
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn rows_past_the_view_are_refused() {
        let mut data = [0; 6];
        let mut tile = TileMut::new(&mut data, 2, 3, 3).unwrap();
        let _ = tile.rows_from((1, 2), (0, 3)).count();
    }

    #[test]
    fn a_rectangle_past_the_slice_is_refused() {
        let mut data = vec![0; 10];
        assert!(TileMut::new(&mut data, 3, 4, 4).is_none());
        assert!(TileMut::new(&mut data, 2, 4, 3).is_none());
        assert!(TileMut::new(&mut data, usize::MAX, 4, 4).is_none());
        assert!(TileMut::new(&mut data, 2, 4, 6).is_some());
    }
}
