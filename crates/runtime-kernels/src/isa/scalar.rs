//! The portable instruction set: eight-lane arrays that the compiler may vectorise.
//!
//! Its int8 word holds four bytes, as on CPUs with an 8-bit dot product, so the format of those
//! is exercised by the tests of every machine.

use half::f16;

use super::Isa;
use super::simd::Simd;
use crate::quantized::QuantByte;

/// The token of the portable instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar(());

impl Scalar {
    pub(super) fn new() -> Self {
        Self(())
    }
}

const N: usize = 8;

#[inline(always)]
fn map<T: Copy, U: Copy + Default>(a: [T; N], f: impl Fn(T) -> U) -> [U; N] {
    a.map(f)
}

#[inline(always)]
fn zip<T: Copy, U: Copy + Default>(a: [T; N], b: [T; N], f: impl Fn(T, T) -> U) -> [U; N] {
    let mut out = [U::default(); N];
    for i in 0..N {
        out[i] = f(a[i], b[i]);
    }
    out
}

#[inline(always)]
fn take<T: Copy + Default>(src: &[T]) -> [T; N] {
    let mut out = [T::default(); N];
    out.copy_from_slice(&src[..N]);
    out
}

impl Simd for Scalar {
    type F = [f32; N];
    type I = [i32; N];
    type M = [bool; N];
    const LANES: usize = N;
    const MR: usize = 4;
    const K_GROUP: usize = 4;
    const PACK_RUN: usize = N;

