//! AVX-512 (F, BW, VL, DQ): sixteen lanes. Without VNNI the int8 word is two values widened to
//! 16 bits; with VNNI it is four bytes and `vpdpbusd` sums four products exactly.

use std::arch::x86_64::*;

use half::f16;

use super::Isa;
use super::simd::Simd;
use crate::quantized::QuantByte;

/// Proof that the CPU has AVX-512 F, BW, VL and DQ, what `Avx2` proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

/// Proof that the CPU has what [`Avx512`] proves, and VNNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512Vnni(());

impl Avx512 {
    /// The token, if this CPU has the features.
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq");
        found.then_some(Self(()))
    }
}

impl Avx512Vnni {
    /// The token, if this CPU has the features.
    pub fn detect() -> Option<Self> {
        let found = Avx512::detect().is_some() && is_x86_feature_detected!("avx512vnni");
        found.then_some(Self(()))
    }
}

/// Methods that are one expression of register intrinsics (no memory access).
macro_rules! register_ops {
    ($(fn $name:ident($($arg:ident : $ty:ident),*) -> $ret:ident = $e:expr;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: Self::$ty),*) -> Self::$ret {
            // SAFETY: `self` proves the AVX-512 features; the intrinsics touch registers only.
            unsafe { $e }
        })*
    };
}

const N: usize = 16;

/// The mask of the first `n` lanes, at most all.
#[inline(always)]
fn first_lanes(n: usize) -> __mmask16 {
    ((1u32 << n.min(N)) - 1) as __mmask16
}

