//! Permutation of axes: `y[i_p(0), i_p(1), …] = x[i_0, i_1, …]`.
//!
//! Axes that stay neighbours are merged first. Then either the last axis stays last and whole runs
//! are copied, or the plane of the two innermost axes (of the input and of the result) is
//! transposed in blocks that fit the cache.

use crate::error::{check_extent, check_len, product};
use crate::{Context, KernelError};

/// Axes that are kept without the allocator.
const FEW: usize = 8;

/// Edge of the blocks of a transposition, in elements.
const BLOCK: usize = 32;

/// Writes `x`, of extents `dims`, with axis `perm[k]` as axis `k` of the result.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have that many elements, [`KernelError::Extent`] if
/// `perm` is not as long as `dims`, [`KernelError::Invalid`] if it is not a permutation.
///
/// # Examples
/// ```
/// use runtime_kernels::Context;
/// use runtime_kernels::layout::permute;
///
/// let mut y = [0; 6];
/// permute(&Context::default(), &[2, 3], &[1, 0], &[1, 2, 3, 4, 5, 6], &mut y)?;
/// assert_eq!(y, [1, 4, 2, 5, 3, 6]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn permute<T: Copy + Send + Sync>(
    ctx: &Context,
    dims: &[usize],
    perm: &[usize],
    x: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    check_len("input", x.len(), product(dims))?;
    check_len("result", y.len(), Some(x.len()))?;
    check_extent("axes of the permutation", perm.len(), dims.len())?;
    for axis in 0..dims.len() {
        if !perm.contains(&axis) {
            return Err(KernelError::Invalid {
                what: "permutation without axis",
                value: axis,
            });
        }
    }
    if x.is_empty() {
        return Ok(());
    }
    let (mut few, mut many) = ([Axis::default(); FEW], Vec::new());
    let axes = match few.get_mut(..dims.len()) {
        Some(few) => few,
        None => {
            many.resize(dims.len(), Axis::default());
            &mut many[..]
        }
    };
    let axes = merged_axes(dims, perm, axes);
    let (Some(first), Some(last)) = (axes.first().copied(), axes.last().copied()) else {
        y.copy_from_slice(x);
        return Ok(());
    };
    // Tasks share out the outermost axis of the result.
    let slab = y.len() / first.extent;
    if axes.len() == 1 {
        y.copy_from_slice(x);
    } else if last.stride == 1 {
        ctx.parallelism.for_each_rows(y, slab, slab, |from, y| {
            for (i, y) in y.chunks_exact_mut(slab).enumerate() {
                copy_runs(&axes[1..], &x[(from + i) * first.stride..], y);
            }
        });
    } else if first.stride == 1 && axes.len() == 2 {
        ctx.parallelism.for_each_rows(y, slab, slab, |from, y| {
            let rows = y.len() / slab;
            transpose(&x[from..], y, rows, last, slab);
        });
    } else {
        ctx.parallelism.for_each_rows(y, slab, slab, |from, y| {
            for (i, y) in y.chunks_exact_mut(slab).enumerate() {
                permute_slab(&axes[1..], &x[(from + i) * first.stride..], y);
            }
        });
    }
    Ok(())
}

/// One axis of the result and how far apart its elements lie in the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Axis {
    extent: usize,
    stride: usize,
}

/// The axes of the result, those of extent 1 left out and those that stay neighbours merged; written to `axes`, which has
/// room for all.
fn merged_axes<'a>(dims: &[usize], perm: &[usize], axes: &'a mut [Axis]) -> &'a [Axis] {
    let mut count = 0;
    for &p in perm.iter().filter(|&&p| dims[p] != 1) {
        let axis = Axis {
            extent: dims[p],
            stride: dims[p + 1..].iter().product(),
        };
        match axes[..count].last_mut() {
            Some(last) if last.stride == axis.extent * axis.stride => {
                *last = Axis {
                    extent: last.extent * axis.extent,
                    stride: axis.stride,
                };
            }
            _ => {
                axes[count] = axis;
                count += 1;
            }
        }
    }
    &axes[..count]
}

/// Copies whole runs: the last axis is contiguous in both.
fn copy_runs<T: Copy>(axes: &[Axis], x: &[T], y: &mut [T]) {
    match axes {
        [] => y.copy_from_slice(&x[..y.len()]),
        [run] => y.copy_from_slice(&x[..run.extent]),
        [axis, rest @ ..] => {
            let slab = y.len() / axis.extent;
            for (i, y) in y.chunks_exact_mut(slab).enumerate() {
                copy_runs(rest, &x[i * axis.stride..], y);
            }
        }
    }
}

