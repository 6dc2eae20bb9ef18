//! The adjoints of pooling in f32, of images with their channels last; planes, with channels first, are images of one channel.

use super::float::Pool;
use super::window::PoolShape;
use crate::error::{check_len, product};
use crate::{Context, KernelError};

/// Channels whose greatest elements are looked for at once.
const BLOCK: usize = 64;

/// Gives each element of the image the adjoints of the windows that it is in, each divided by the number of elements that the mean
/// was taken of: `dx[i] = Σ dy[o] / count(o)`. The images have `channels` channels, which stand last.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have the extents of `shape` times `channels`; [`KernelError::Invalid`] for a pooling
/// that is no mean.
pub fn average_pool_grad(
    ctx: &Context,
    op: Pool,
    shape: &PoolShape,
    channels: usize,
    dy: &[f32],
    dx: &mut [f32],
) -> Result<(), KernelError> {
    let padded = match op {
        Pool::Average => false,
        Pool::AverageWithPadding => true,
        _ => {
            return Err(KernelError::Invalid {
                what: "pooling that is no mean",
                value: 0,
            });
        }
    };
    for_each_image(ctx, shape, channels, dy, dx, |_, dy, dx| {
        for (o, dy) in dy.chunks_exact(channels).enumerate() {
            let at = shape.position(o);
            let mut count = 0usize;
            if padded {
                count = (0..3).map(|d| shape.padded_taps(d, at[d])).product();
            } else {
                shape.for_each_tap(at, |_| count += 1);
            }
            let share = count as f32;
            shape.for_each_tap(at, |i| {
                let dx = &mut dx[i * channels..][..channels];
                dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy / share);
            });
        }
    })
}

/// Gives the adjoint of each window to its first greatest element: `dx[argmax(o)] += dy[o]`. The images have `channels` channels, which
/// stand last.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have the extents of `shape` times `channels`.
pub fn max_pool_grad(
    ctx: &Context,
    shape: &PoolShape,
    channels: usize,
    (dy, x): (&[f32], &[f32]),
    dx: &mut [f32],
) -> Result<(), KernelError> {
    check_len("input", x.len(), Some(dx.len()))?;
    for_each_image(ctx, shape, channels, dy, dx, |image, dy, dx| {
        let x = &x[image * dx.len()..][..dx.len()];
        for (o, dy) in dy.chunks_exact(channels).enumerate() {
            let at = shape.position(o);
            for (block, dy) in dy.chunks(BLOCK).enumerate() {
                let first = block * BLOCK;
                let mut best = [(f32::NEG_INFINITY, usize::MAX); BLOCK];
                shape.for_each_tap(at, |i| {
                    let x = &x[i * channels + first..][..dy.len()];
                    for (best, &x) in best.iter_mut().zip(x) {
                        // The first element is taken whatever it is, and a NaN gives way.
                        if x > best.0 || best.1 == usize::MAX || best.0.is_nan() {
                            *best = (x, i);
                        }
                    }
                });
                for (c, ((_, i), dy)) in best.into_iter().zip(dy).enumerate() {
                    if i != usize::MAX {
                        dx[i * channels + first + c] += dy;
                    }
                }
            }
        }
    })
}

/// Calls `image(number, adjoint of the result, adjoint of the image)` for each image, the last one zeros.
fn for_each_image(
    ctx: &Context,
    shape: &PoolShape,
    channels: usize,
    dy: &[f32],
    dx: &mut [f32],
    image: impl Fn(usize, &[f32], &mut [f32]) + Sync + Send,
) -> Result<(), KernelError> {
    let times = |pixels: Option<usize>| product(&[pixels?, channels]);
    check_len("adjoint of the result", dy.len(), times(shape.output_len()))?;
    check_len("adjoint of the input", dx.len(), times(shape.input_len()))?;
    if dx.is_empty() {
        return Ok(());
    }
    let [input, output] = [shape.input, shape.output].map(|e| e.iter().product::<usize>());
    let (input, output) = (input * channels, output * channels);
    let work = shape.work().saturating_mul(channels);
    ctx.parallelism.for_each_rows(dx, input, work, |first, dx| {
        for (i, dx) in dx.chunks_exact_mut(input).enumerate() {
            dx.fill(0.0);
            let number = first + i;
            image(number, &dy[number * output..][..output], dx);
        }
    });
    Ok(())
}
