//! Pooling of images whose channels stand last, `[batch, spatial…, channels]`: whole pixels are combined, so that the
//! inner loop runs over neighbouring elements.
//!
//! Each channel goes through the same operations in the same order as in a channels-first image: results of windows
//! are equal bit for bit.

use super::float::Pool;
use super::int8::PoolScales;
use super::pixels::{Channels, MOST_TAPS, byte_sum, greatest, sum};
use super::window::PoolShape;
use crate::error::{check_len, product};
use crate::quantized::QuantByte;
use crate::{Context, KernelError};

/// Channels whose integer sums are kept at a time.
const BLOCK: usize = 64;

/// Pools the windows of channels-last images; the planes of `shape` are whole images.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have the extents of `shape` times `channels`.
///
/// # Examples
/// ```
/// use runtime_kernels::Context;
/// use runtime_kernels::pool::{Pool, PoolShape, pool_channels_last};
///
/// let shape = PoolShape::new(1, (&[2], &[1]), &[2], &[2], &[], (&[], &[]))?;
/// let mut y = [0.0; 3];
/// let x = [1.0, 5.0, 2.0, 3.0, 4.0, 2.0];
/// pool_channels_last(&Context::default(), Pool::Max, &shape, 3, &x, &mut y)?;
/// assert_eq!(y, [3.0, 5.0, 2.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn pool_channels_last(
    ctx: &Context,
    op: Pool,
    shape: &PoolShape,
    channels: usize,
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    for_each_pixel(ctx, shape, channels, x, y, |x, at, y| match op {
        Pool::Max => greatest(ctx.isa, shape, at, Channels::all(channels), x, y),
        Pool::Average | Pool::AverageWithPadding => {
            sum(ctx.isa, shape, at, Channels::all(channels), x, y);
            let taps = |d: usize| match op {
                Pool::AverageWithPadding => shape.padded_taps(d, at[d]),
                _ => shape.taps(d, at[d]).len(),
            };
            let count: usize = (0..3).map(taps).product();
            y.iter_mut().for_each(|y| *y /= count as f32);
        }
        Pool::Lp { p } => {
            y.fill(0.0);
            shape.for_each_tap(at, |i| {
                for (y, x) in y.iter_mut().zip(&x[i * channels..]) {
                    *y += x.abs().powf(p);
                }
            });
            y.iter_mut().for_each(|y| *y = y.powf(1.0 / p));
        }
    })
}

/// The greatest element of each window of channels-last images; the scale stays.
///
/// # Errors
/// As [`pool_channels_last`].
pub fn max_pool_int8_channels_last<T: QuantByte>(
    ctx: &Context,
    shape: &PoolShape,
    channels: usize,
    x: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    for_each_pixel(ctx, shape, channels, x, y, |x, at, y| {
        y.fill(T::from_i32(T::MIN));
        shape.for_each_tap(at, |i| {
            for (y, &x) in y.iter_mut().zip(&x[i * channels..]) {
                *y = if x > *y { x } else { *y };
            }
        });
    })
}

/// The mean of the elements inside the image, requantised as
/// [`average_pool_int8`](super::average_pool_int8) does, of channels-last images.
///
/// # Errors
/// As [`pool_channels_last`].
pub fn average_pool_int8_channels_last<T: QuantByte>(
    ctx: &Context,
    shape: &PoolShape,
    scales: PoolScales,
    channels: usize,
    x: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    for_each_pixel(ctx, shape, channels, x, y, |x, at, y| {
        let count: usize = (0..3).map(|d| shape.taps(d, at[d]).len()).product();
        for (block, y) in y.chunks_mut(BLOCK).enumerate() {
            let from = block * BLOCK;
            if count <= MOST_TAPS {
                let (mut sums, x) = ([0; BLOCK], x.get(from..).unwrap_or_default());
                let channels = Channels {
                    of: channels,
                    live: y.len(),
                };
                byte_sum(ctx.isa, shape, at, channels, x, &mut sums);
                for (y, &sum) in y.iter_mut().zip(&sums) {
                    *y = scales.mean(i64::from(sum), count);
                }
                continue;
            }
            let mut sums = [0i64; BLOCK];
            shape.for_each_tap(at, |i| {
                for (sum, x) in sums[..y.len()].iter_mut().zip(&x[i * channels + from..]) {
                    *sum += i64::from(x.to_i32());
                }
            });
            for (y, &sum) in y.iter_mut().zip(&sums) {
                *y = scales.mean(sum, count);
            }
        }
    })
}

