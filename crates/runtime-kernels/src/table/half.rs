//! Rows of weights of 16 bits.

use half::{bf16, f16};

use super::{bytes, conv_problem, floats};
use crate::conv::{ConvEpilogue, Layout, PackedConvF32};
use crate::elementwise::Half;
use crate::gemm::{Epilogue, FloatOperand, PackedHalf};
use crate::{Context, KernelError, MatRef, Scratch, conv, elementwise, gemm};

fn narrowed<T: Half>(ctx: &Context, x: &[f32]) -> Result<Vec<T>, KernelError> {
    let mut y = vec![T::default(); x.len()];
    elementwise::narrow(ctx, x, &mut y)?;
    Ok(y)
}

/// [`gemm::gemm`] with weights that stay `T`.
pub(super) fn product<T: Half>(
    ctx: &Context,
    extents: [usize; 3],
) -> Result<Vec<f32>, KernelError> {
    product_with(ctx, extents, PackedHalf::new::<T>)
}

/// With both sides rounded to bfloat16.
pub(super) fn product_of_pairs(
    ctx: &Context,
    extents: [usize; 3],
) -> Result<Vec<f32>, KernelError> {
    product_with(ctx, extents, PackedHalf::bf16_dot)
}

fn product_with<T: Half>(
    ctx: &Context,
    [m, k, n]: [usize; 3],
    pack: fn(crate::Isa, MatRef<'_, T>) -> Result<PackedHalf, KernelError>,
) -> Result<Vec<f32>, KernelError> {
    let (a, b) = (floats(m * k, 1), narrowed::<T>(ctx, &floats(k * n, 2))?);
    let packed = pack(ctx.isa, MatRef::row_major(&b, k, n)?)?;
    let lhs = FloatOperand::Matrix(MatRef::row_major(&a, m, k)?);
    let (rhs, scratch) = (FloatOperand::Half(&packed), &mut Scratch::new());
    let mut out = vec![0.0; m * n];
    gemm::gemm(ctx, scratch, lhs, rhs, &Epilogue::default(), &mut out)?;
    Ok(out)
}

/// [`conv::conv`] with weights of half precision.
pub(super) fn conv_f16(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    conv_with::<f16>(ctx, PackedConvF32::half)
}

/// With image and weights rounded to bfloat16.
pub(super) fn conv_of_pairs(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    conv_with::<bf16>(ctx, PackedConvF32::bf16_dot)
}

type PackConv<T> = fn(
    crate::Isa,
    &conv::ConvParams,
    &[T],
    usize,
    usize,
    &[usize],
) -> Result<PackedConvF32, KernelError>;

fn conv_with<T: Half>(ctx: &Context, pack: PackConv<T>) -> Result<Vec<f32>, KernelError> {
    let (params, shape) = conv_problem(Layout::ChannelsLast, 1)?;
    let weights = narrowed::<T>(ctx, &floats(shape.out_channels * 10 * 9, 3))?;
    let weights = pack(ctx.isa, &params, &weights, shape.out_channels, 10, &[3, 3])?;
    let (image, epilogue) = (floats(2 * 10 * 45 * 49, 4), ConvEpilogue::default());
    let mut out = vec![0.0; shape.output_len().unwrap_or(0)];
    conv::conv(
        ctx,
        &mut Scratch::new(),
        &shape,
        &image,
        &weights,
        &epilogue,
        &mut out,
    )?;
    Ok(out)
}

/// Rounded to `T` and back.
pub(super) fn convert<T: Half>(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let words = bytes(4 * 70_001, 18);
    let (words, _) = words.as_chunks::<4>();
    // Any bits: subnormal, infinite and too large numbers among them.
    let any = words.iter().map(|&w| f32::from_le_bytes(w));
    let x: Vec<f32> = any.map(|x| if x.is_nan() { 0.0 } else { x }).collect();
    let mut y = vec![0.0; x.len()];
    elementwise::widen(ctx, &narrowed::<T>(ctx, &x)?, &mut y)?;
    // Differences of infinite results would not be numbers.
    Ok(y.into_iter().map(|y| y.clamp(f32::MIN, f32::MAX)).collect())
}
