//! Layer and root-mean-square normalisation of rows.
//!
//! * layer (Ba et al. 2016, arXiv:1607.06450): `y = (x - mean) / sqrt(var + eps) * gamma + beta`;
//! * RMS (Zhang & Sennrich 2019, arXiv:1910.07467): `y = x / sqrt(Σ x^2 / n + eps) * gamma`.

use super::reduce::{Reduce, accumulate};
use crate::error::check_len;
use crate::isa::{Simd, simd_dispatch};
use crate::{Context, KernelError};

/// Normalises each row of `gamma.len()` elements; `beta` may be empty.
///
/// # Errors
/// [`KernelError::Length`] if `x` and `y` differ, are not whole rows, or `beta` has another length.
pub fn layer_norm(
    ctx: &Context,
    epsilon: f32,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    if !beta.is_empty() {
        check_len("beta", beta.len(), Some(gamma.len()))?;
    }
    check_rows(x, gamma, y)?;
    let n = gamma.len();
    ctx.parallelism.for_each_rows(y, n, n * 4, |first, y| {
        let x = &x[first * n..][..y.len()];
        layer_rows(ctx.isa, epsilon, x, gamma, beta, y);
    });
    Ok(())
}

/// Scales each row of `gamma.len()` elements to unit mean square.
///
/// # Errors
/// [`KernelError::Length`] if `x` and `y` differ or are not whole rows.
pub fn rms_norm(
    ctx: &Context,
    epsilon: f32,
    x: &[f32],
    gamma: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    check_rows(x, gamma, y)?;
    let n = gamma.len();
    ctx.parallelism.for_each_rows(y, n, n * 3, |first, y| {
        let x = &x[first * n..][..y.len()];
        rms_rows(ctx.isa, epsilon, x, gamma, y);
    });
    Ok(())
}

fn check_rows(x: &[f32], gamma: &[f32], y: &[f32]) -> Result<(), KernelError> {
    check_len("result", y.len(), Some(x.len()))?;
    let rows = x.len().checked_div(gamma.len()).unwrap_or(0);
    check_len("input", x.len(), rows.checked_mul(gamma.len()))
}

simd_dispatch! {
    fn layer_rows(s: S, epsilon: f32, x: &[f32], gamma: &[f32], beta: &[f32], y: &mut [f32]) {
        let n = gamma.len();
        for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
            let mean = accumulate(s, Reduce::Sum, x) / n as f32;
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = x - mean);
            let variance = accumulate(s, Reduce::SumSquare, y) / n as f32;
            scale_row(s, 1.0 / (variance + epsilon).sqrt(), gamma, beta, y);
        }
    }
}

simd_dispatch! {
    fn rms_rows(s: S, epsilon: f32, x: &[f32], gamma: &[f32], y: &mut [f32]) {
        let n = gamma.len();
        for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
            let square = accumulate(s, Reduce::SumSquare, x) / n as f32;
            y.copy_from_slice(x);
            scale_row(s, 1.0 / (square + epsilon).sqrt(), gamma, &[], y);
        }
    }
}

/// `y = y * scale * gamma + beta`.
#[inline(always)]
fn scale_row<S: Simd>(s: S, scale: f32, gamma: &[f32], beta: &[f32], y: &mut [f32]) {
    let scale = s.splat(scale);
    for (i, y) in y.chunks_mut(S::LANES).enumerate() {
        let at = i * S::LANES;
        let (v, g) = (
            s.load_partial(y, 0.0),
            s.load_partial(&gamma[at..at + y.len()], 0.0),
        );
        let b = if beta.is_empty() {
            s.splat(0.0)
        } else {
            s.load_partial(&beta[at..at + y.len()], 0.0)
        };
        s.store_partial(s.fma(s.mul(v, scale), g, b), y);
    }
}
