//! Vector exponential, logarithm, hyperbolic tangent and error function.
//!
//! Each reduces its argument to an interval on which a polynomial, fitted in double precision by
//! weighted least squares at Chebyshev nodes, is closer than an f32 rounding:
//!
//! * `exp(x) = 2^n exp(r)`, `n = round(x log2 e)`, `|r| <= ln(2)/2`, two-part `ln 2` (Cody & Waite);
//! * `ln(x) = n ln 2 + ln(1 + f)`, `sqrt(1/2) <= 1 + f < sqrt(2)`;
//! * `tanh(x) = x + x^3 P(x^2)` for `|x| < 0.625`, else `1 - 2 / (exp(2|x|) + 1)`;
//! * `erf(x) = x + x Q(x^2)` for `|x| < 0.921875`, else `1 - exp(R(|x|))`.
//!
//! The bounds that the tests hold over dense grids: exp, ln, tanh 3 ULP; erf 2e-7 absolute.

use crate::isa::Simd;

const EXP_POLY: [f32; 6] = [
    1.991_762_8e-4,
    1.394_582_2e-3,
    8.333_266e-3,
    4.166_627_3e-2,
    1.666_666_7e-1,
    0.5,
];
const LOG_POLY: [f32; 9] = [
    6.967_430_6e-2,
    -1.170_886_5e-1,
    1.180_364_3e-1,
    -1.239_495_6e-1,
    1.423_042_4e-1,
    -1.666_894e-1,
    2.000_155_4e-1,
    -2.499_998_7e-1,
    3.333_332_2e-1,
];
const TANH_POLY: [f32; 6] = [
    2.124_854_6e-3,
    -8.158_904e-3,
    2.169_383_9e-2,
    -5.394_564_6e-2,
    1.333_319_8e-1,
    -3.333_333e-1,
];
const ERF_SMALL_POLY: [f32; 7] = [
    8.362_307e-5,
    -8.141_480_5e-4,
    5.200_99e-3,
    -2.685_941_4e-2,
    1.128_369_6e-1,
    -3.761_263_5e-1,
    1.283_791_7e-1,
];
const ERF_LARGE_POLY: [f32; 8] = [
    -2.090_956_3e-5,
    4.323_031e-4,
    -4.160_527e-3,
    2.509_149_7e-2,
    -1.082_366_2e-1,
    -6.333_867e-1,
    -1.129_495_1,
    1.705_521_1e-4,
];

/// Horner's rule, the highest power first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::F, c: [f32; N]) -> S::F {
    let mut y = s.splat(c[0]);
    for &c in &c[1..] {
        y = s.fma(y, x, s.splat(c));
    }
    y
}

/// `e^x`; 0 below -104, infinity above 88.73.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    // A NaN in the second operand survives both.
    let x = s.min(s.splat(89.0), s.max(s.splat(-105.0), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let tail = s.mul(s.mul(r, r), polynomial(s, r, EXP_POLY));
    let y = s.add(s.add(tail, r), s.splat(1.0));
    // Two steps of half the exponent reach the denormals and infinity.
    let n = s.to_i32(n);
    let half = s.shr_i32::<1>(n);
    let y = s.mul(y, power_of_two(s, half));
    s.mul(y, power_of_two(s, s.sub_i32(n, half)))
}

/// `2^n` for `-126 <= n <= 127`.
#[inline(always)]
fn power_of_two<S: Simd>(s: S, n: S::I) -> S::F {
    s.float_from_bits(s.shl_i32::<23>(s.add_i32(n, s.splat_i32(127))))
}

/// The natural logarithm; NaN below 0, minus infinity at 0.
#[inline(always)]
pub(crate) fn ln<S: Simd>(s: S, x: S::F) -> S::F {
    let tiny = s.lt(x, s.splat(f32::MIN_POSITIVE));
    let scaled = s.select(tiny, s.mul(x, s.splat(8_388_608.0)), x);
    let shift = s.select(tiny, s.splat(-23.0), s.splat(0.0));
    // Subtracting the bits of sqrt(1/2) leaves the exponent of the mantissa's nearest interval.
    let bits = s.sub_i32(s.bits(scaled), s.splat_i32(0x3f35_04f3));
    let n = s.shr_i32::<23>(bits);
    let mantissa = s.float_from_bits(s.sub_i32(s.bits(scaled), s.shl_i32::<23>(n)));
    let f = s.sub(mantissa, s.splat(1.0));
    let n = s.add(s.to_f32(n), shift);
    let square = s.mul(f, f);
    let cubic = s.mul(s.mul(square, f), polynomial(s, f, LOG_POLY));
    let low = s.fma(n, s.splat(-2.121_944_4e-4), cubic);
    let y = s.add(s.fma(square, s.splat(-0.5), low), f);
    let y = s.fma(n, s.splat(0.693_359_4), y);
    let zero = s.splat(0.0);
    let y = s.select(s.lt(x, s.splat(f32::INFINITY)), y, x);
    let y = s.select(
        s.lt(zero, x),
        y,
        s.select(s.lt(x, zero), s.splat(f32::NAN), y),
    );
    let is_zero = s.lt(s.abs(x), s.splat(f32::from_bits(1)));
    s.select(is_zero, s.splat(f32::NEG_INFINITY), y)
}

/// The hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let magnitude = s.abs(x);
    let square = s.mul(x, x);
    let small = s.fma(s.mul(square, x), polynomial(s, square, TANH_POLY), x);
    let e = exp(s, s.add(magnitude, magnitude));
    let large = s.sub(s.splat(1.0), s.div(s.splat(2.0), s.add(e, s.splat(1.0))));
    let large = with_sign_of(s, large, x);
    s.select(s.lt(magnitude, s.splat(0.625)), small, large)
}

/// The error function `2/sqrt(pi) * integral of exp(-t^2) over 0..x`.
#[inline(always)]
pub(crate) fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    let magnitude = s.abs(x);
    let square = s.mul(x, x);
    let small = s.fma(x, polynomial(s, square, ERF_SMALL_POLY), x);
    // erf(4) rounds to 1.
    let t = s.min(s.splat(4.0), magnitude);
    let large = s.sub(s.splat(1.0), exp(s, polynomial(s, t, ERF_LARGE_POLY)));
    let large = with_sign_of(s, large, x);
    s.select(s.lt(magnitude, s.splat(0.921_875)), small, large)
}

/// The logistic function `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.sub(s.splat(0.0), x));
    s.div(s.splat(1.0), s.add(s.splat(1.0), e))
}

/// `magnitude` (not negative) with the sign of `x`; a NaN `x` stays NaN through `magnitude`.
#[inline(always)]
fn with_sign_of<S: Simd>(s: S, magnitude: S::F, x: S::F) -> S::F {
    let negative = s.sub(s.splat(0.0), magnitude);
    s.select(s.lt(x, s.splat(0.0)), negative, magnitude)
}
