//! Rows of convolutions one behind the other.

use super::{bytes, floats};
use crate::conv::{
    ConvEpilogue, ConvParams, ConvShape, Int8Input, Layout, PackedConvF32, PackedConvInt8,
};
use crate::quantized::{RequantRule, Requantization};
use crate::{Context, KernelError, Scratch, conv};

/// A block of a mobile network: 10 channels become 70, each is filtered, and 13 are left.
struct Block {
    params: [ConvParams; 3],
    shapes: [ConvShape; 3],
    /// Output channels, depth and window of the weights.
    weights: [(usize, usize, [usize; 2]); 3],
}

/// One whose inner images, of elements of so many bytes, are larger than a band.
fn block(bytes: usize) -> Result<Block, KernelError> {
    let params = |groups, strides: usize, pad| ConvParams {
        strides: vec![strides; 2],
        pads_begin: vec![pad; 2],
        pads_end: vec![pad; 2],
        groups,
        layout: Layout::ChannelsLast,
        ..ConvParams::default()
    };
    let (rows, wide, narrow) = (180 / bytes, 70, 13);
    let params = [params(1, 1, 0), params(wide, 2, 1), params(1, 1, 0)];
    let weights = [
        (wide, 10, [1; 2]),
        (wide, 1, [3; 2]),
        (narrow, wide, [1; 2]),
    ];
    let shape = |i: usize, channels: usize, size: [usize; 2]| {
        ConvShape::new(&params[i], 1, channels, &size, weights[i].0, &weights[i].2)
    };
    let half = [rows.div_ceil(2), 25];
    let shapes = [
        shape(0, 10, [rows, 49])?,
        shape(1, wide, [rows, 49])?,
        shape(2, wide, half)?,
    ];
    Ok(Block {
        params,
        shapes,
        weights,
    })
}

/// [`conv::conv_stages`].
pub(super) fn floats_by_bands(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let Block {
        params,
        shapes,
        weights,
    } = block(4)?;
    let pack = |i: usize| {
        let (out, depth, window) = weights[i];
        let data = floats(out * depth * window[0] * window[1], 3);
        PackedConvF32::new(ctx.isa, &params[i], &data, out, depth, &window)
    };
    let weights = [pack(0)?, pack(1)?, pack(2)?];
    let stages =
        [0, 1, 2].map(|i| conv::ConvStage::new(&shapes[i], &weights[i], ConvEpilogue::default()));
    let mut out = vec![0.0; shapes[2].output_len().unwrap_or(0)];
    let image = floats(shapes[0].input_len().unwrap_or(0), 4);
    conv::conv_stages(ctx, &mut Scratch::new(), &stages, &image, &mut out)?;
    Ok(out)
}

/// [`conv::conv_int8_stages`].
pub(super) fn bytes_by_bands(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let Block {
        params,
        shapes,
        weights,
    } = block(1)?;
    let pack = |i: usize| {
        let (out, depth, window) = weights[i];
        let data = bytes(out * depth * window[0] * window[1], 3);
        let data = Int8Input::U8(&data);
        PackedConvInt8::new(ctx.isa, &params[i], data, &[128], out, depth, &window)
    };
    let weights = [pack(0)?, pack(1)?, pack(2)?];
    let epilogue = Requantization::new(RequantRule::OnnxRuntime, 0.02, &[0.01], 0.1, 30, (0, 255))?;
    let stages =
        [0, 1, 2].map(|i| conv::Int8ConvStage::new(&shapes[i], &weights[i], 30, &epilogue));
    let mut out = vec![0u8; shapes[2].output_len().unwrap_or(0)];
    let image = bytes(shapes[0].input_len().unwrap_or(0), 4);
    conv::conv_int8_stages(ctx, &mut Scratch::new(), &stages, &image, &mut out)?;
    Ok(out.into_iter().map(f32::from).collect())
}
