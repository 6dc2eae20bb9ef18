//! AArch64 NEON: eight lanes as two registers; int8 words of two values widened to 16 bits.

use std::arch::aarch64::*;
use std::arch::asm;

use half::f16;

use super::Isa;
use super::simd::Simd;
use crate::quantized::QuantByte;

/// Proof that the CPU has NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    /// The token, if this CPU has the feature.
    pub fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

/// Methods that apply one register intrinsic to both halves.
macro_rules! halves {
    ($(fn $name:ident($($arg:ident : $ty:ident),*) -> $ret:ident = $e:expr;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: Self::$ty),*) -> Self::$ret {
            // SAFETY: `self` proves NEON; the intrinsics touch registers only.
            unsafe {
                let half = |$($arg: halves!(@reg $ty)),*| $e;
                (half($($arg.0),*), half($($arg.1),*))
            }
        })*
    };
    (@reg F) => { float32x4_t };
    (@reg I) => { int32x4_t };
    (@reg M) => { uint32x4_t };
}

const N: usize = 8;

impl Simd for Neon {
    type F = (float32x4_t, float32x4_t);
    type I = (int32x4_t, int32x4_t);
    type M = (uint32x4_t, uint32x4_t);
    const LANES: usize = N;
    const MR: usize = 6;
    const K_GROUP: usize = 2;
    const PACK_RUN: usize = N;

    halves! {
        fn add(a: F, b: F) -> F = vaddq_f32(a, b);
        fn sub(a: F, b: F) -> F = vsubq_f32(a, b);
        fn mul(a: F, b: F) -> F = vmulq_f32(a, b);
        fn div(a: F, b: F) -> F = vdivq_f32(a, b);
        fn fma(a: F, b: F, c: F) -> F = vfmaq_f32(c, a, b);
        fn min(a: F, b: F) -> F = vbslq_f32(vcltq_f32(a, b), a, b);
        fn max(a: F, b: F) -> F = vbslq_f32(vcgtq_f32(a, b), a, b);
        fn sqrt(a: F) -> F = vsqrtq_f32(a);
        fn abs(a: F) -> F = vabsq_f32(a);
        fn round(a: F) -> F = vrndnq_f32(a);
        fn lt(a: F, b: F) -> M = vcltq_f32(a, b);
        fn is_nan(a: F) -> M = vmvnq_u32(vceqq_f32(a, a));
        fn select(m: M, a: F, b: F) -> F = vbslq_f32(m, a, b);
        fn bits(a: F) -> I = vreinterpretq_s32_f32(a);
        fn float_from_bits(a: I) -> F = vreinterpretq_f32_s32(a);
        fn to_i32(a: F) -> I = vcvtnq_s32_f32(a);
        fn to_f32(a: I) -> F = vcvtq_f32_s32(a);
        fn add_i32(a: I, b: I) -> I = vaddq_s32(a, b);
        fn sub_i32(a: I, b: I) -> I = vsubq_s32(a, b);
        fn mul_i32(a: I, b: I) -> I = vmulq_s32(a, b);
        fn min_i32(a: I, b: I) -> I = vminq_s32(a, b);
        fn max_i32(a: I, b: I) -> I = vmaxq_s32(a, b);
        fn and_i32(a: I, b: I) -> I = vandq_s32(a, b);
        fn xor_i32(a: I, b: I) -> I = veorq_s32(a, b);
        fn dot(acc: I, u: I, s: I) -> I = {
            let (u, s) = (vreinterpretq_s16_s32(u), vreinterpretq_s16_s32(s));
            let low = vmull_s16(vget_low_s16(u), vget_low_s16(s));
            let high = vmull_high_s16(u, s);
            vaddq_s32(acc, vpaddq_s32(low, high))
        };
    }

