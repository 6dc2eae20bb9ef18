//! The adjoints of what is computed row by row: softmax, layer and root-mean-square normalisation.

use super::softmax::Softmax;
use crate::error::check_len;
use crate::isa::{Simd, simd_dispatch};
use crate::{Context, KernelError, Scratch};

/// Pieces at most that sums over rows are taken in.
const PIECES: usize = 16;
/// Elements of a piece at least.
const PIECE: usize = 1 << 14;

/// The adjoint of softmax of rows of `axis` elements, or of its logarithm, from the adjoint `dy` of its result `y`:
/// `dx = y (dy - Σ dy y)`, or `dx = dy - e^y Σ dy`.
///
/// # Errors
/// [`KernelError::Length`] if the slices do not have one length, or are not whole rows.
pub fn softmax_grad(
    ctx: &Context,
    kind: Softmax,
    axis: usize,
    (dy, y): (&[f32], &[f32]),
    dx: &mut [f32],
) -> Result<(), KernelError> {
    check_len("adjoint of the result", dy.len(), Some(dx.len()))?;
    check_len("result", y.len(), Some(dx.len()))?;
    let rows = dx.len().checked_div(axis).unwrap_or(0);
    check_len("adjoint of the input", dx.len(), rows.checked_mul(axis))?;
    ctx.parallelism
        .for_each_rows(dx, axis, axis.saturating_mul(8), |first, dx| {
            let part = first * axis..first * axis + dx.len();
            softmax_rows(ctx.isa, kind, axis, &dy[part.clone()], &y[part], dx);
        });
    Ok(())
}

simd_dispatch! {
    fn softmax_rows(s: S, kind: Softmax, axis: usize, dy: &[f32], y: &[f32], dx: &mut [f32]) {
        let rows = dy.chunks_exact(axis).zip(y.chunks_exact(axis));
        for (dx, (dy, y)) in dx.chunks_exact_mut(axis).zip(rows) {
            let sum = fold(s, [dy, y], |[dy, y]| match kind {
                Softmax::Plain => s.mul(dy, y),
                Softmax::Log => dy,
            });
            let sum = s.splat(sum);
            map(s, [dy, y], dx, |[dy, y]| match kind {
                Softmax::Plain => s.mul(y, s.sub(dy, sum)),
                Softmax::Log => s.sub(dy, s.mul(crate::elementwise::math::exp(s, y), sum)),
            });
        }
    }
}

/// What a normalisation of rows takes deviations from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Centre {
    /// The mean: layer normalisation (Ba et al. 2016, arXiv:1607.06450).
    Mean,
    /// Zero: root-mean-square normalisation (Zhang & Sennrich 2019, arXiv:1910.07467).
    Zero,
}

/// The adjoints of layer or root-mean-square normalisation of rows of `gamma.len()` elements, from the adjoint `dy` of the result. With
/// `z = (x - centre) d`, `d = 1 / sqrt(mean((x - centre)²) + epsilon)`, `g = dy gamma` and means over a row:
/// `dx = d (g - mean(g) - z mean(g z))`, without `mean(g)` where the centre is zero; `dgamma = Σ dy z` and `dbeta = Σ dy` over all rows.
///
/// # Errors
/// [`KernelError::Length`] if slices do not have one length, or are not whole rows.
pub fn layer_norm_grad(
    ctx: &Context,
    scratch: &mut Scratch,
    centre: Centre,
    epsilon: f32,
    (dy, x, gamma): (&[f32], &[f32], &[f32]),
    (dgamma, dbeta): (&mut [f32], &mut [f32]),
    dx: &mut [f32],
) -> Result<(), KernelError> {
    let n = gamma.len();
    check_len("adjoint of the result", dy.len(), Some(dx.len()))?;
    check_len("input", x.len(), Some(dx.len()))?;
    check_len("adjoint of gamma", dgamma.len(), Some(n))?;
    check_len("adjoint of beta", dbeta.len(), Some(n))?;
    let rows = dx.len().checked_div(n).unwrap_or(0);
    check_len("adjoint of the input", dx.len(), rows.checked_mul(n))?;
    dgamma.fill(0.0);
    dbeta.fill(0.0);
    if dx.is_empty() {
        return Ok(());
    }
    let pieces = (dx.len() / PIECE).clamp(1, PIECES).min(rows);
    let each = rows.div_ceil(pieces);
    let (floats, _) = scratch.parts(pieces * 3 * n, 0);
    let tasks = ctx.parallelism.tasks(64 * dx.len(), pieces);
    let parts = dx.chunks_mut(each * n).zip(floats.chunks_exact_mut(3 * n));
    ctx.parallelism
        .for_each(tasks, parts.enumerate(), |(i, (dx, sums))| {
            let from = i * each * n;
            let part = from..from + dx.len();
            sums.fill(0.0);
            let norm = Norm {
                centre,
                epsilon,
                gamma,
            };
            norm_rows(ctx.isa, norm, &dy[part.clone()], &x[part], dx, sums);
        });
    let used = rows.div_ceil(each);
    for sums in floats.chunks_exact(3 * n).take(used) {
        let (first, rest) = sums.split_at(n);
        dgamma.iter_mut().zip(first).for_each(|(sum, x)| *sum += x);
        dbeta.iter_mut().zip(rest).for_each(|(sum, x)| *sum += x);
    }
    Ok(())
}

