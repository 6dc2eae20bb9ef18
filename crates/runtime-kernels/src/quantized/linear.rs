//! Linear quantisation between `f32` and integers.
//!
//! `q = saturate(round_ties_even(x / s) + z)`, `x = (q - z) s`
//! (<https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>).

use super::output::QuantByte;
use crate::error::check_len;
use crate::isa::{MAX_LANES, simd_dispatch};
use crate::{Context, KernelError};

/// Real units per step and the integer that stands for zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleZero {
    /// Real units per step.
    pub scale: f32,
    /// The integer that stands for zero.
    pub zero_point: i32,
}

/// Quantises `x` to bytes with one scale.
///
/// A per-channel quantisation calls this once per channel.
///
/// # Errors
/// [`KernelError::Length`] if the slices differ in length.
///
/// # Examples
/// ```
/// use runtime_kernels::Context;
/// use runtime_kernels::quantized::{ScaleZero, quantize};
///
/// let mut q = [0u8; 4];
/// let params = ScaleZero { scale: 0.5, zero_point: 128 };
/// quantize(&Context::default(), params, &[0.0, 0.25, 0.75, 1000.0], &mut q)?;
/// assert_eq!(q, [128, 128, 130, 255]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn quantize<T: QuantByte>(
    ctx: &Context,
    params: ScaleZero,
    x: &[f32],
    q: &mut [T],
) -> Result<(), KernelError> {
    check_len("result", q.len(), Some(x.len()))?;
    ctx.parallelism.for_each_rows(q, 1, 1, |first, q| {
        quantize_run(ctx.isa, params, &x[first..first + q.len()], q)
    });
    Ok(())
}

/// Quantises to 16-bit (or other) integers that saturate at `low..=high`.
///
/// # Errors
/// [`KernelError::Length`] if the slices differ in length.
pub fn quantize_wide<T: Copy + Send + Sync + TryFrom<i32>>(
    ctx: &Context,
    params: ScaleZero,
    (low, high): (T, T),
    x: &[f32],
    q: &mut [T],
) -> Result<(), KernelError>
where
    i32: From<T>,
{
    check_len("result", q.len(), Some(x.len()))?;
    let (min, max) = (i32::from(low), i32::from(high));
    ctx.parallelism.for_each_rows(q, 1, 2, |first, q| {
        for (q, &x) in q.iter_mut().zip(&x[first..]) {
            // The conversion saturates, so the addition must too.
            let step = (x / params.scale).round_ties_even() as i32;
            let value = step.saturating_add(params.zero_point).clamp(min, max);
            *q = T::try_from(value).unwrap_or(high);
        }
    });
    Ok(())
}

/// `x = (q - z) s` for bytes.
///
/// # Errors
/// [`KernelError::Length`] if the slices differ in length.
pub fn dequantize<T: QuantByte>(
    ctx: &Context,
    params: ScaleZero,
    q: &[T],
    x: &mut [f32],
) -> Result<(), KernelError> {
    check_len("result", x.len(), Some(q.len()))?;
    ctx.parallelism.for_each_rows(x, 1, 1, |first, x| {
        dequantize_run(ctx.isa, params, &q[first..first + x.len()], x)
    });
    Ok(())
}

/// `x = (q - z) s` for 16- and 32-bit integers.
///
/// # Errors
/// [`KernelError::Length`] if the slices differ in length.
pub fn dequantize_wide<T: Copy + Sync>(
    ctx: &Context,
    params: ScaleZero,
    q: &[T],
    x: &mut [f32],
) -> Result<(), KernelError>
where
    i32: From<T>,
{
    check_len("result", x.len(), Some(q.len()))?;
    ctx.parallelism.for_each_rows(x, 1, 1, |first, x| {
        for (x, &q) in x.iter_mut().zip(&q[first..]) {
            *x = i32::from(q).wrapping_sub(params.zero_point) as f32 * params.scale;
        }
    });
    Ok(())
}

/// Scale and zero point of the `u8` range that holds all of `x` and zero, as ONNX
/// `DynamicQuantizeLinear` chooses them:
/// `s = (max(x, 0) - min(x, 0)) / 255`, `z = saturate(round_ties_even(-min / s))`.
///
/// A range of width zero gives scale 0 as the formula does; `x` then quantises to zero points.
pub fn dynamic_scale(ctx: &Context, x: &[f32]) -> ScaleZero {
    let (min, max) = range(ctx.isa, x);
    let (min, max) = (min.min(0.0), max.max(0.0));
    let scale = (max - min) / 255.0;
    let zero_point = if scale == 0.0 {
        0.0
    } else {
        (-min / scale).round_ties_even().clamp(0.0, 255.0)
    };
    ScaleZero {
        scale,
        zero_point: zero_point as i32,
    }
}

simd_dispatch! {
    fn quantize_run[T: QuantByte](s: S, params: ScaleZero, x: &[f32], q: &mut [T]) {
        let scale = s.splat(params.scale);
        let low = s.splat(T::MIN.saturating_sub(params.zero_point) as f32);
        let high = s.splat(T::MAX.saturating_sub(params.zero_point) as f32);
        let zero_point = s.splat_i32(params.zero_point);
        for (x, q) in x.chunks(S::LANES).zip(q.chunks_mut(S::LANES)) {
            let whole = x.len() == S::LANES;
            let v = if whole { s.load(x) } else { s.load_partial(x, 0.0) };
            // A NaN (0 / 0 too) becomes the lower bound: the bound stands second.
            let v = s.min(s.max(s.div(v, scale), low), high);
            let v = s.add_i32(s.to_i32(v), zero_point);
            if whole {
                T::store(s, v, q);
            } else {
                let mut lanes = [T::default(); MAX_LANES];
                T::store(s, v, &mut lanes);
                q.copy_from_slice(&lanes[..q.len()]);
            }
        }
    }
}

simd_dispatch! {
    fn dequantize_run[T: QuantByte](s: S, params: ScaleZero, q: &[T], x: &mut [f32]) {
        let (scale, zero_point) = (s.splat(params.scale), s.splat_i32(params.zero_point));
        for (q, x) in q.chunks(S::LANES).zip(x.chunks_mut(S::LANES)) {
            let mut lanes = [T::default(); MAX_LANES];
            let src = if q.len() == S::LANES {
                q
            } else {
                lanes[..q.len()].copy_from_slice(q);
                &lanes
            };
            let v = s.mul(s.to_f32(s.sub_i32(T::load(s, src), zero_point)), scale);
            if x.len() == S::LANES {
                s.store(v, x);
            } else {
                s.store_partial(v, x);
            }
        }
    }
}

simd_dispatch! {
    fn range(s: S, x: &[f32]) -> (f32, f32) {
        let (mut min, mut max) = (s.splat(0.0), s.splat(0.0));
        for x in x.chunks(S::LANES) {
            let v = if x.len() == S::LANES { s.load(x) } else { s.load_partial(x, 0.0) };
            min = s.min(v, min);
            max = s.max(v, max);
        }
        (s.fold(min, f32::min), s.fold(max, f32::max))
    }
}
