//! Rows of the adjoints, and of what they go with.

use super::floats;
use crate::conv::{
    ConvEpilogue, ConvParams, ConvShape, ConvSums, Layout, conv_input_grad, conv_packing_weights,
    conv_weight_grad,
};
use crate::elementwise::{Slope, multiply_slope};
use crate::norm::{
    Centre, Softmax, Statistics, batch_norm_grad, batch_norm_training, channel_sums,
    layer_norm_grad,
};
use crate::pool::{Pool, PoolShape, average_pool_grad, max_pool_grad};
use crate::quantized::{Estimator, Grid, fake_quantize, fake_quantize_grad};
use crate::{Context, KernelError, Scratch};

/// Channels of the image and of the result.
const CHANNELS: usize = 37;

/// 37 channels of 33 x 25, 3 x 3 taps, padding 1.
fn problem(groups: usize, stride: usize) -> Result<ConvShape, KernelError> {
    let params = ConvParams {
        strides: vec![stride; 2],
        pads_begin: vec![1; 2],
        pads_end: vec![1; 2],
        groups,
        layout: Layout::ChannelsLast,
        ..ConvParams::default()
    };
    ConvShape::new(&params, 3, CHANNELS, &[33, 25], CHANNELS, &[3, 3])
}

fn weights(shape: &ConvShape) -> Vec<f32> {
    floats(CHANNELS * shape.in_per_group() * 9, 3)
}

pub(super) fn packing_weights(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let shape = problem(1, 2)?;
    let image = floats(shape.input_len().unwrap_or(0), 4);
    let mut out = vec![0.0; shape.output_len().unwrap_or(0)];
    conv_packing_weights(
        ctx,
        &mut Scratch::new(),
        &shape,
        &image,
        &weights(&shape),
        ConvSums::Direct,
        &ConvEpilogue::default(),
        &mut out,
    )?;
    Ok(out)
}

pub(super) fn input_grad(
    ctx: &Context,
    groups: usize,
    stride: usize,
) -> Result<Vec<f32>, KernelError> {
    let shape = problem(groups, stride)?;
    let dy = floats(shape.output_len().unwrap_or(0), 4);
    let mut dx = vec![0.0; shape.input_len().unwrap_or(0)];
    conv_input_grad(
        ctx,
        &mut Scratch::new(),
        &shape,
        &dy,
        &weights(&shape),
        ConvSums::Fastest,
        &mut dx,
    )?;
    Ok(dx)
}

pub(super) fn weight_grad(
    ctx: &Context,
    groups: usize,
    stride: usize,
) -> Result<Vec<f32>, KernelError> {
    let shape = problem(groups, stride)?;
    let dy = floats(shape.output_len().unwrap_or(0), 4);
    let x = floats(shape.input_len().unwrap_or(0), 5);
    let mut dw = vec![0.0; weights(&shape).len()];
    conv_weight_grad(ctx, &mut Scratch::new(), &shape, &dy, &x, &mut dw)?;
    // Sums over hundreds of pixels.
    Ok(dw.into_iter().map(|sum| sum / 16.0).collect())
}

pub(super) fn slope(ctx: &Context, slope: Slope) -> Result<Vec<f32>, KernelError> {
    let x: Vec<f32> = floats(70_001, 5).iter().map(|x| x * 4.0).collect();
    let mut dx = vec![0.0; x.len()];
    multiply_slope(ctx, slope, &floats(x.len(), 6), &x, &mut dx)?;
    Ok(dx)
}

/// Channels of the normalisations, and the elements of each.
const NORM: [usize; 2] = [37, 4001];

pub(super) fn batch_norm(ctx: &Context, inner: usize) -> Result<Vec<f32>, KernelError> {
    let [channels, count] = NORM;
    let x = floats(channels * count * inner, 5);
    let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
    let mut y = vec![0.0; x.len()];
    batch_norm_training(
        ctx,
        &mut Scratch::new(),
        [count, channels, inner],
        1e-5,
        &x,
        (&floats(channels, 6), &floats(channels, 7)),
        (&mut mean, &mut variance),
        &mut y,
    )?;
    Ok([y, mean, variance].concat())
}