    #[inline(always)]
    fn isa(self) -> Isa {
        Isa::Scalar(self)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; N]
    }
    #[inline(always)]
    fn load(self, src: &[f32]) -> Self::F {
        take(src)
    }
    #[inline(always)]
    fn store(self, v: Self::F, dst: &mut [f32]) {
        dst[..N].copy_from_slice(&v);
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| x + y)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| x - y)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| x * y)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| x / y)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        zip(zip(a, b, |x, y| x * y), c, |x, y| x + y)
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F) -> Self::F {
        map(a, f32::sqrt)
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        map(a, f32::abs)
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        map(a, f32::round_ties_even)
    }
    #[inline(always)]
    fn load_f16(self, src: &[f16]) -> Self::F {
        map(take(src), f16::to_f32)
    }
    #[inline(always)]
    fn store_f16(self, v: Self::F, dst: &mut [f16]) {
        dst[..N].copy_from_slice(&map(v, f16::from_f32));
    }
    #[inline(always)]
    fn load_u16(self, src: &[u16]) -> Self::I {
        map(take(src), i32::from)
    }
    #[inline(always)]
    fn store_u16(self, v: Self::I, dst: &mut [u16]) {
        dst[..N].copy_from_slice(&map(v, |x| x as u16));
    }
    #[inline(always)]
    fn lt(self, a: Self::F, b: Self::F) -> Self::M {
        zip(a, b, |x, y| x < y)
    }
    #[inline(always)]
    fn is_nan(self, a: Self::F) -> Self::M {
        map(a, f32::is_nan)
    }
    #[inline(always)]
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F {
        let mut out = b;
        for i in 0..N {
            if m[i] {
                out[i] = a[i];
            }
        }
        out
    }
    #[inline(always)]
    fn bits(self, a: Self::F) -> Self::I {
        map(a, |x| x.to_bits() as i32)
    }
    #[inline(always)]
    fn float_from_bits(self, a: Self::I) -> Self::F {
        map(a, |x| f32::from_bits(x as u32))
    }
    #[inline(always)]
    fn to_i32(self, a: Self::F) -> Self::I {
        map(a, |x| x.round_ties_even() as i32)
    }
    #[inline(always)]
    fn to_f32(self, a: Self::I) -> Self::F {
        map(a, |x| x as f32)
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> Self::I {
        [x; N]
    }
    #[inline(always)]
    fn load_i32(self, src: &[i32]) -> Self::I {
        take(src)
    }
    #[inline(always)]
    fn store_i32(self, v: Self::I, dst: &mut [i32]) {
        dst[..N].copy_from_slice(&v);
    }
    #[inline(always)]
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, i32::wrapping_add)
    }
    #[inline(always)]
    fn sub_i32(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, i32::wrapping_sub)
    }
    #[inline(always)]
    fn mul_i32(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, i32::wrapping_mul)
    }
    #[inline(always)]
    fn min_i32(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, |x: i32, y| x.min(y))
    }
    #[inline(always)]
    fn max_i32(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, |x: i32, y| x.max(y))
    }
    #[inline(always)]
    fn and_i32(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, |x, y| x & y)
    }
    #[inline(always)]
    fn shl_i32<const S: i32>(self, a: Self::I) -> Self::I {
        map(a, |x| x << S)
    }
    #[inline(always)]
    fn shr_i32<const S: i32>(self, a: Self::I) -> Self::I {
        map(a, |x| x >> S)
    }
    #[inline(always)]
    fn load_u8(self, src: &[u8]) -> Self::I {
        map(take(src), i32::from)
    }
    #[inline(always)]
    fn load_i8(self, src: &[i8]) -> Self::I {
        map(take(src), i32::from)
    }
    #[inline(always)]
    fn store_u8(self, v: Self::I, dst: &mut [u8]) {
        dst[..N].copy_from_slice(&map(v, |x| x as u8));
    }
    #[inline(always)]
    fn store_i8(self, v: Self::I, dst: &mut [i8]) {
        dst[..N].copy_from_slice(&map(v, |x| x as i8));
    }
    #[inline(always)]
    fn dot(self, acc: Self::I, u: Self::I, s: Self::I) -> Self::I {
        let products = zip(u, s, |u, s| {
            let (u, s) = (u.to_le_bytes(), s.to_le_bytes());
            let mut sum = 0;
            for i in 0..4 {
                sum += i32::from(u[i]) * i32::from(s[i] as i8);
            }
            sum
        });
        zip(acc, products, i32::wrapping_add)
    }

    #[inline(always)]
    fn xor_i32(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, |x, y| x ^ y)
    }
    #[inline(always)]
    fn load_bytes<T: QuantByte>(self, src: &[T]) -> Self::I {
        let (words, _) = src[..4 * N].as_chunks::<4>();
        map(take(words), |w: [T; 4]| {
            i32::from_le_bytes(w.map(|x| x.to_i32() as u8))
        })
    }
    #[inline(always)]
    fn store_bytes<T: QuantByte>(self, v: Self::I, dst: &mut [T]) {
        let (words, _) = dst[..4 * N].as_chunks_mut::<4>();
        for (dst, word) in words.iter_mut().zip(v) {
            *dst = word.to_le_bytes().map(T::from_bits);
        }
    }
    #[inline(always)]
    fn clamp_bytes<T: QuantByte>(self, v: Self::I, low: Self::I, high: Self::I) -> Self::I {
        let byte = |word: i32, i: usize| T::from_bits(word.to_le_bytes()[i]).to_i32();
        let mut out = v;
        for (i, out) in out.iter_mut().enumerate() {
            let of = |lane| {
                byte(v[i], lane)
                    .max(byte(low[i], lane))
                    .min(byte(high[i], lane))
            };
            *out = i32::from_le_bytes([0, 1, 2, 3].map(|lane| of(lane) as u8));
        }
        out
    }
    #[inline(always)]
    fn pack<T: QuantByte>(self, words: [Self::I; 4], zero_point: i32) -> Self::I {
        let byte = |x: i32| x.saturating_add(zero_point).clamp(T::MIN, T::MAX) as u8;
        let mut out = [0; N];
        let (halves, _) = words.as_flattened().as_chunks::<4>();
        for (out, four) in out.iter_mut().zip(halves) {
            *out = i32::from_le_bytes(four.map(byte));
        }
        out
    }
    #[inline(always)]
    fn straighten(self, packed: Self::I) -> Self::I {
        packed
    }
    #[inline(always)]
    fn interleave(self, bytes: [Self::I; 4]) -> [Self::I; 4] {
        let byte = |of: Self::I, at: usize| of[at / 4].to_le_bytes()[at % 4];
        let mut out = bytes;
        for (i, out) in out.as_flattened_mut().iter_mut().enumerate() {
            *out = i32::from_le_bytes(bytes.map(|of| byte(of, i)));
        }
        out
    }
}
