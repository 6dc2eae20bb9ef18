//! Functions of elements of any type, one tensor or two that are spread over each other in any way.

use crate::error::{check_extent, check_len, product};
use crate::isa::simd_dispatch;
use crate::{Context, KernelError};

/// Axes that are left once those that lie in memory as one are joined; more are refused.
const MAX_AXES: usize = 8;

/// `y[i] = f(x[i])`.
///
/// # Errors
/// [`KernelError::Length`] if `y` is not as long as `x`.
///
/// # Examples
/// ```
/// use runtime_kernels::{Context, elementwise::map};
///
/// let mut y = [0.0; 3];
/// map(&Context::default(), &[true, false, true], &mut y, |x| f32::from(u8::from(x)))?;
/// assert_eq!(y, [1.0, 0.0, 1.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn map<A: Copy + Sync, Y: Send>(
    ctx: &Context,
    x: &[A],
    y: &mut [Y],
    f: impl Fn(A) -> Y + Copy + Sync,
) -> Result<(), KernelError> {
    check_len("result", y.len(), Some(x.len()))?;
    ctx.parallelism.for_each_rows(y, 1, 1, |first, y| {
        map_run(ctx.isa, &x[first..first + y.len()], y, f);
    });
    Ok(())
}

/// `y = f(a, b)` with `a` and `b`, each with its shape, spread over `shape` by the rules of NumPy.
///
/// # Errors
/// [`KernelError::Length`] for a slice that does not have the elements of its shape, [`KernelError::Extent`] for an axis
/// that does not spread, [`KernelError::Invalid`] for more than eight axes that cannot be joined.
///
/// # Examples
/// ```
/// use runtime_kernels::{Context, elementwise::zip_spread};
///
/// let (a, b) = ([1, 2], [1, 2, 3]);
/// let mut y = [false; 6];
/// let less = |a, b| a < b;
/// zip_spread(&Context::default(), &[2, 3], (&a, &[2, 1]), (&b, &[3]), &mut y, less)?;
/// assert_eq!(y, [false, true, true, false, false, true]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn zip_spread<A: Copy + Sync, B: Copy + Sync, Y: Send>(
    ctx: &Context,
    shape: &[usize],
    (a, a_shape): (&[A], &[usize]),
    (b, b_shape): (&[B], &[usize]),
    y: &mut [Y],
    f: impl Fn(A, B) -> Y + Copy + Sync,
) -> Result<(), KernelError> {
    check_len("first operand", a.len(), product(a_shape))?;
    check_len("second operand", b.len(), product(b_shape))?;
    check_len("result", y.len(), product(shape))?;
    let walk = Walk::new(shape, [a_shape, b_shape])?;
    let Axis { size, strides } = walk.axes[0];
    ctx.parallelism.for_each_rows(y, size, size, |first, y| {
        for (i, y) in y.chunks_exact_mut(size).enumerate() {
            let [p, q] = walk.starts(first + i);
            match strides {
                [1, 1] => zip_run(ctx.isa, &a[p..p + size], &b[q..q + size], y, f),
                [0, 1] => {
                    let a = a[p];
                    map_run(ctx.isa, &b[q..q + size], y, move |b| f(a, b));
                }
                [1, 0] => {
                    let b = b[q];
                    map_run(ctx.isa, &a[p..p + size], y, move |a| f(a, b));
                }
                _ => y.fill_with(|| f(a[p], b[q])),
            }
        }
    });
    Ok(())
}

simd_dispatch! {
    fn map_run[A: Copy, Y: Send, F: Fn(A) -> Y](_s: S, x: &[A], y: &mut [Y], f: F) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = f(x);
        }
    }
}

simd_dispatch! {
    fn zip_run[A: Copy, B: Copy, Y: Send, F: Fn(A, B) -> Y](_s: S, a: &[A], b: &[B], y: &mut [Y], f: F) {
        for (y, (&a, &b)) in y.iter_mut().zip(a.iter().zip(b)) {
            *y = f(a, b);
        }
    }
}

/// An axis of the result, and by how much each operand moves along it: not at all where it is spread.
#[derive(Clone, Copy, Default)]
struct Axis {
    size: usize,
    strides: [usize; 2],
}

/// The axes of a result, the last one first.
struct Walk {
    axes: [Axis; MAX_AXES],
    count: usize,
}

impl Walk {
    fn new(shape: &[usize], operands: [&[usize]; 2]) -> Result<Self, KernelError> {
        let mut walk = Self {
            axes: [Axis {
                size: 1,
                strides: [1, 1],
            }; MAX_AXES],
            count: 1,
        };
        for operand in operands {
            if operand.len() > shape.len() {
                check_extent("axes of an operand", operand.len(), shape.len())?;
            }
        }
        let mut whole = [1usize; 2];
        for (i, &size) in shape.iter().rev().enumerate() {
            let mut strides = [0, 0];
            for (k, operand) in operands.iter().enumerate() {
                let own = operand.iter().rev().nth(i).copied().unwrap_or(1);
                if own != 1 {
                    check_extent("axis of an operand", own, size)?;
                    strides[k] = whole[k];
                    whole[k] = whole[k].saturating_mul(own);
                }
            }
            walk.push(Axis { size, strides })?;
        }
        Ok(walk)
    }

