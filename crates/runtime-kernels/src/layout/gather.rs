//! Rows picked by index.

use crate::error::{check_len, product};
use crate::{Context, KernelError};

/// `y[i] = x[index(i)]` for rows of `row` elements; `y` says how many.
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
/// gather_rows(&Context::default(), 2, &[1, 2, 3, 4, 5, 6], |i| [2, 0][i], &mut y)?;
/// assert_eq!(y, [5, 6, 1, 2]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn gather_rows<T: Copy + Send + Sync>(
    ctx: &Context,
    row: usize,
    x: &[T],
    index: impl Fn(usize) -> usize + Sync,
    y: &mut [T],
) -> Result<(), KernelError> {
    if row == 0 {
        return check_len("result", y.len(), Some(0));
    }
    check_len("result", y.len(), product(&[y.len() / row, row]))?;
    let rows = x.len() / row;
    check_len("input", x.len(), product(&[rows, row]))?;
    if let Some(value) = (0..y.len() / row).map(&index).find(|&i| i >= rows) {
        return Err(KernelError::Invalid {
            what: "row index",
            value,
        });
    }
    ctx.parallelism.for_each_rows(y, row, row, |first, y| {
        for (i, y) in y.chunks_exact_mut(row).enumerate() {
            let from = index(first + i) * row;
            y.copy_from_slice(&x[from..from + row]);
        }
    });
    Ok(())
}

/// The adjoint of [`gather_rows`]: `dx[index(i)] += dy[i]` for rows of `row` elements, from zero, in the order of `i`.
///
/// # Errors
/// [`KernelError::Length`] if a slice is not whole rows, [`KernelError::Invalid`] for an index past
/// the last row (`dx` is then unchanged).
///
/// # Examples
/// ```
/// use runtime_kernels::Context;
/// use runtime_kernels::layout::gather_rows_grad;
///
/// let mut dx = [f32::NAN; 3];
/// gather_rows_grad(&Context::default(), 1, &[1.0, 10.0, 100.0], |i| [2, 0, 2][i], &mut dx)?;
/// assert_eq!(dx, [10.0, 0.0, 101.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn gather_rows_grad(
    ctx: &Context,
    row: usize,
    dy: &[f32],
    index: impl Fn(usize) -> usize + Sync,
    dx: &mut [f32],
) -> Result<(), KernelError> {
    if row == 0 {
        return check_len("adjoint of the input", dx.len(), Some(0));
    }
    let (count, rows) = (dy.len() / row, dx.len() / row);
    check_len("adjoint of the result", dy.len(), product(&[count, row]))?;
    check_len("adjoint of the input", dx.len(), product(&[rows, row]))?;
    if let Some(value) = (0..count).map(&index).find(|&i| i >= rows) {
        return Err(KernelError::Invalid {
            what: "row index",
            value,
        });
    }
    // Each task looks through all indices for those of its rows.
    ctx.parallelism.for_each_rows(dx, row, row, |first, dx| {
        dx.fill(0.0);
        let own = first..first + dx.len() / row;
        for (i, dy) in dy.chunks_exact(row).enumerate() {
            let to = index(i);
            if own.contains(&to) {
                let dx = &mut dx[(to - first) * row..][..row];
                dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
            }
        }
    });
    Ok(())
}
