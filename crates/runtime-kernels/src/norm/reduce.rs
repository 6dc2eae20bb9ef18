//! Reductions along one axis of `[outer, axis, inner]`.

use crate::elementwise::math::{exp, ln};
use crate::error::{check_len, product};
use crate::isa::{Simd, simd_dispatch};
use crate::{Context, KernelError};

/// What a reduction computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reduce {
    /// `Σ x`; 0 for no elements.
    Sum,
    /// `Σ x / n`.
    Mean,
    /// The greatest; minus infinity for no elements.
    Max,
    /// The least; infinity for no elements.
    Min,
    /// `Σ x^2`.
    SumSquare,
    /// `Σ |x|`.
    L1,
    /// `sqrt(Σ x^2)`.
    L2,
    /// `Π x`; 1 for no elements.
    Product,
    /// `ln Σ x`.
    LogSum,
}

impl Reduce {
    fn start(self) -> f32 {
        match self {
            Self::Max => f32::NEG_INFINITY,
            Self::Min => f32::INFINITY,
            Self::Product => 1.0,
            _ => 0.0,
        }
    }

    #[inline(always)]
    fn step<S: Simd>(self, s: S, acc: S::F, x: S::F) -> S::F {
        match self {
            Self::Sum | Self::Mean | Self::LogSum => s.add(acc, x),
            // The accumulator is second, so that its NaN stays; a NaN of `x` enters by `select`.
            Self::Max => s.select(s.is_nan(x), x, s.max(x, acc)),
            Self::Min => s.select(s.is_nan(x), x, s.min(x, acc)),
            Self::SumSquare | Self::L2 => s.fma(x, x, acc),
            Self::L1 => s.add(acc, s.abs(x)),
            Self::Product => s.mul(acc, x),
        }
    }

    /// Joins two accumulators lane by lane.
    #[inline(always)]
    fn join_vectors<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        match self {
            Self::Max | Self::Min | Self::Product => self.step(s, a, b),
            _ => s.add(a, b),
        }
    }

    /// Joins two accumulators.
    #[inline(always)]
    fn join(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Max if a.is_nan() || b.is_nan() => f32::NAN,
            Self::Min if a.is_nan() || b.is_nan() => f32::NAN,
            Self::Max => a.max(b),
            Self::Min => a.min(b),
            Self::Product => a * b,
            _ => a + b,
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(self, s: S, acc: S::F, count: usize) -> S::F {
        match self {
            Self::Mean => s.div(acc, s.splat(count as f32)),
            Self::L2 => s.sqrt(acc),
            Self::LogSum => ln(s, acc),
            _ => acc,
        }
    }
}

/// Reduces the middle axis of `x: [outer, axis, inner]` into `y: [outer, inner]`.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have that many elements.
///
/// # Examples
/// ```
/// use runtime_kernels::Context;
/// use runtime_kernels::norm::{Reduce, reduce};
///
/// let mut y = [0.0; 2];
/// reduce(&Context::default(), Reduce::Mean, [2, 3, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut y)?;
/// assert_eq!(y, [2.0, 5.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn reduce(
    ctx: &Context,
    op: Reduce,
    [outer, axis, inner]: [usize; 3],
    x: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    check_len("input", x.len(), product(&[outer, axis, inner]))?;
    check_len("result", y.len(), product(&[outer, inner]))?;
    ctx.parallelism
        .for_each_rows(y, inner, axis.saturating_mul(inner), |first, y| {
            for (i, y) in y.chunks_exact_mut(inner).enumerate() {
                let x = &x[(first + i) * axis * inner..][..axis * inner];
                if inner == 1 {
                    y[0] = reduce_row(ctx.isa, op, x);
                } else {
                    reduce_columns(ctx.isa, op, x, y);
                }
            }
        });
    Ok(())
}

simd_dispatch! {
    fn reduce_row(s: S, op: Reduce, x: &[f32]) -> f32 {
        let acc = accumulate(s, op, x);
        let mut one = [0.0];
        s.store_partial(op.finish(s, s.splat(acc), x.len()), &mut one);
        one[0]
    }
}

/// The accumulator over a contiguous row: four vectors at once, joined pairwise.
#[inline(always)]
pub(crate) fn accumulate<S: Simd>(s: S, op: Reduce, x: &[f32]) -> f32 {
    let start = s.splat(op.start());
    let mut acc = [start; 4];
    let blocks = x.chunks_exact(4 * S::LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for (acc, x) in acc.iter_mut().zip(block.chunks_exact(S::LANES)) {
            *acc = op.step(s, *acc, s.load(x));
        }
    }
    let vectors = rest.chunks_exact(S::LANES);
    let last = vectors.remainder();
    for (acc, x) in acc.iter_mut().zip(vectors) {
        *acc = op.step(s, *acc, s.load(x));
    }
    if !last.is_empty() {
        // What a reduction starts from changes nothing.
        acc[3] = op.step(s, acc[3], s.load_partial(last, op.start()));
    }
    let [a, b, c, d] = acc;
    let acc = op.join_vectors(s, op.join_vectors(s, a, b), op.join_vectors(s, c, d));
    s.fold(acc, |a, b| op.join(a, b))
}

simd_dispatch! {
    fn reduce_columns(s: S, op: Reduce, x: &[f32], y: &mut [f32]) {
        let inner = y.len();
        let count = x.len() / inner;
        for (i, y) in y.chunks_mut(S::LANES).enumerate() {
            let mut acc = s.splat(op.start());
            for row in x.chunks_exact(inner) {
                let x = &row[i * S::LANES..][..y.len()];
                let v = if x.len() == S::LANES { s.load(x) } else { s.load_partial(x, 1.0) };
                acc = op.step(s, acc, v);
            }
            s.store_partial(op.finish(s, acc, count), y);
        }
    }
}

/// `Σ e^(x - max)` of a row, writing the exponentials to `y`.
#[inline(always)]
pub(crate) fn exponentials<S: Simd>(s: S, x: &[f32], max: f32, y: &mut [f32]) -> f32 {
    let shift = s.splat(max);
    let mut sum = s.splat(0.0);
    let whole = x.len() / S::LANES * S::LANES;
    for (x, y) in x.chunks_exact(S::LANES).zip(y.chunks_exact_mut(S::LANES)) {
        let e = exp(s, s.sub(s.load(x), shift));
        sum = s.add(sum, e);
        s.store(e, y);
    }
    if whole < x.len() {
        // Missing lanes are minus infinity, whose exponential is 0.
        let x = s.load_partial(&x[whole..], f32::NEG_INFINITY);
        let e = exp(s, s.sub(x, shift));
        sum = s.add(sum, e);
        s.store_partial(e, &mut y[whole..]);
    }
    s.sum(sum)
}
