//! Batch normalisation while training, and the adjoints of normalisations and softmax.

use super::channels::{Channels, Deviations, Products, centres, map};
use crate::error::{check_len, product};
use crate::{Context, KernelError, Scratch};

/// `sums[c] = Σ x[n, c, p]` of `x: [outer, channels, inner]`.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have that many elements.
pub fn channel_sums(
    ctx: &Context,
    scratch: &mut Scratch,
    extents: [usize; 3],
    x: &[f32],
    sums: &mut [f32],
) -> Result<(), KernelError> {
    let channels = extents[1];
    check_len("input", x.len(), product(&extents))?;
    check_len("sums", sums.len(), Some(channels))?;
    if x.is_empty() {
        sums.fill(0.0);
        return Ok(());
    }
    let (floats, inner) = scratch.with_inner::<f32>(3 * channels);
    let (both, centre) = floats.split_at_mut(2 * channels);
    centre.fill(0.0);
    let of = Channels {
        extents,
        x,
        other: x,
        centre,
    };
    of.sums(ctx, inner, Products, both);
    sums.copy_from_slice(&both[..channels]);
    Ok(())
}

/// Batch normalisation by the statistics of the batch (Ioffe & Szegedy 2015, arXiv:1502.03167) of `x: [outer, channels, inner]`: per
/// channel `y = (x - mean) / sqrt(var + epsilon) * gamma + beta`, with the mean and the variance (of the `outer * inner` elements,
/// divided by their number) in `statistics`.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have that many elements; [`KernelError::Invalid`] for a batch without elements,
/// which has no statistics.
#[expect(
    clippy::too_many_arguments,
    reason = "the operands and results of one formula"
)]
pub fn batch_norm_training(
    ctx: &Context,
    scratch: &mut Scratch,
    extents: [usize; 3],
    epsilon: f32,
    x: &[f32],
    (gamma, beta): (&[f32], &[f32]),
    (mean, variance): (&mut [f32], &mut [f32]),
    y: &mut [f32],
) -> Result<(), KernelError> {
    let channels = extents[1];
    check_len("input", x.len(), product(&extents))?;
    check_len("result", y.len(), Some(x.len()))?;
    for (what, len) in [
        ("gamma", gamma.len()),
        ("beta", beta.len()),
        ("mean", mean.len()),
        ("variance", variance.len()),
    ] {
        check_len(what, len, Some(channels))?;
    }
    moments(ctx, scratch, extents, x, mean, variance)?;
    let (factors, _) = scratch.with_inner::<f32>(2 * channels);
    let (scale, zero) = factors.split_at_mut(channels);
    zero.fill(0.0);
    for (c, scale) in scale.iter_mut().enumerate() {
        *scale = gamma[c] / (variance[c] + epsilon).sqrt();
    }
    let of = Channels {
        extents,
        x,
        other: x,
        centre: mean,
    };
    map(ctx, &of, [zero, scale, beta], y);
    Ok(())
}

/// The mean and the variance of each channel.
fn moments(
    ctx: &Context,
    scratch: &mut Scratch,
    extents: [usize; 3],
    x: &[f32],
    mean: &mut [f32],
    variance: &mut [f32],
) -> Result<(), KernelError> {
    let [outer, channels, inner] = extents;
    if x.is_empty() {
        return Err(KernelError::Invalid {
            what: "number of elements of a batch",
            value: 0,
        });
    }
    centres(extents, x, mean);
    let (sums, within) = scratch.with_inner::<f32>(2 * channels);
    let of = Channels {
        extents,
        x,
        other: x,
        centre: mean,
    };
    of.sums(ctx, within, Deviations, sums);
    let count = (outer * inner) as f64;
    for c in 0..channels {
        let shift = f64::from(sums[c]) / count;
        let square = f64::from(sums[channels + c]) / count;
        mean[c] = (f64::from(mean[c]) + shift) as f32;
        variance[c] = (square - shift * shift) as f32;
        // Not by `max`, which would drop a NaN.
        if variance[c] < 0.0 {
            variance[c] = 0.0;
        }
    }
    Ok(())
}

/// Mean and variance that a batch normalisation used.
#[derive(Clone, Copy, Debug)]
pub enum Statistics<'a> {
    /// Those of the batch: they depend on the input.
    OfBatch,
    /// Given ones: mean, variance.
    Given(&'a [f32], &'a [f32]),
}

/// The adjoints of batch normalisation of `x: [outer, channels, inner]`, from the adjoint `dy` of its result. Per channel, with `d = 1 /
/// sqrt(var + epsilon)`, `z = (x - mean) d` and `m = outer * inner` elements:
///
/// * `dgamma = Σ dy z`, `dbeta = Σ dy`;
/// * `dx = gamma d (dy - dbeta / m - z dgamma / m)` with the statistics of the batch, else `gamma d dy`.
///
/// `dx` may be empty, if it is not wanted.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have that many elements; [`KernelError::Invalid`] for a batch without elements.
#[expect(
    clippy::too_many_arguments,
    reason = "the operands and results of one formula"
)]
pub fn batch_norm_grad(
    ctx: &Context,
    scratch: &mut Scratch,
    extents: [usize; 3],
    epsilon: f32,
    statistics: Statistics<'_>,
    (dy, x, gamma): (&[f32], &[f32], &[f32]),
    (dgamma, dbeta): (&mut [f32], &mut [f32]),
    dx: &mut [f32],
) -> Result<(), KernelError> {
    let [outer, channels, inner] = extents;
    check_len("input", x.len(), product(&extents))?;
    check_len("adjoint of the result", dy.len(), Some(x.len()))?;
    if !dx.is_empty() {
        check_len("adjoint of the input", dx.len(), Some(x.len()))?;
    }
    for (what, len) in [
        ("gamma", gamma.len()),
        ("adjoint of gamma", dgamma.len()),
        ("adjoint of beta", dbeta.len()),
    ] {
        check_len(what, len, Some(channels))?;
    }
    if let Statistics::Given(mean, variance) = statistics {
        check_len("mean", mean.len(), Some(channels))?;
        check_len("variance", variance.len(), Some(channels))?;
    }
    let (floats, within) = scratch.with_inner::<f32>(7 * channels);
    let (moments_of, floats) = floats.split_at_mut(2 * channels);
    let (mean, variance) = moments_of.split_at_mut(channels);
    match statistics {
        Statistics::OfBatch => moments(ctx, within, extents, x, mean, variance)?,
        Statistics::Given(given, spread) => {
            mean.copy_from_slice(given);
            variance.copy_from_slice(spread);
        }
    }
    let (sums, factors) = floats.split_at_mut(2 * channels);
    let of = Channels {
        extents,
        x,
        other: dy,
        centre: mean,
    };
    match x.is_empty() {
        true => sums.fill(0.0),
        false => of.sums(ctx, within, Products, sums),
    }
    let (a, rest) = factors.split_at_mut(channels);
    let (b, k) = rest.split_at_mut(channels);
    let count = (outer * inner) as f32;
    for c in 0..channels {
        let inverse = 1.0 / (variance[c] + epsilon).sqrt();
        dbeta[c] = sums[c];
        dgamma[c] = sums[channels + c] * inverse;
        a[c] = gamma[c] * inverse;
        (b[c], k[c]) = match statistics {
            Statistics::Given(..) => (0.0, 0.0),
            Statistics::OfBatch => (
                -a[c] * inverse * dgamma[c] / count,
                -a[c] * dbeta[c] / count,
            ),
        };
    }
    if !dx.is_empty() {
        map(ctx, &of, [a, b, k], dx);
    }
    Ok(())
}