/// The general case: finds the axis that is contiguous in the input and transposes it with the
/// last one of the result.
fn permute_slab<T: Copy>(axes: &[Axis], x: &[T], y: &mut [T]) {
    match axes {
        [] => y[0] = x[0],
        [axis] => {
            y.iter_mut()
                .zip(x.iter().step_by(axis.stride))
                .for_each(|(y, &x)| *y = x);
        }
        [axis, rest @ .., last] if axis.stride == 1 => {
            let row = y.len() / axis.extent;
            let mut at = 0;
            for_each_offset(rest, 0, &mut |offset| {
                transpose(&x[offset..], &mut y[at..], axis.extent, *last, row);
                at += last.extent;
            });
        }
        [axis, rest @ ..] => {
            let slab = y.len() / axis.extent;
            for (i, y) in y.chunks_exact_mut(slab).enumerate() {
                permute_slab(rest, &x[i * axis.stride..], y);
            }
        }
    }
}

/// Calls `f` with the input offset of every position of `axes`, in row-major order.
fn for_each_offset(axes: &[Axis], offset: usize, f: &mut impl FnMut(usize)) {
    match axes {
        [] => f(offset),
        [axis, rest @ ..] => {
            for i in 0..axis.extent {
                for_each_offset(rest, offset + i * axis.stride, f);
            }
        }
    }
}

/// `y[r * y_row + c] = x[r + c * cols.stride]` for `rows x cols.extent`, in blocks.
fn transpose<T: Copy>(x: &[T], y: &mut [T], rows: usize, cols: Axis, y_row: usize) {
    if y_row == cols.extent {
        match cols.extent {
            2 => return interleave::<T, 2>(x, y, rows, cols.stride),
            3 => return interleave::<T, 3>(x, y, rows, cols.stride),
            4 => return interleave::<T, 4>(x, y, rows, cols.stride),
            _ => {}
        }
    }
    for r0 in (0..rows).step_by(BLOCK) {
        for c0 in (0..cols.extent).step_by(BLOCK) {
            let c1 = cols.extent.min(c0 + BLOCK);
            for r in r0..rows.min(r0 + BLOCK) {
                let out = &mut y[r * y_row + c0..r * y_row + c1];
                let values = x[r + c0 * cols.stride..].iter().step_by(cols.stride);
                out.iter_mut().zip(values).for_each(|(y, &x)| *y = x);
            }
        }
    }
}

/// `y[r * N + c] = x[r + c * stride]`: planes become pixels.
fn interleave<T: Copy, const N: usize>(x: &[T], y: &mut [T], rows: usize, stride: usize) {
    let mut planes = [&x[..rows]; N];
    for (c, plane) in planes.iter_mut().enumerate() {
        *plane = &x[c * stride..][..rows];
    }
    let (pixels, _) = y[..rows * N].as_chunks_mut::<N>();
    for (r, pixel) in pixels.iter_mut().enumerate().take(rows) {
        for c in 0..N {
            pixel[c] = planes[c][r];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Parallelism;

    fn reference(dims: &[usize], perm: &[usize], x: &[u32]) -> Vec<u32> {
        let out: Vec<usize> = perm.iter().map(|&p| dims[p]).collect();
        (0..x.len())
            .map(|mut i| {
                let mut at = vec![0; dims.len()];
                for k in (0..out.len()).rev() {
                    at[perm[k]] = i % out[k];
                    i /= out[k];
                }
                x[at.iter().zip(dims).fold(0, |f, (&a, &d)| f * d + a)]
            })
            .collect()
    }

    #[test]
    fn every_permutation_of_four_axes_matches_the_definition() {
        for dims in [[3, 5, 40, 7], [2, 1, 33, 64], [4, 70, 1, 1], [1, 2, 3, 1]] {
            let len: usize = dims.iter().product();
            let x: Vec<u32> = (0..len as u32).collect();
            for code in 0..256 {
                let perm: Vec<usize> = (0..4).map(|k| code >> (2 * k) & 3).collect();
                if (0..4).any(|a| !perm.contains(&a)) {
                    continue;
                }
                for threads in [1, 3] {
                    let ctx = Context::new(Parallelism::with_threads(threads).unwrap());
                    let mut y = vec![u32::MAX; len];
                    permute(&ctx, &dims, &perm, &x, &mut y).unwrap();
                    assert_eq!(y, reference(&dims, &perm, &x), "{dims:?} {perm:?}");
                }
            }
        }
    }

    #[test]
    fn neighbours_are_merged_and_units_dropped() {
        let mut room = [Axis::default(); 4];
        assert_eq!(
            merged_axes(&[2, 3, 1, 5], &[3, 0, 1, 2], &mut room),
            [
                Axis {
                    extent: 5,
                    stride: 1
                },
                Axis {
                    extent: 6,
                    stride: 5
                }
            ]
        );
        assert!(merged_axes(&[1, 1], &[1, 0], &mut room).is_empty());
    }

    #[test]
    fn what_is_not_a_permutation_is_refused() {
        let ctx = Context::default();
        assert!(permute(&ctx, &[2, 2], &[0, 0], &[0; 4], &mut [0; 4]).is_err());
        assert!(permute(&ctx, &[2, 2], &[0], &[0; 4], &mut [0; 4]).is_err());
        assert!(permute(&ctx, &[2, 2], &[0, 1], &[0; 3], &mut [0; 3]).is_err());
    }
}
