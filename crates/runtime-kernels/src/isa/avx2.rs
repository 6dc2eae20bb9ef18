//! AVX2 with FMA and F16C: eight lanes; int8 words of two values widened to 16 bits, so that
//! `vpmaddwd` sums two products exactly where `vpmaddubsw` would saturate.

use std::arch::x86_64::*;

use half::f16;

use super::Isa;
use super::simd::Simd;
use crate::quantized::QuantByte;

/// Proof that the CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// The token, if this CPU has the features.
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        found.then_some(Self(()))
    }
}

/// Methods that are one expression of register intrinsics (no memory access).
macro_rules! register_ops {
    ($(fn $name:ident($($arg:ident : $ty:ident),*) -> $ret:ident = $e:expr;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: Self::$ty),*) -> Self::$ret {
            // SAFETY: `self` proves AVX2 and FMA; the intrinsics touch registers only.
            unsafe { $e }
        })*
    };
}

const N: usize = 8;

impl Simd for Avx2 {
    type F = __m256;
    type I = __m256i;
    type M = __m256;
    const LANES: usize = N;
    const MR: usize = 6;
    const K_GROUP: usize = 2;
    const PACK_RUN: usize = 4;

    register_ops! {
        fn add(a: F, b: F) -> F = _mm256_add_ps(a, b);
        fn sub(a: F, b: F) -> F = _mm256_sub_ps(a, b);
        fn mul(a: F, b: F) -> F = _mm256_mul_ps(a, b);
        fn div(a: F, b: F) -> F = _mm256_div_ps(a, b);
        fn fma(a: F, b: F, c: F) -> F = _mm256_fmadd_ps(a, b, c);
        fn min(a: F, b: F) -> F = _mm256_min_ps(a, b);
        fn max(a: F, b: F) -> F = _mm256_max_ps(a, b);
        fn sqrt(a: F) -> F = _mm256_sqrt_ps(a);
        fn abs(a: F) -> F = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        fn round(a: F) -> F = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        fn lt(a: F, b: F) -> M = _mm256_cmp_ps::<_CMP_LT_OQ>(a, b);
        fn is_nan(a: F) -> M = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
        fn select(m: M, a: F, b: F) -> F = _mm256_blendv_ps(b, a, m);
        fn bits(a: F) -> I = _mm256_castps_si256(a);
        fn float_from_bits(a: I) -> F = _mm256_castsi256_ps(a);
        fn to_i32(a: F) -> I = _mm256_cvtps_epi32(a);
        fn to_f32(a: I) -> F = _mm256_cvtepi32_ps(a);
        fn add_i32(a: I, b: I) -> I = _mm256_add_epi32(a, b);
        fn sub_i32(a: I, b: I) -> I = _mm256_sub_epi32(a, b);
        fn mul_i32(a: I, b: I) -> I = _mm256_mullo_epi32(a, b);
        fn min_i32(a: I, b: I) -> I = _mm256_min_epi32(a, b);
        fn max_i32(a: I, b: I) -> I = _mm256_max_epi32(a, b);
        fn and_i32(a: I, b: I) -> I = _mm256_and_si256(a, b);
        fn xor_i32(a: I, b: I) -> I = _mm256_xor_si256(a, b);
        fn dot(acc: I, u: I, s: I) -> I = _mm256_add_epi32(acc, _mm256_madd_epi16(u, s));
    }

