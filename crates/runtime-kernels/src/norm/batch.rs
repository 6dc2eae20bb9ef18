//! Per-channel affine maps and group normalisation of channels-first images.

use super::reduce::{Reduce, accumulate};
use crate::elementwise::Activation;
use crate::error::{check_len, product};
use crate::isa::{Simd, simd_dispatch};
use crate::{Context, KernelError};

/// `y = activation(x * scale[c] + offset[c])` for `x: [batch, channels, inner]`: batch
/// normalisation with fixed statistics (Ioffe & Szegedy 2015, arXiv:1502.03167), where
/// `scale = gamma / sqrt(var + eps)` and `offset = beta - mean * scale`.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have that many elements.
pub fn affine_channels(
    ctx: &Context,
    [batch, channels, inner]: [usize; 3],
    x: &[f32],
    (scale, offset): (&[f32], &[f32]),
    activation: Activation,
    y: &mut [f32],
) -> Result<(), KernelError> {
    let len = product(&[batch, channels, inner]);
    check_len("input", x.len(), len)?;
    check_len("result", y.len(), len)?;
    check_len("scale", scale.len(), Some(channels))?;
    check_len("offset", offset.len(), Some(channels))?;
    ctx.parallelism.for_each_rows(y, inner, inner, |first, y| {
        for (i, y) in y.chunks_exact_mut(inner).enumerate() {
            let (row, c) = (first + i, (first + i) % channels);
            affine(
                ctx.isa,
                scale[c],
                offset[c],
                activation,
                &x[row * inner..][..inner],
                y,
            );
        }
    });
    Ok(())
}

/// Group normalisation (Wu & He 2018, arXiv:1803.08494) of `x: [batch, channels, inner]`:
/// each group of channels is brought to mean 0 and variance 1, then `* gamma[c] + beta[c]`.
///
/// One channel per group is instance normalisation.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have that many elements,
/// [`KernelError::Invalid`] if `groups` does not divide the channels.
pub fn group_norm(
    ctx: &Context,
    [batch, channels, inner]: [usize; 3],
    groups: usize,
    epsilon: f32,
    x: &[f32],
    (gamma, beta): (&[f32], &[f32]),
    y: &mut [f32],
) -> Result<(), KernelError> {
    let len = product(&[batch, channels, inner]);
    check_len("input", x.len(), len)?;
    check_len("result", y.len(), len)?;
    check_len("gamma", gamma.len(), Some(channels))?;
    check_len("beta", beta.len(), Some(channels))?;
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(KernelError::Invalid {
            what: "groups",
            value: groups,
        });
    }
    let per_group = channels / groups;
    let row = per_group * inner;
    ctx.parallelism.for_each_rows(y, row, row * 4, |first, y| {
        for (i, y) in y.chunks_exact_mut(row).enumerate() {
            let x = &x[(first + i) * row..][..row];
            let from = (first + i) % groups * per_group;
            let (gamma, beta) = (
                &gamma[from..from + per_group],
                &beta[from..from + per_group],
            );
            normalise(ctx.isa, inner, epsilon, x, gamma, beta, y);
        }
    });
    Ok(())
}

simd_dispatch! {
    fn affine(s: S, scale: f32, offset: f32, activation: Activation, x: &[f32], y: &mut [f32]) {
        affine_row(s, scale, offset, activation, x, y);
    }
}

#[inline(always)]
fn affine_row<S: Simd>(
    s: S,
    scale: f32,
    offset: f32,
    activation: Activation,
    x: &[f32],
    y: &mut [f32],
) {
    let (a, b) = (s.splat(scale), s.splat(offset));
    let whole = x.len() / S::LANES * S::LANES;
    for (x, y) in x.chunks_exact(S::LANES).zip(y.chunks_exact_mut(S::LANES)) {
        s.store(activation.apply(s, s.fma(s.load(x), a, b)), y);
    }
    let tail = s.fma(s.load_partial(&x[whole..], 0.0), a, b);
    s.store_partial(activation.apply(s, tail), &mut y[whole..]);
}

simd_dispatch! {
    fn normalise(s: S, inner: usize, epsilon: f32, x: &[f32], gamma: &[f32], beta: &[f32], y: &mut [f32]) {
        let n = x.len() as f32;
        let mean = accumulate(s, Reduce::Sum, x) / n;
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = x - mean);
        let scale = 1.0 / (accumulate(s, Reduce::SumSquare, y) / n + epsilon).sqrt();
        let channels = x.chunks_exact(inner).zip(y.chunks_exact_mut(inner));
        for ((x, y), (&g, &b)) in channels.zip(gamma.iter().zip(beta)) {
            affine_row(s, scale * g, b - mean * scale * g, Activation::None, x, y);
        }
    }
}