    #[inline(always)]
    fn isa(self) -> Isa {
        Isa::Neon(self)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        // SAFETY: `self` proves NEON.
        let v = unsafe { vdupq_n_f32(x) };
        (v, v)
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> Self::I {
        // SAFETY: `self` proves NEON.
        let v = unsafe { vdupq_n_s32(x) };
        (v, v)
    }
    #[inline(always)]
    fn load(self, src: &[f32]) -> Self::F {
        let src = &src[..N];
        // SAFETY: `self` proves NEON; `src` holds eight elements.
        unsafe { (vld1q_f32(src.as_ptr()), vld1q_f32(src.as_ptr().add(4))) }
    }
    #[inline(always)]
    fn store(self, v: Self::F, dst: &mut [f32]) {
        let dst = &mut dst[..N];
        // SAFETY: `self` proves NEON; `dst` holds eight elements.
        unsafe {
            vst1q_f32(dst.as_mut_ptr(), v.0);
            vst1q_f32(dst.as_mut_ptr().add(4), v.1);
        }
    }
    #[inline(always)]
    fn load_i32(self, src: &[i32]) -> Self::I {
        let src = &src[..N];
        // SAFETY: `self` proves NEON; `src` holds eight elements.
        unsafe { (vld1q_s32(src.as_ptr()), vld1q_s32(src.as_ptr().add(4))) }
    }
    #[inline(always)]
    fn store_i32(self, v: Self::I, dst: &mut [i32]) {
        let dst = &mut dst[..N];
        // SAFETY: `self` proves NEON; `dst` holds eight elements.
        unsafe {
            vst1q_s32(dst.as_mut_ptr(), v.0);
            vst1q_s32(dst.as_mut_ptr().add(4), v.1);
        }
    }
    #[inline(always)]
    fn shl_i32<const S: i32>(self, a: Self::I) -> Self::I {
        // SAFETY: `self` proves NEON.
        unsafe {
            let by = vdupq_n_s32(S);
            (vshlq_s32(a.0, by), vshlq_s32(a.1, by))
        }
    }
    #[inline(always)]
    fn shr_i32<const S: i32>(self, a: Self::I) -> Self::I {
        // SAFETY: `self` proves NEON; a negative count shifts right.
        unsafe {
            let by = vdupq_n_s32(-S);
            (vshlq_s32(a.0, by), vshlq_s32(a.1, by))
        }
    }
    /// The intrinsics of `fcvtl` are not in all versions of the compiler that this crate builds with.
    #[inline(always)]
    fn load_f16(self, src: &[f16]) -> Self::F {
        let src = &src[..N];
        let (low, high): (float32x4_t, float32x4_t);
        // SAFETY: `self` proves NEON; `src` holds eight elements; the instructions touch registers only.
        unsafe {
            let halves = vld1q_u16(src.as_ptr().cast());
            asm!(
                "fcvtl {low:v}.4s, {halves:v}.4h",
                "fcvtl2 {high:v}.4s, {halves:v}.8h",
                low = out(vreg) low, high = lateout(vreg) high, halves = in(vreg) halves,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        (low, high)
    }
    #[inline(always)]
    fn store_f16(self, v: Self::F, dst: &mut [f16]) {
        let dst = &mut dst[..N];
        // SAFETY: `self` proves NEON; `dst` holds eight elements; the instructions touch registers only.
        unsafe {
            let halves: uint16x8_t;
            asm!(
                "fcvtn {halves:v}.4h, {low:v}.4s",
                "fcvtn2 {halves:v}.8h, {high:v}.4s",
                halves = out(vreg) halves, low = in(vreg) v.0, high = in(vreg) v.1,
                options(pure, nomem, nostack, preserves_flags)
            );
            vst1q_u16(dst.as_mut_ptr().cast(), halves);
        }
    }
    #[inline(always)]
    fn load_u16(self, src: &[u16]) -> Self::I {
        let src = &src[..N];
        // SAFETY: `self` proves NEON; `src` holds eight elements.
        unsafe {
            let halves = vld1q_u16(src.as_ptr());
            let (low, high) = (vmovl_u16(vget_low_u16(halves)), vmovl_high_u16(halves));
            (vreinterpretq_s32_u32(low), vreinterpretq_s32_u32(high))
        }
    }
    #[inline(always)]
    fn store_u16(self, v: Self::I, dst: &mut [u16]) {
        let dst = &mut dst[..N];
        // SAFETY: `self` proves NEON; `dst` holds eight elements.
        unsafe {
            let (low, high) = (vreinterpretq_u32_s32(v.0), vreinterpretq_u32_s32(v.1));
            vst1q_u16(
                dst.as_mut_ptr(),
                vcombine_u16(vmovn_u32(low), vmovn_u32(high)),
            );
        }
    }
    #[inline(always)]
    fn load_u8(self, src: &[u8]) -> Self::I {
        let src = &src[..N];
        // SAFETY: `self` proves NEON; `src` holds the eight bytes that are read.
        unsafe {
            let wide = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(src.as_ptr())));
            (vmovl_s16(vget_low_s16(wide)), vmovl_high_s16(wide))
        }
    }
    #[inline(always)]
    fn load_i8(self, src: &[i8]) -> Self::I {
        let src = &src[..N];
        // SAFETY: `self` proves NEON; `src` holds the eight bytes that are read.
        unsafe {
            let wide = vmovl_s8(vld1_s8(src.as_ptr()));
            (vmovl_s16(vget_low_s16(wide)), vmovl_high_s16(wide))
        }
    }
    #[inline(always)]
    fn store_u8(self, v: Self::I, dst: &mut [u8]) {
        let dst = &mut dst[..N];
        // SAFETY: `self` proves NEON; `dst` holds the eight bytes that are written.
        unsafe {
            vst1_u8(
                dst.as_mut_ptr(),
                vqmovun_s16(vcombine_s16(vqmovn_s32(v.0), vqmovn_s32(v.1))),
            )
        }
    }
    #[inline(always)]
    fn store_i8(self, v: Self::I, dst: &mut [i8]) {
        let dst = &mut dst[..N];
        // SAFETY: `self` proves NEON; `dst` holds the eight bytes that are written.
        unsafe {
            vst1_s8(
                dst.as_mut_ptr(),
                vqmovn_s16(vcombine_s16(vqmovn_s32(v.0), vqmovn_s32(v.1))),
            )
        }
    }
    #[inline(always)]
    fn load_bytes<T: QuantByte>(self, src: &[T]) -> Self::I {
        let src = &src[..4 * N];
        // SAFETY: `self` proves NEON; `src` holds the 32 bytes that are read: `T` is `u8` or `i8`.
        unsafe {
            let bytes: *const u8 = src.as_ptr().cast();
            let (low, high) = (vld1q_u8(bytes), vld1q_u8(bytes.add(16)));
            (vreinterpretq_s32_u8(low), vreinterpretq_s32_u8(high))
        }
    }
    #[inline(always)]
    fn store_bytes<T: QuantByte>(self, v: Self::I, dst: &mut [T]) {
        let dst = &mut dst[..4 * N];
        // SAFETY: `self` proves NEON; `dst` holds the 32 bytes that are written: `T` is `u8` or `i8`.
        unsafe {
            let bytes: *mut u8 = dst.as_mut_ptr().cast();
            vst1q_u8(bytes, vreinterpretq_u8_s32(v.0));
            vst1q_u8(bytes.add(16), vreinterpretq_u8_s32(v.1));
        }
    }
    #[inline(always)]
    fn clamp_bytes<T: QuantByte>(self, v: Self::I, low: Self::I, high: Self::I) -> Self::I {
        let half = |v, low, high| {
            // SAFETY: `self` proves NEON.
            unsafe {
                if T::MIN < 0 {
                    let at_least = vmaxq_s8(vreinterpretq_s8_s32(v), vreinterpretq_s8_s32(low));
                    vreinterpretq_s32_s8(vminq_s8(at_least, vreinterpretq_s8_s32(high)))
                } else {
                    let at_least = vmaxq_u8(vreinterpretq_u8_s32(v), vreinterpretq_u8_s32(low));
                    vreinterpretq_s32_u8(vminq_u8(at_least, vreinterpretq_u8_s32(high)))
                }
            }
        };
        (half(v.0, low.0, high.0), half(v.1, low.1, high.1))
    }
    #[inline(always)]
    fn pack<T: QuantByte>(self, words: [Self::I; 4], zero_point: i32) -> Self::I {
        // SAFETY: `self` proves NEON.
        let shorts = |v: Self::I| unsafe {
            let shorts = vcombine_s16(vqmovn_s32(v.0), vqmovn_s32(v.1));
            vqaddq_s16(shorts, vdupq_n_s16(zero_point as i16))
        };
        let half = |a: Self::I, b: Self::I| {
            let (a, b) = (shorts(a), shorts(b));
            // SAFETY: `self` proves NEON.
            unsafe {
                if T::MIN < 0 {
                    vreinterpretq_s32_s8(vcombine_s8(vqmovn_s16(a), vqmovn_s16(b)))
                } else {
                    vreinterpretq_s32_u8(vcombine_u8(vqmovun_s16(a), vqmovun_s16(b)))
                }
            }
        };
        let [a, b, c, d] = words;
        (half(a, b), half(c, d))
    }
    #[inline(always)]
    fn straighten(self, packed: Self::I) -> Self::I {
        packed
    }
    #[inline(always)]
    fn interleave(self, bytes: [Self::I; 4]) -> [Self::I; 4] {
        let [a, b, c, d] = bytes;
        let half = |a, b, c, d| {
            // SAFETY: `self` proves NEON.
            unsafe {
                let [a, b, c, d] = [a, b, c, d].map(|v| vreinterpretq_s8_s32(v));
                let pairs = |a, b| {
                    let (low, high) = (vzip1q_s8(a, b), vzip2q_s8(a, b));
                    (vreinterpretq_s16_s8(low), vreinterpretq_s16_s8(high))
                };
                let (first, second) = (pairs(a, b), pairs(c, d));
                let words = |a, b| {
                    let (low, high) = (vzip1q_s16(a, b), vzip2q_s16(a, b));
                    (vreinterpretq_s32_s16(low), vreinterpretq_s32_s16(high))
                };
                (words(first.0, second.0), words(first.1, second.1))
            }
        };
        let (first, second) = half(a.0, b.0, c.0, d.0);
        let (third, fourth) = half(a.1, b.1, c.1, d.1);
        [first, second, third, fourth]
    }
}