    /// Adds an axis before the others, joined with the one behind where both operands allow it.
    fn push(&mut self, axis: Axis) -> Result<(), KernelError> {
        if axis.size == 1 {
            return Ok(());
        }
        let last = &mut self.axes[self.count - 1];
        if last.size == 1 && self.count == 1 {
            *last = axis;
            return Ok(());
        }
        let joins = |k: usize| axis.strides[k] == last.strides[k].saturating_mul(last.size);
        if joins(0) && joins(1) {
            last.size = last.size.saturating_mul(axis.size);
            return Ok(());
        }
        if self.count == MAX_AXES {
            return Err(KernelError::Invalid {
                what: "axes that cannot be joined",
                value: self.count + 1,
            });
        }
        self.axes[self.count] = axis;
        self.count += 1;
        Ok(())
    }

    /// Where both operands start for row `row` of the innermost axis.
    fn starts(&self, row: usize) -> [usize; 2] {
        let (mut rest, mut starts) = (row, [0, 0]);
        for axis in &self.axes[1..self.count] {
            let i = rest % axis.size;
            rest /= axis.size;
            for (start, stride) in starts.iter_mut().zip(axis.strides) {
                *start += i * stride;
            }
        }
        starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, Parallelism};

    /// By the definition: the element of an operand that belongs to element `at` of the result.
    fn source(shape: &[usize], operand: &[usize], at: usize) -> usize {
        let (mut rest, mut whole, mut source) = (at, 1, 0);
        for (i, &size) in shape.iter().rev().enumerate() {
            let own = operand.iter().rev().nth(i).copied().unwrap_or(1);
            source += if own == 1 { 0 } else { rest % size * whole };
            whole *= own;
            rest /= size;
        }
        source
    }

    #[test]
    fn operands_are_spread_by_the_rules_of_numpy() {
        let cases: [(&[usize], &[usize], &[usize]); 9] = [
            (&[2, 3, 4], &[2, 3, 4], &[2, 3, 4]),
            (&[2, 3, 4], &[2, 1, 4], &[3, 1]),
            (&[5, 7], &[5, 1], &[1, 7]),
            (&[5, 7], &[], &[7]),
            (&[2, 3, 4], &[1, 1, 1], &[1]),
            (&[2, 3, 2, 3], &[2, 1, 2, 1], &[1, 3, 1, 3]),
            (&[], &[], &[]),
            (&[3, 0, 2], &[3, 0, 2], &[1]),
            (&[700, 700], &[700, 1], &[700]),
        ];
        for (shape, a_shape, b_shape) in cases {
            let numbers = |shape: &[usize]| (0..shape.iter().product()).collect::<Vec<usize>>();
            let (a, b) = (numbers(a_shape), numbers(b_shape));
            let expected: Vec<_> = (0..shape.iter().product())
                .map(|at| (source(shape, a_shape, at), source(shape, b_shape, at)))
                .collect();
            for isa in Isa::available() {
                for threads in [1, 3] {
                    let parallelism = Parallelism::with_threads(threads).unwrap();
                    let ctx = Context::new(parallelism).with_isa(isa);
                    let mut y = vec![(9, 9); expected.len()];
                    let (a, b) = ((&a[..], a_shape), (&b[..], b_shape));
                    zip_spread(&ctx, shape, a, b, &mut y, |a, b| (a, b)).unwrap();
                    assert_eq!(y, expected, "{shape:?}");
                }
            }
        }
    }

    #[test]
    fn operands_that_do_not_spread_are_refused() {
        let ctx = Context::default();
        let mut y = [0; 6];
        let add = |a: i32, b: i32| a + b;
        let six = [0; 6];
        let mut run =
            |a: (&[i32], &[usize])| zip_spread(&ctx, &[2, 3], a, (&six, &[2, 3]), &mut y, add);
        assert!(matches!(
            run((&[0; 2], &[2])),
            Err(KernelError::Extent { .. })
        ));
        assert!(matches!(
            run((&[0; 2], &[3])),
            Err(KernelError::Length { .. })
        ));
        assert!(matches!(
            run((&[0; 6], &[1, 2, 3])),
            Err(KernelError::Extent { .. })
        ));
        let wide: Vec<usize> = vec![2; 18];
        let a: Vec<usize> = (0..18).map(|i| 1 + i % 2).collect();
        let (a, b) = ((&[0; 512][..], &a[..]), (&[0][..], &[][..]));
        let mut y = vec![0; 1 << 18];
        let refused = zip_spread(&ctx, &wide, a, b, &mut y, add);
        assert!(matches!(refused, Err(KernelError::Invalid { .. })));
    }
}
