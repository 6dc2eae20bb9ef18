//! Rows of convolutions with large windows by the fast Fourier transform.

use super::floats;
use crate::conv::{ConvEpilogue, ConvParams, ConvShape, FftTile, Layout, PackedConvF32};
use crate::{Context, KernelError, Scratch, conv};

/// 19 channels of 45 x 49, 13 x 11 taps, padding 6 and 5, into 37 channels or each into one.
pub(super) fn convolved(ctx: &Context, groups: usize) -> Result<Vec<f32>, KernelError> {
    let params = ConvParams {
        pads_begin: vec![6, 5],
        pads_end: vec![6, 5],
        groups,
        layout: Layout::ChannelsLast,
        ..ConvParams::default()
    };
    let (out, depth, kernel) = (if groups > 1 { 19 } else { 37 }, 19 / groups, [13, 11]);
    let shape = ConvShape::new(&params, 2, 19, &[45, 49], out, &kernel)?;
    let weights = floats(out * depth * 143, 3);
    let tile = FftTile::new(32, 16)?;
    let weights = PackedConvF32::fft(ctx.isa, tile, &params, &weights, out, depth, &kernel)?;
    let mut result = vec![0.0; shape.output_len().unwrap_or(0)];
    let image = floats(2 * 19 * 45 * 49, 4);
    conv::conv(
        ctx,
        &mut Scratch::new(),
        &shape,
        &image,
        &weights,
        &ConvEpilogue::default(),
        &mut result,
    )?;
    Ok(result)
}
