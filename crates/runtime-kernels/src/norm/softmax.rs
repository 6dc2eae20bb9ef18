//! Softmax and its logarithm along one axis.

use super::reduce::{Reduce, accumulate, exponentials};
use crate::error::{check_len, product};
use crate::isa::simd_dispatch;
use crate::{Context, KernelError, Scratch};

/// Softmax, or its logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Softmax {
    /// `e^(x - max) / Σ e^(x - max)`.
    #[default]
    Plain,
    /// `x - max - ln Σ e^(x - max)`.
    Log,
}

/// Softmax along the middle axis of `x: [outer, axis, inner]`.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have that many elements.
pub fn softmax(
    ctx: &Context,
    scratch: &mut Scratch,
    kind: Softmax,
    [outer, axis, inner]: [usize; 3],
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    let len = product(&[outer, axis, inner]);
    check_len("input", x.len(), len)?;
    check_len("result", y.len(), len)?;
    if inner == 1 {
        ctx.parallelism
            .for_each_rows(y, axis, axis.saturating_mul(16), |first, y| {
                let x = &x[first * axis..][..y.len()];
                softmax_rows(ctx.isa, kind, axis, x, y);
            });
        return Ok(());
    }
    // A strided axis is gathered row by row; the scratch holds one row and its result.
    let (floats, _) = scratch.parts(2 * axis, 0);
    let (row, result) = floats.split_at_mut(axis);
    for o in 0..outer {
        for i in 0..inner {
            let start = o * axis * inner + i;
            row.iter_mut()
                .zip(x[start..].iter().step_by(inner))
                .for_each(|(r, &x)| *r = x);
            softmax_rows(ctx.isa, kind, axis, row, result);
            y[start..]
                .iter_mut()
                .step_by(inner)
                .zip(&*result)
                .for_each(|(y, &r)| *y = r);
        }
    }
    Ok(())
}

simd_dispatch! {
    fn softmax_rows(s: S, kind: Softmax, axis: usize, x: &[f32], y: &mut [f32]) {
        for (x, y) in x.chunks_exact(axis).zip(y.chunks_exact_mut(axis)) {
            let max = accumulate(s, Reduce::Max, x);
            let sum = exponentials(s, x, max, y);
            match kind {
                Softmax::Plain => {
                    let scale = 1.0 / sum;
                    y.iter_mut().for_each(|y| *y *= scale);
                }
                Softmax::Log => {
                    let shift = max + sum.ln();
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y = x - shift);
                }
            }
        }
    }
}