/// A normalisation of rows.
#[derive(Clone, Copy)]
struct Norm<'a> {
    centre: Centre,
    epsilon: f32,
    gamma: &'a [f32],
}

simd_dispatch! {
    /// Some rows; `sums` are those of the scale's and of the offset's adjoint, and room for a row.
    fn norm_rows(
        s: S,
        norm: Norm<'_>,
        dy: &[f32],
        x: &[f32],
        dx: &mut [f32],
        sums: &mut [f32],
    ) {
        let (n, gamma) = (norm.gamma.len(), norm.gamma);
        let (dgamma, rest) = sums.split_at_mut(n);
        let (dbeta, z) = rest.split_at_mut(n);
        let count = n as f32;
        let rows = dy.chunks_exact(n).zip(x.chunks_exact(n));
        for (dx, (dy, x)) in dx.chunks_exact_mut(n).zip(rows) {
            let mean = match norm.centre {
                Centre::Mean => fold(s, [x, x], |[x, _]| x) / count,
                Centre::Zero => 0.0,
            };
            let mean = s.splat(mean);
            map(s, [x, x], z, |[x, _]| s.sub(x, mean));
            let variance = fold(s, [z, z], |[z, _]| s.mul(z, z)) / count;
            let inverse = 1.0 / (variance + norm.epsilon).sqrt();
            z.iter_mut().for_each(|z| *z *= inverse);
            let inverse = s.splat(inverse);
            let z = &*z;
            let along = fold(s, [dy, gamma], |[dy, gamma]| s.mul(dy, gamma)) / count;
            let along = match norm.centre {
                Centre::Mean => s.splat(along),
                Centre::Zero => s.splat(0.0),
            };
            map(s, [dy, gamma], dx, |[dy, gamma]| s.mul(dy, gamma));
            let turned = s.splat(fold(s, [dx, z], |[g, z]| s.mul(g, z)) / count);
            for (i, dx) in dx.chunks_mut(S::LANES).enumerate() {
                let part = i * S::LANES..i * S::LANES + dx.len();
                let [z, dy] = [&z[part.clone()], &dy[part.clone()]].map(|v| s.load_partial(v, 0.0));
                let g = s.load_partial(dx, 0.0);
                let moved = s.sub(s.sub(g, along), s.mul(z, turned));
                s.store_partial(s.mul(inverse, moved), dx);
                let (to, beta) = (&mut dgamma[part.clone()], &mut dbeta[part]);
                s.store_partial(s.fma(dy, z, s.load_partial(to, 0.0)), to);
                s.store_partial(s.add(dy, s.load_partial(beta, 0.0)), beta);
            }
        }
    }
}

/// `Σ f(a, b)` over a row.
#[inline(always)]
fn fold<S: Simd>(s: S, [a, b]: [&[f32]; 2], f: impl Fn([S::F; 2]) -> S::F) -> f32 {
    let mut sum = s.splat(0.0);
    let whole = a.len() / S::LANES * S::LANES;
    for (a, b) in a.chunks_exact(S::LANES).zip(b.chunks_exact(S::LANES)) {
        sum = s.add(sum, f([s.load(a), s.load(b)]));
    }
    if whole < a.len() {
        // What is missing is zero, of which all terms are.
        let last = [&a[whole..], &b[whole..]].map(|v| s.load_partial(v, 0.0));
        sum = s.add(sum, f(last));
    }
    s.sum(sum)
}

/// `y = f(a, b)` over a row.
#[inline(always)]
fn map<S: Simd>(s: S, [a, b]: [&[f32]; 2], y: &mut [f32], f: impl Fn([S::F; 2]) -> S::F) {
    let whole = a.len() / S::LANES * S::LANES;
    let pairs = a.chunks_exact(S::LANES).zip(b.chunks_exact(S::LANES));
    for (y, (a, b)) in y.chunks_exact_mut(S::LANES).zip(pairs) {
        s.store(f([s.load(a), s.load(b)]), y);
    }
    if whole < a.len() {
        let last = [&a[whole..], &b[whole..]].map(|v| s.load_partial(v, 0.0));
        s.store_partial(f(last), &mut y[whole..]);
    }
}
