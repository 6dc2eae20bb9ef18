//! Single-precision pooling.

use super::window::PoolShape;
use crate::error::{check_len, product};
use crate::norm::{Reduce, reduce};
use crate::{Context, KernelError};

/// What a pooling computes over its window.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Pool {
    /// The greatest element; NaN if there is one.
    Max,
    /// The mean of the elements inside the image.
    Average,
    /// The mean in which padding counts as zeros (`count_include_pad`).
    AverageWithPadding,
    /// `(Σ |x|^p)^(1/p)`.
    Lp {
        /// The exponent.
        p: f32,
    },
}

/// Pools each plane of `x` into `y`.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have the extents of `shape`.
///
/// # Examples
/// ```
/// use runtime_kernels::Context;
/// use runtime_kernels::pool::{Pool, PoolShape, pool};
///
/// let shape = PoolShape::new(1, (&[4], &[2]), &[2], &[2], &[], (&[], &[]))?;
/// let mut y = [0.0; 2];
/// pool(&Context::default(), Pool::Max, &shape, &[1.0, 3.0, 2.0, 0.0], &mut y)?;
/// assert_eq!(y, [3.0, 2.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn pool(
    ctx: &Context,
    op: Pool,
    shape: &PoolShape,
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    check_len("input", x.len(), shape.input_len())?;
    check_len("result", y.len(), shape.output_len())?;
    let pixels: usize = shape.output.iter().product();
    let in_pixels: usize = shape.input.iter().product();
    ctx.parallelism
        .for_each_rows(y, pixels, shape.work(), |first, y| {
            for (i, y) in y.chunks_exact_mut(pixels).enumerate() {
                let x = &x[(first + i) * in_pixels..][..in_pixels];
                for (j, y) in y.iter_mut().enumerate() {
                    *y = window(op, shape, shape.position(j), x);
                }
            }
        });
    Ok(())
}

/// Pools all elements of each plane of `inner` elements.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have the extents given.
pub fn global_pool(
    ctx: &Context,
    op: Pool,
    (planes, inner): (usize, usize),
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    let shape = [planes, inner, 1];
    match op {
        Pool::Max => reduce(ctx, Reduce::Max, shape, x, y),
        Pool::Average | Pool::AverageWithPadding => reduce(ctx, Reduce::Mean, shape, x, y),
        Pool::Lp { p } => {
            check_len("input", x.len(), product(&shape))?;
            check_len("result", y.len(), Some(planes))?;
            for (y, x) in y.iter_mut().zip(x.chunks_exact(inner.max(1))) {
                *y = x.iter().map(|x| x.abs().powf(p)).sum::<f32>().powf(1.0 / p);
            }
            Ok(())
        }
    }
}

#[inline(always)]
fn window(op: Pool, shape: &PoolShape, at: [usize; 3], x: &[f32]) -> f32 {
    match op {
        Pool::Max => {
            let mut max = f32::NEG_INFINITY;
            shape.for_each_tap(at, |i| {
                if x[i] > max || x[i].is_nan() {
                    max = x[i];
                }
            });
            max
        }
        Pool::Average | Pool::AverageWithPadding => {
            let (mut sum, mut count) = (0.0, 0usize);
            shape.for_each_tap(at, |i| {
                sum += x[i];
                count += 1;
            });
            if op == Pool::AverageWithPadding {
                count = (0..3).map(|d| shape.padded_taps(d, at[d])).product();
            }
            sum / count as f32
        }
        Pool::Lp { p } => {
            let mut sum = 0.0;
            shape.for_each_tap(at, |i| sum += x[i].abs().powf(p));
            sum.powf(1.0 / p)
        }
    }
}
