//! Borrowed matrices with any strides.

use crate::KernelError;

/// A `rows x cols` matrix; element `(i, j)` is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Copy> MatRef<'a, T> {
    /// A row-major matrix.
    ///
    /// # Errors
    /// [`KernelError::OutOfBounds`] if `data` has fewer than `rows * cols` elements.
    pub fn row_major(data: &'a [T], rows: usize, cols: usize) -> Result<Self, KernelError> {
        Self::strided(data, rows, cols, cols, 1)
    }

    /// A matrix with strides in elements.
    ///
    /// # Errors
    /// [`KernelError::OutOfBounds`] if an element lies past the end of `data`.
    pub fn strided(
        data: &'a [T],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Result<Self, KernelError> {
        let last = || {
            let down = rows.checked_sub(1)?.checked_mul(row_stride)?;
            down.checked_add(cols.checked_sub(1)?.checked_mul(col_stride)?)
        };
        let empty = rows == 0 || cols == 0;
        if empty || last().is_some_and(|last| last < data.len()) {
            let matrix = Self {
                data,
                rows,
                cols,
                row_stride,
                col_stride,
            };
            Ok(matrix.within_reach())
        } else {
            Err(KernelError::OutOfBounds {
                operand: "matrix",
                rows,
                cols,
                len: data.len(),
            })
        }
    }

    /// The rows from `first` on, `rows` of them; fewer where the matrix ends before.
    pub fn row_range(self, first: usize, rows: usize) -> Self {
        let first = first.min(self.rows);
        // The offset is not formed for no rows: it may lie past the end.
        let rows = rows.min(self.rows - first);
        let offset = if rows == 0 {
            0
        } else {
            first * self.row_stride
        };
        Self {
            data: self.data.get(offset..).unwrap_or_default(),
            rows,
            ..self
        }
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        let turned = Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        };
        turned.within_reach()
    }

    /// Strides that lead nowhere, where there is no element that they could lead to: rows without columns stand at the start.
    fn within_reach(mut self) -> Self {
        if self.cols == 0 {
            self.row_stride = 0;
        }
        if self.rows == 0 {
            self.col_stride = self.col_stride.min(1);
        }
        self
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    pub(crate) fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// The elements from `(row, col)` on; empty past the end.
    #[inline(always)]
    pub(crate) fn from(&self, row: usize, col: usize) -> &'a [T] {
        self.data
            .get(row * self.row_stride + col * self.col_stride..)
            .unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_past_the_slice_are_refused() {
        let data = [0.0f32; 6];
        assert!(MatRef::row_major(&data, 2, 3).is_ok());
        assert!(MatRef::row_major(&data, 3, 3).is_err());
        assert!(MatRef::strided(&data, 2, 3, 1, 2).is_ok());
        assert!(MatRef::strided(&data, 2, 3, usize::MAX, 2).is_err());
        let t = MatRef::row_major(&data, 2, 3).unwrap().transposed();
        assert_eq!((t.rows(), t.cols()), (3, 2));
    }
}