pub(super) fn batch_norm_adjoint(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let [channels, count] = NORM;
    let x = floats(channels * count, 5);
    let (mut dgamma, mut dbeta) = (vec![0.0; channels], vec![0.0; channels]);
    let mut dx = vec![0.0; x.len()];
    batch_norm_grad(
        ctx,
        &mut Scratch::new(),
        [count, channels, 1],
        1e-5,
        Statistics::OfBatch,
        (&floats(x.len(), 8), &x, &floats(channels, 6)),
        (&mut dgamma, &mut dbeta),
        &mut dx,
    )?;
    // Sums over thousands of elements.
    let sums = [dgamma, dbeta].concat().into_iter().map(|sum| sum / 64.0);
    Ok(dx.into_iter().chain(sums).collect())
}

pub(super) fn sums(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let [channels, count] = NORM;
    let mut sums = vec![0.0; channels];
    let x = floats(channels * count, 5);
    let extents = [count, channels, 1];
    channel_sums(ctx, &mut Scratch::new(), extents, &x, &mut sums)?;
    Ok(sums.into_iter().map(|sum| sum / 64.0).collect())
}

pub(super) fn layer_norm_adjoint(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let (rows, n) = (801, 77);
    let (x, dy, gamma) = (floats(rows * n, 5), floats(rows * n, 6), floats(n, 7));
    let (mut dgamma, mut dbeta) = (vec![0.0; n], vec![0.0; n]);
    let mut dx = vec![0.0; x.len()];
    layer_norm_grad(
        ctx,
        &mut Scratch::new(),
        Centre::Mean,
        1e-5,
        (&dy, &x, &gamma),
        (&mut dgamma, &mut dbeta),
        &mut dx,
    )?;
    let sums = [dgamma, dbeta].concat().into_iter().map(|sum| sum / 16.0);
    Ok(dx.into_iter().chain(sums).collect())
}

pub(super) fn softmax_adjoint(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let (y, dy) = (floats(300 * 37, 6), floats(300 * 37, 7));
    let mut dx = vec![0.0; y.len()];
    crate::norm::softmax_grad(ctx, Softmax::Log, 37, (&dy, &y), &mut dx)?;
    Ok(dx)
}

pub(super) fn pool_adjoint(ctx: &Context, op: Pool) -> Result<Vec<f32>, KernelError> {
    let (channels, two) = (67, [2; 2]);
    let shape = PoolShape::new(
        3,
        (&[9, 7], &[5, 4]),
        &[3; 2],
        &two,
        &[],
        (&[1; 2], &[1; 2]),
    )?;
    let (x, dy) = (floats(3 * 63 * channels, 5), floats(3 * 20 * channels, 6));
    let mut dx = vec![0.0; x.len()];
    match op {
        Pool::Max => max_pool_grad(ctx, &shape, channels, (&dy, &x), &mut dx)?,
        _ => average_pool_grad(ctx, op, &shape, channels, &dy, &mut dx)?,
    }
    Ok(dx)
}

/// 37 channels with a grid each, and their adjoints; sums of the adjoints are over hundreds of elements.
pub(super) fn fake_quantized(ctx: &Context, estimator: Estimator) -> Result<Vec<f32>, KernelError> {
    let (inner, rounds) = (131, 3);
    let grids: Vec<Grid> = (0..CHANNELS)
        .map(|c| Grid {
            step: 0.05 + 0.01 * c as f32,
            low: -8.0,
            high: 7.0,
        })
        .collect();
    let (x, dy) = (
        floats(rounds * CHANNELS * inner, 5),
        floats(rounds * CHANNELS * inner, 6),
    );
    let x: Vec<f32> = x.iter().map(|x| x * 2.0).collect();
    let mut y = vec![0.0; x.len()];
    fake_quantize(ctx, &grids, inner, &x, &mut y)?;
    let mut dx = vec![0.0; x.len()];
    let (mut dstep, mut rest) = (vec![0.0; CHANNELS], vec![0.0; CHANNELS]);
    fake_quantize_grad(
        ctx,
        &mut Scratch::new(),
        estimator,
        &grids,
        inner,
        (&dy, &x),
        (&mut dx, &mut dstep, &mut rest),
    )?;
    let sums = [dstep, rest].concat().into_iter().map(|sum| sum / 64.0);
    Ok(y.into_iter().chain(dx).chain(sums).collect())
}