    #[inline(always)]
    fn isa(self) -> Isa {
        Isa::Avx2(self)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_set1_epi32(x) }
    }
    #[inline(always)]
    fn load(self, src: &[f32]) -> __m256 {
        let src = &src[..N];
        // SAFETY: `self` proves AVX2; `src` holds eight elements; the load is unaligned.
        unsafe { _mm256_loadu_ps(src.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m256, dst: &mut [f32]) {
        let dst = &mut dst[..N];
        // SAFETY: `self` proves AVX2; `dst` holds eight elements; the store is unaligned.
        unsafe { _mm256_storeu_ps(dst.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn load_i32(self, src: &[i32]) -> __m256i {
        let src = &src[..N];
        // SAFETY: `self` proves AVX2; `src` holds eight elements; the load is unaligned.
        unsafe { _mm256_loadu_si256(src.as_ptr().cast()) }
    }
    #[inline(always)]
    fn store_i32(self, v: __m256i, dst: &mut [i32]) {
        let dst = &mut dst[..N];
        // SAFETY: `self` proves AVX2; `dst` holds eight elements; the store is unaligned.
        unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), v) }
    }
    #[inline(always)]
    fn shl_i32<const S: i32>(self, a: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_slli_epi32::<S>(a) }
    }
    #[inline(always)]
    fn shr_i32<const S: i32>(self, a: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_srai_epi32::<S>(a) }
    }
    #[inline(always)]
    fn load_u8(self, src: &[u8]) -> __m256i {
        let src = &src[..N];
        // SAFETY: `self` proves AVX2; `src` holds the eight bytes that are read.
        unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(src.as_ptr().cast())) }
    }
    #[inline(always)]
    fn load_i8(self, src: &[i8]) -> __m256i {
        let src = &src[..N];
        // SAFETY: `self` proves AVX2; `src` holds the eight bytes that are read.
        unsafe { _mm256_cvtepi8_epi32(_mm_loadl_epi64(src.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_u8(self, v: __m256i, dst: &mut [u8]) {
        let dst = &mut dst[..N];
        // SAFETY: `self` proves AVX2; `dst` holds the eight bytes that are written.
        unsafe {
            let words =
                _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            _mm_storel_epi64(dst.as_mut_ptr().cast(), _mm_packus_epi16(words, words));
        }
    }
    #[inline(always)]
    fn store_i8(self, v: __m256i, dst: &mut [i8]) {
        let dst = &mut dst[..N];
        // SAFETY: `self` proves AVX2; `dst` holds the eight bytes that are written.
        unsafe {
            let words =
                _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            _mm_storel_epi64(dst.as_mut_ptr().cast(), _mm_packs_epi16(words, words));
        }
    }
    #[inline(always)]
    fn load_f16(self, src: &[f16]) -> __m256 {
        let src = &src[..N];
        // SAFETY: `self` proves AVX2 and F16C; `src` holds eight elements; the load is unaligned.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(src.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_f16(self, v: __m256, dst: &mut [f16]) {
        let dst = &mut dst[..N];
        // SAFETY: `self` proves AVX2 and F16C; `dst` holds eight elements; the store is unaligned.
        unsafe {
            let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v);
            _mm_storeu_si128(dst.as_mut_ptr().cast(), halves)
        }
    }
    #[inline(always)]
    fn load_u16(self, src: &[u16]) -> __m256i {
        let src = &src[..N];
        // SAFETY: `self` proves AVX2; `src` holds eight elements; the load is unaligned.
        unsafe { _mm256_cvtepu16_epi32(_mm_loadu_si128(src.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_u16(self, v: __m256i, dst: &mut [u16]) {
        let dst = &mut dst[..N];
        // SAFETY: `self` proves AVX2; `dst` holds eight elements; the store is unaligned.
        unsafe {
            let halves =
                _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
            _mm_storeu_si128(dst.as_mut_ptr().cast(), halves)
        }
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
    fn load_partial(self, src: &[f32], fill: f32) -> __m256 {
        let n = src.len().min(N);
        // SAFETY: `self` proves AVX2; the masked load reads the first `n` elements of `src` alone.
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lanes);
            let live = _mm256_maskload_ps(src.as_ptr(), mask);
            _mm256_blendv_ps(_mm256_set1_ps(fill), live, _mm256_castsi256_ps(mask))
        }
    }
    /// In halves: masked stores are slow on some CPUs.
    #[inline(always)]
    fn store_partial(self, v: __m256, dst: &mut [f32]) {
        if dst.len() >= N {
            return self.store(v, dst);
        }
        let (fours, rest) = dst.as_chunks_mut::<4>();
        // SAFETY: `self` proves AVX2; each store writes an array of its size, and none asks for alignment.
        unsafe {
            let mut low = _mm256_castps256_ps128(v);
            if let Some(four) = fours.first_mut() {
                _mm_storeu_ps(four.as_mut_ptr(), low);
                low = _mm256_extractf128_ps::<1>(v);
            }
            let (twos, rest) = rest.as_chunks_mut::<2>();
            if let Some(two) = twos.first_mut() {
                _mm_storel_epi64(two.as_mut_ptr().cast(), _mm_castps_si128(low));
                low = _mm_movehl_ps(low, low);
            }
            if let Some(one) = rest.first_mut() {
                *one = _mm_cvtss_f32(low);
            }
        }
    }
    #[inline(always)]
    fn load_bytes<T: QuantByte>(self, src: &[T]) -> __m256i {
        let src = &src[..4 * N];
        // SAFETY: `self` proves AVX2; `src` holds as many bytes: `T` is `u8` or `i8`.
        unsafe { _mm256_loadu_si256(src.as_ptr().cast()) }
    }
    #[inline(always)]
    fn store_bytes<T: QuantByte>(self, v: __m256i, dst: &mut [T]) {
        let dst = &mut dst[..4 * N];
        // SAFETY: `self` proves AVX2; `dst` holds as many bytes: `T` is `u8` or `i8`.
        unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), v) }
    }
    #[inline(always)]
    fn clamp_bytes<T: QuantByte>(self, v: __m256i, low: __m256i, high: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe {
            if T::MIN < 0 {
                _mm256_min_epi8(_mm256_max_epi8(v, low), high)
            } else {
                _mm256_min_epu8(_mm256_max_epu8(v, low), high)
            }
        }
    }
    #[inline(always)]
    fn pack<T: QuantByte>(self, words: [__m256i; 4], zero_point: i32) -> __m256i {
        let [a, b, c, d] = words;
        // SAFETY: `self` proves AVX2.
        unsafe {
            let zero_point = _mm256_set1_epi16(zero_point as i16);
            let low = _mm256_adds_epi16(_mm256_packs_epi32(a, b), zero_point);
            let high = _mm256_adds_epi16(_mm256_packs_epi32(c, d), zero_point);
            if T::MIN < 0 {
                _mm256_packs_epi16(low, high)
            } else {
                _mm256_packus_epi16(low, high)
            }
        }
    }
    #[inline(always)]
    fn straighten(self, packed: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            _mm256_permutevar8x32_epi32(packed, order)
        }
    }
    #[inline(always)]
    fn interleave(self, bytes: [__m256i; 4]) -> [__m256i; 4] {
        let [a, b, c, d] = bytes;
        // SAFETY: `self` proves AVX2.
        unsafe {
            let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpacklo_epi8(c, d));
            let (low2, high2) = (_mm256_unpackhi_epi8(a, b), _mm256_unpackhi_epi8(c, d));
            [
                _mm256_unpacklo_epi16(low, high),
                _mm256_unpackhi_epi16(low, high),
                _mm256_unpacklo_epi16(low2, high2),
                _mm256_unpackhi_epi16(low2, high2),
            ]
        }
    }
}
