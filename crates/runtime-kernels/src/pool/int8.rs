//! Pooling of bytes.

use super::window::PoolShape;
use crate::error::{check_len, product};
use crate::quantized::QuantByte;
use crate::{Context, KernelError};

/// The greatest element of each window; the scale stays.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have the extents of `shape`.
pub fn max_pool_int8<T: QuantByte>(
    ctx: &Context,
    shape: &PoolShape,
    x: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    for_each_window(ctx, shape, x, y, |x, at| {
        let mut max = T::MIN;
        shape.for_each_tap(at, |i| max = max.max(x[i].to_i32()));
        T::from_i32(max)
    })
}

/// Scales and zero points of a pooling whose result has a scale of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolScales {
    /// Real units per step of the input.
    pub x_scale: f32,
    /// Zero point of the input.
    pub x_zero_point: i32,
    /// Real units per step of the result.
    pub y_scale: f32,
    /// Zero point of the result.
    pub y_zero_point: i32,
}

/// The mean of the elements inside the image, requantised:
/// `clamp(round_ties_even(Σ (x - z_x) * (s_x / (s_y n))) + z_y)`.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have the extents of `shape`.
pub fn average_pool_int8<T: QuantByte>(
    ctx: &Context,
    shape: &PoolShape,
    scales: PoolScales,
    x: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    for_each_window(ctx, shape, x, y, |x, at| {
        let (mut sum, mut count) = (0i64, 0usize);
        shape.for_each_tap(at, |i| {
            sum += i64::from(x[i].to_i32());
            count += 1;
        });
        scales.mean(sum, count)
    })
}

/// [`average_pool_int8`] over each whole plane of `inner` elements.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have the extents given.
pub fn global_average_pool_int8<T: QuantByte>(
    ctx: &Context,
    (planes, inner): (usize, usize),
    scales: PoolScales,
    x: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    check_len("input", x.len(), product(&[planes, inner]))?;
    check_len("result", y.len(), Some(planes))?;
    ctx.parallelism.for_each_rows(y, 1, inner, |first, y| {
        for (i, y) in y.iter_mut().enumerate() {
            let x = &x[(first + i) * inner..][..inner];
            let sum = x
                .chunks(1 << 16)
                .map(|x| i64::from(x.iter().map(|x| x.to_i32()).sum::<i32>()))
                .sum();
            *y = scales.mean(sum, inner);
        }
    });
    Ok(())
}

impl PoolScales {
    #[inline(always)]
    pub(super) fn mean<T: QuantByte>(&self, sum: i64, count: usize) -> T {
        let sum = (sum - count as i64 * i64::from(self.x_zero_point)) as f32;
        let scaled = sum * (self.x_scale / (self.y_scale * count as f32));
        let low = T::MIN.saturating_sub(self.y_zero_point) as f32;
        let high = T::MAX.saturating_sub(self.y_zero_point) as f32;
        let q = scaled.max(low).min(high).round_ties_even() as i32;
        T::from_i32(q.saturating_add(self.y_zero_point))
    }
}

fn for_each_window<T: QuantByte>(
    ctx: &Context,
    shape: &PoolShape,
    x: &[T],
    y: &mut [T],
    window: impl Fn(&[T], [usize; 3]) -> T + Sync + Send,
) -> Result<(), KernelError> {
    check_len("input", x.len(), shape.input_len())?;
    check_len("result", y.len(), shape.output_len())?;
    let pixels: usize = shape.output.iter().product();
    let in_pixels: usize = shape.input.iter().product();
    ctx.parallelism
        .for_each_rows(y, pixels, shape.work(), |first, y| {
            for (i, y) in y.chunks_exact_mut(pixels).enumerate() {
                let x = &x[(first + i) * in_pixels..][..in_pixels];
                y.iter_mut()
                    .enumerate()
                    .for_each(|(j, y)| *y = window(x, shape.position(j)));
            }
        });
    Ok(())
}
