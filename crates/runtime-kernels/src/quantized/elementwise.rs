//! Sums and products of quantised tensors, and functions of one byte by table.
//!
//! The arithmetic is that of ONNX Runtime on x86-64, bit for bit. A sum is
//! `round_ties_even(fma(a, r_a, fma(b, r_b, c)))` with `r_a = s_a / s_y`, `r_b = s_b / s_y` and
//! `c = z_y - (r_a z_a + r_b z_b)`; a product is
//! `round_ties_even((a - z_a)(b - z_b) (s_a s_b / s_y) + z_y)`. Both saturate to the type.

use super::linear::ScaleZero;
use super::output::QuantByte;
use crate::error::check_len;
use crate::isa::simd_dispatch;
use crate::{Context, KernelError};

/// The parameters of both operands and of the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinaryScales {
    /// The first operand's.
    pub a: ScaleZero,
    /// The second operand's.
    pub b: ScaleZero,
    /// The result's.
    pub y: ScaleZero,
}

/// `y = a + b`; `b` may be one element that serves all.
///
/// # Errors
/// [`KernelError::Length`] if the slices do not have those lengths.
///
/// # Examples
/// ```
/// use runtime_kernels::Context;
/// use runtime_kernels::quantized::{BinaryScales, ScaleZero, add_int8};
///
/// let unit = ScaleZero { scale: 1.0, zero_point: 128 };
/// let scales = BinaryScales { a: unit, b: unit, y: unit };
/// let mut y = [0u8; 3];
/// add_int8(&Context::default(), scales, &[130, 0, 255], &[127, 0, 255], &mut y)?;
/// assert_eq!(y, [129, 0, 255]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn add_int8<T: QuantByte>(
    ctx: &Context,
    scales: BinaryScales,
    a: &[T],
    b: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    let (ra, rb) = (
        scales.a.scale / scales.y.scale,
        scales.b.scale / scales.y.scale,
    );
    let zero_points = ra * scales.a.zero_point as f32 + rb * scales.b.zero_point as f32;
    let constant = scales.y.zero_point as f32 - zero_points;
    for_each_run(ctx, a, b, y, |a, b, y| {
        add_run(ctx.isa, (ra, rb, constant), a, b, y)
    })
}

/// `y = a * b`; `b` may be one element that serves all.
///
/// # Errors
/// [`KernelError::Length`] if the slices do not have those lengths.
pub fn mul_int8<T: QuantByte>(
    ctx: &Context,
    scales: BinaryScales,
    a: &[T],
    b: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    let ratio = scales.a.scale * scales.b.scale / scales.y.scale;
    let zero_points = (
        scales.a.zero_point,
        scales.b.zero_point,
        scales.y.zero_point,
    );
    for_each_run(ctx, a, b, y, |a, b, y| {
        mul_run(ctx.isa, ratio, zero_points, a, b, y)
    })
}

/// `y[i] = table[x[i]]`, where the table starts at the type's least value.
///
/// # Errors
/// [`KernelError::Length`] if the slices differ in length.
pub fn lookup<T: QuantByte>(
    ctx: &Context,
    table: &[T; 256],
    x: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    check_len("result", y.len(), Some(x.len()))?;
    ctx.parallelism.for_each_rows(y, 1, 1, |first, y| {
        for (y, x) in y.iter_mut().zip(&x[first..]) {
            *y = table[(x.to_i32() - T::MIN) as u8 as usize];
        }
    });
    Ok(())
}

/// The table of a float function: each byte is dequantised, mapped and quantised again.
pub fn lookup_table<T: QuantByte>(x: ScaleZero, y: ScaleZero, f: impl Fn(f32) -> f32) -> [T; 256] {
    std::array::from_fn(|i| {
        let real = f((i as i32 + T::MIN).wrapping_sub(x.zero_point) as f32 * x.scale);
        let q = ((real / y.scale).round_ties_even() as i32).saturating_add(y.zero_point);
        T::from_i32(q.clamp(T::MIN, T::MAX))
    })
}

fn for_each_run<T: QuantByte>(
    ctx: &Context,
    a: &[T],
    b: &[T],
    y: &mut [T],
    run: impl Fn(&[T], &[T], &mut [T]) + Sync + Send,
) -> Result<(), KernelError> {
    check_len("result", y.len(), Some(a.len()))?;
    if b.len() != 1 {
        check_len("second operand", b.len(), Some(a.len()))?;
    }
    ctx.parallelism.for_each_rows(y, 1, 2, |first, y| {
        let range = first..first + y.len();
        run(
            &a[range.clone()],
            if b.len() == 1 { b } else { &b[range] },
            y,
        );
    });
    Ok(())
}

simd_dispatch! {
    fn add_run[T: QuantByte](_s: S, factors: (f32, f32, f32), a: &[T], b: &[T], y: &mut [T]) {
        let (ra, rb, constant) = factors;
        // `mul_add` is fused on every CPU (in software where it must be): the bits depend on it.
        let sum = |a: T, partial: f32| {
            let q = (a.to_i32() as f32).mul_add(ra, partial).max(T::MIN as f32).min(T::MAX as f32);
            T::from_i32(round_small(q))
        };
        let partial = |b: T| (b.to_i32() as f32).mul_add(rb, constant);
        if let ([b], true) = (b, a.len() != 1) {
            let partial = partial(*b);
            y.iter_mut().zip(a).for_each(|(y, &a)| *y = sum(a, partial));
        } else {
            y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (&a, &b))| *y = sum(a, partial(b)));
        }
    }
}

simd_dispatch! {
    fn mul_run[T: QuantByte](
        _s: S,
        ratio: f32,
        zero_points: (i32, i32, i32),
        a: &[T],
        b: &[T],
        y: &mut [T],
    ) {
        let (za, zb, zy) = zero_points;
        let product = |a: T, b: i32| {
            let q = ((a.to_i32() - za) * b) as f32 * ratio + zy as f32;
            T::from_i32(round_small(q.max(T::MIN as f32).min(T::MAX as f32)))
        };
        if let ([b], true) = (b, a.len() != 1) {
            let b = b.to_i32() - zb;
            y.iter_mut().zip(a).for_each(|(y, &a)| *y = product(a, b));
        } else {
            let pairs = a.iter().zip(b);
            y.iter_mut().zip(pairs).for_each(|(y, (&a, &b))| *y = product(a, b.to_i32() - zb));
        }
    }
}

/// Nearest integer, halves to even, of a small number: adding 1.5 * 2^23 leaves no fraction bits.
#[inline(always)]
fn round_small(x: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32
}
