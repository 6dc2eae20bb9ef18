//! Rows picked by index.

use crate::error::{check_len, product};
use crate::{Context, KernelError};

/// `y[i] = x[indices[i]]` for rows of `row` elements.
///
/// # Errors
/// [`KernelError::Length`] if a slice is not whole rows, [`KernelError::Invalid`] for an index past
/// the last row (`y` is then unchanged).
///
/// # Examples
/// ```
/// use runtime_kernels::Context;
/// use runtime_kernels::layout::gather_rows;
///
/// let mut y = [0; 4];
/// gather_rows(&Context::default(), 2, &[1, 2, 3, 4, 5, 6], &[2, 0], &mut y)?;
/// assert_eq!(y, [5, 6, 1, 2]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn gather_rows<T: Copy + Send + Sync>(
    ctx: &Context,
    row: usize,
    x: &[T],
    indices: &[usize],
    y: &mut [T],
) -> Result<(), KernelError> {
    check_len("result", y.len(), product(&[indices.len(), row]))?;
    if row == 0 {
        return Ok(());
    }
    let rows = x.len() / row;
    check_len("input", x.len(), product(&[rows, row]))?;
    if let Some(&value) = indices.iter().find(|&&i| i >= rows) {
        return Err(KernelError::Invalid {
            what: "row index",
            value,
        });
    }
    ctx.parallelism.for_each_rows(y, row, row, |first, y| {
        for (y, &i) in y.chunks_exact_mut(row).zip(&indices[first..]) {
            y.copy_from_slice(&x[i * row..(i + 1) * row]);
        }
    });
    Ok(())
}