/// The two tokens differ in the int8 dot product alone.
macro_rules! avx512_simd {
    ($token:ident, k_group: $k_group:literal, dot($acc:ident, $u:ident, $s:ident): $dot:expr) => {
        impl Simd for $token {
            type F = __m512;
            type I = __m512i;
            type M = __mmask16;
            const LANES: usize = N;
            const MR: usize = 12;
            const K_GROUP: usize = $k_group;
            const PACK_RUN: usize = 4;

            register_ops! {
                fn add(a: F, b: F) -> F = _mm512_add_ps(a, b);
                fn sub(a: F, b: F) -> F = _mm512_sub_ps(a, b);
                fn mul(a: F, b: F) -> F = _mm512_mul_ps(a, b);
                fn div(a: F, b: F) -> F = _mm512_div_ps(a, b);
                fn fma(a: F, b: F, c: F) -> F = _mm512_fmadd_ps(a, b, c);
                fn min(a: F, b: F) -> F = _mm512_min_ps(a, b);
                fn max(a: F, b: F) -> F = _mm512_max_ps(a, b);
                fn sqrt(a: F) -> F = _mm512_sqrt_ps(a);
                fn abs(a: F) -> F = _mm512_abs_ps(a);
                fn round(a: F) -> F = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT }>(a);
                fn lt(a: F, b: F) -> M = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b);
                fn is_nan(a: F) -> M = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
                fn select(m: M, a: F, b: F) -> F = _mm512_mask_blend_ps(m, b, a);
                fn bits(a: F) -> I = _mm512_castps_si512(a);
                fn float_from_bits(a: I) -> F = _mm512_castsi512_ps(a);
                fn to_i32(a: F) -> I = _mm512_cvtps_epi32(a);
                fn to_f32(a: I) -> F = _mm512_cvtepi32_ps(a);
                fn add_i32(a: I, b: I) -> I = _mm512_add_epi32(a, b);
                fn sub_i32(a: I, b: I) -> I = _mm512_sub_epi32(a, b);
                fn mul_i32(a: I, b: I) -> I = _mm512_mullo_epi32(a, b);
                fn min_i32(a: I, b: I) -> I = _mm512_min_epi32(a, b);
                fn max_i32(a: I, b: I) -> I = _mm512_max_epi32(a, b);
                fn and_i32(a: I, b: I) -> I = _mm512_and_si512(a, b);
                fn xor_i32(a: I, b: I) -> I = _mm512_xor_si512(a, b);
                fn dot($acc: I, $u: I, $s: I) -> I = $dot;
            }

            #[inline(always)]
            fn isa(self) -> Isa {
                Isa::$token(self)
            }
            #[inline(always)]
            fn splat(self, x: f32) -> __m512 {
                // SAFETY: `self` proves AVX-512 F.
                unsafe { _mm512_set1_ps(x) }
            }
            #[inline(always)]
            fn splat_i32(self, x: i32) -> __m512i {
                // SAFETY: `self` proves AVX-512 F.
                unsafe { _mm512_set1_epi32(x) }
            }
            #[inline(always)]
            fn load(self, src: &[f32]) -> __m512 {
                let src = &src[..N];
                // SAFETY: `self` proves AVX-512 F; `src` holds sixteen elements.
                unsafe { _mm512_loadu_ps(src.as_ptr()) }
            }
            #[inline(always)]
            fn store(self, v: __m512, dst: &mut [f32]) {
                let dst = &mut dst[..N];
                // SAFETY: `self` proves AVX-512 F; `dst` holds sixteen elements.
                unsafe { _mm512_storeu_ps(dst.as_mut_ptr(), v) }
            }
            #[inline(always)]
            fn load_i32(self, src: &[i32]) -> __m512i {
                let src = &src[..N];
                // SAFETY: `self` proves AVX-512 F; `src` holds sixteen elements.
                unsafe { _mm512_loadu_si512(src.as_ptr().cast()) }
            }
            #[inline(always)]
            fn store_i32(self, v: __m512i, dst: &mut [i32]) {
                let dst = &mut dst[..N];
                // SAFETY: `self` proves AVX-512 F; `dst` holds sixteen elements.
                unsafe { _mm512_storeu_si512(dst.as_mut_ptr().cast(), v) }
            }
            #[inline(always)]
            fn load_f16(self, src: &[f16]) -> __m512 {
                let src = &src[..N];
                // SAFETY: `self` proves AVX-512 F; `src` holds sixteen elements.
                unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(src.as_ptr().cast())) }
            }
            #[inline(always)]
            fn store_f16(self, v: __m512, dst: &mut [f16]) {
                let dst = &mut dst[..N];
                // SAFETY: `self` proves AVX-512 F; `dst` holds sixteen elements.
                unsafe {
                    let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v);
                    _mm256_storeu_si256(dst.as_mut_ptr().cast(), halves)
                }
            }
            #[inline(always)]
            fn load_u16(self, src: &[u16]) -> __m512i {
                let src = &src[..N];
                // SAFETY: `self` proves AVX-512 F; `src` holds sixteen elements.
                unsafe { _mm512_cvtepu16_epi32(_mm256_loadu_si256(src.as_ptr().cast())) }
            }
            #[inline(always)]
            fn store_u16(self, v: __m512i, dst: &mut [u16]) {
                let dst = &mut dst[..N];
                // SAFETY: `self` proves AVX-512 F; `dst` holds sixteen elements.
                unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(v)) }
            }
            #[inline(always)]
            fn prefetch<T>(self, of: &[T], at: usize) {
                // SAFETY: a prefetch reads nothing; an address that is not mapped is ignored.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(of.as_ptr().wrapping_add(at).cast()) }
            }
            #[inline(always)]
            fn prefetch_far<T>(self, of: &[T], at: usize) {
                // SAFETY: a prefetch reads nothing; an address that is not mapped is ignored.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(of.as_ptr().wrapping_add(at).cast()) }
            }
            #[inline(always)]
            fn load_partial(self, src: &[f32], fill: f32) -> __m512 {
                let mask = first_lanes(src.len());
                // SAFETY: `self` proves AVX-512 F; the masked load reads elements of `src` alone.
                unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask, src.as_ptr()) }
            }
            #[inline(always)]
            fn store_partial(self, v: __m512, dst: &mut [f32]) {
                let mask = first_lanes(dst.len());
                // SAFETY: `self` proves AVX-512 F; the masked store writes elements of `dst` alone.
                unsafe { _mm512_mask_storeu_ps(dst.as_mut_ptr(), mask, v) }
            }
            #[inline(always)]
            fn shl_i32<const S: i32>(self, a: __m512i) -> __m512i {
                // SAFETY: `self` proves AVX-512 F.
                unsafe { _mm512_sllv_epi32(a, _mm512_set1_epi32(S)) }
            }
            #[inline(always)]
            fn shr_i32<const S: i32>(self, a: __m512i) -> __m512i {
                // SAFETY: `self` proves AVX-512 F.
                unsafe { _mm512_srav_epi32(a, _mm512_set1_epi32(S)) }
            }
            #[inline(always)]
            fn load_u8(self, src: &[u8]) -> __m512i {
                let src = &src[..N];
                // SAFETY: `self` proves AVX-512 F; `src` holds the sixteen bytes that are read.
                unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(src.as_ptr().cast())) }
            }
            #[inline(always)]
            fn load_i8(self, src: &[i8]) -> __m512i {
                let src = &src[..N];
                // SAFETY: `self` proves AVX-512 F; `src` holds the sixteen bytes that are read.
                unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(src.as_ptr().cast())) }
            }
            #[inline(always)]
            fn store_u8(self, v: __m512i, dst: &mut [u8]) {
                let dst = &mut dst[..N];
                // SAFETY: `self` proves AVX-512 F; `dst` holds the sixteen bytes that are written.
                unsafe { _mm_storeu_si128(dst.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(v)) }
            }
            #[inline(always)]
            fn store_i8(self, v: __m512i, dst: &mut [i8]) {
                let dst = &mut dst[..N];
                // SAFETY: `self` proves AVX-512 F; `dst` holds the sixteen bytes that are written.
                unsafe { _mm_storeu_si128(dst.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(v)) }
            }
            #[inline(always)]
            fn load_bytes<T: QuantByte>(self, src: &[T]) -> __m512i {
                let src = &src[..4 * N];
                // SAFETY: `self` proves AVX-512 F; `src` holds as many bytes: `T` is `u8` or `i8`.
                unsafe { _mm512_loadu_si512(src.as_ptr().cast()) }
            }
            #[inline(always)]
            fn store_bytes<T: QuantByte>(self, v: __m512i, dst: &mut [T]) {
                let dst = &mut dst[..4 * N];
                // SAFETY: `self` proves AVX-512 F; `dst` holds as many bytes: `T` is `u8` or `i8`.
                unsafe { _mm512_storeu_si512(dst.as_mut_ptr().cast(), v) }
            }
            #[inline(always)]
            fn clamp_bytes<T: QuantByte>(self, v: __m512i, low: __m512i, high: __m512i) -> __m512i {
                // SAFETY: `self` proves AVX-512 BW.
                unsafe {
                    if T::MIN < 0 {
                        _mm512_min_epi8(_mm512_max_epi8(v, low), high)
                    } else {
                        _mm512_min_epu8(_mm512_max_epu8(v, low), high)
                    }
                }
            }
            #[inline(always)]
            fn pack<T: QuantByte>(self, words: [__m512i; 4], zero_point: i32) -> __m512i {
                let [a, b, c, d] = words;
                // SAFETY: `self` proves AVX-512 BW.
                unsafe {
                    let zero_point = _mm512_set1_epi16(zero_point as i16);
                    let low = _mm512_adds_epi16(_mm512_packs_epi32(a, b), zero_point);
                    let high = _mm512_adds_epi16(_mm512_packs_epi32(c, d), zero_point);
                    if T::MIN < 0 {
                        _mm512_packs_epi16(low, high)
                    } else {
                        _mm512_packus_epi16(low, high)
                    }
                }
            }
            #[inline(always)]
            fn straighten(self, packed: __m512i) -> __m512i {
                // SAFETY: `self` proves AVX-512 F.
                unsafe {
                    let order =
                        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
                    _mm512_permutexvar_epi32(order, packed)
                }
            }
            #[inline(always)]
            fn interleave(self, bytes: [__m512i; 4]) -> [__m512i; 4] {
                let [a, b, c, d] = bytes;
                // SAFETY: `self` proves AVX-512 BW.
                unsafe {
                    let (low, high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
                    let (low2, high2) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
                    [
                        _mm512_unpacklo_epi16(low, high),
                        _mm512_unpackhi_epi16(low, high),
                        _mm512_unpacklo_epi16(low2, high2),
                        _mm512_unpackhi_epi16(low2, high2),
                    ]
                }
            }
        }
    };
}

avx512_simd!(Avx512, k_group: 2, dot(acc, u, s): _mm512_add_epi32(acc, _mm512_madd_epi16(u, s)));
avx512_simd!(Avx512Vnni, k_group: 4, dot(acc, u, s): _mm512_dpbusd_epi32(acc, u, s));