/// Calls `pixel(image, position, result)` for each pixel of the result.
fn for_each_pixel<T: Copy + Send + Sync>(
    ctx: &Context,
    shape: &PoolShape,
    channels: usize,
    x: &[T],
    y: &mut [T],
    pixel: impl Fn(&[T], [usize; 3], &mut [T]) + Sync + Send,
) -> Result<(), KernelError> {
    let times = |pixels: Option<usize>| product(&[pixels?, channels]);
    check_len("input", x.len(), times(shape.input_len()))?;
    check_len("result", y.len(), times(shape.output_len()))?;
    let pixels: usize = shape.output.iter().product();
    let image: usize = shape.input.iter().product::<usize>() * channels;
    let work = shape.work().saturating_mul(channels) / pixels.max(1);
    ctx.parallelism
        .for_each_rows(y, channels, work, |first, y| {
            for (i, y) in y.chunks_exact_mut(channels).enumerate() {
                let at = first + i;
                let x = &x[at / pixels * image..][..image];
                pixel(x, shape.position(at % pixels), y);
            }
        });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::pool::{average_pool_int8, max_pool_int8, pool};

    const CHANNELS: usize = 67;
    const IMAGE: [usize; 2] = [5, 4];
    const RESULT: [usize; 2] = [3, 2];

    fn shape(planes: usize) -> PoolShape {
        let spatial = (&IMAGE[..], &RESULT[..]);
        PoolShape::new(
            planes,
            spatial,
            &[3, 2],
            &[2, 2],
            &[1, 1],
            (&[1, 0], &[1, 0]),
        )
        .unwrap()
    }

    /// `[batch, pixels, channels]` of `[batch, channels, pixels]`.
    fn last<T: Copy>(x: &[T], pixels: usize) -> Vec<T> {
        let images = x.chunks_exact(CHANNELS * pixels);
        images
            .flat_map(|x| {
                (0..pixels).flat_map(move |p| (0..CHANNELS).map(move |c| x[c * pixels + p]))
            })
            .collect()
    }

    #[test]
    fn windows_are_those_of_channels_first_bit_for_bit() {
        let mut x: Vec<f32> = (0..2 * CHANNELS * 20)
            .map(|i| ((i * 7919) % 1013) as f32 * 0.37 - 150.0)
            .collect();
        // Both zeros beside each other, and NaN before and behind numbers.
        for (i, x) in x.iter_mut().enumerate() {
            match i % 23 {
                3 => *x = f32::NAN,
                7 | 8 => *x = 0.0,
                9 => *x = -0.0,
                _ => {}
            }
        }
        let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
        for isa in Isa::available() {
            let ctx = Context::default().with_isa(isa);
            for op in [
                Pool::Max,
                Pool::Average,
                Pool::AverageWithPadding,
                Pool::Lp { p: 2.0 },
            ] {
                let (mut first, mut y) = (vec![0.0; 2 * CHANNELS * 6], vec![0.0; 2 * CHANNELS * 6]);
                pool(&ctx, op, &shape(2 * CHANNELS), &x, &mut first).unwrap();
                pool_channels_last(&ctx, op, &shape(2), CHANNELS, &last(&x, 20), &mut y).unwrap();
                assert_eq!(bits(&y), bits(&last(&first, 6)), "{op:?}, {isa}");
            }
        }
    }

    fn bytes_are_those_of_channels_first<T: QuantByte + std::fmt::Debug>(ctx: &Context) {
        let x: Vec<T> = (0..2 * CHANNELS * 20)
            .map(|i| T::from_bits(((i * 7919) % 251) as u8))
            .collect();
        let zero = T::default();
        let (mut first, mut y) = (vec![zero; 2 * CHANNELS * 6], vec![zero; 2 * CHANNELS * 6]);
        max_pool_int8(ctx, &shape(2 * CHANNELS), &x, &mut first).unwrap();
        max_pool_int8_channels_last(ctx, &shape(2), CHANNELS, &last(&x, 20), &mut y).unwrap();
        assert_eq!(y, last(&first, 6));
        let scales = PoolScales {
            x_scale: 0.03,
            x_zero_point: 7,
            y_scale: 0.02,
            y_zero_point: 11,
        };
        average_pool_int8(ctx, &shape(2 * CHANNELS), scales, &x, &mut first).unwrap();
        average_pool_int8_channels_last(ctx, &shape(2), scales, CHANNELS, &last(&x, 20), &mut y)
            .unwrap();
        assert_eq!(y, last(&first, 6), "{}", ctx.isa);
    }

    #[test]
    fn windows_of_bytes_are_those_of_channels_first() {
        for isa in Isa::available() {
            let ctx = Context::default().with_isa(isa);
            bytes_are_those_of_channels_first::<u8>(&ctx);
            bytes_are_those_of_channels_first::<i8>(&ctx);
        }
    }
}
