//! AVX2 with AVX-VNNI, the 8-bit dot product of CPUs without AVX-512: `vpdpbusd` of eight lanes.

use std::arch::x86_64::{__m256i, _mm256_dpbusd_avx_epi32};

use super::delegate::delegate_simd;
use super::simd::Simd;
use super::{Avx2, Isa};

/// Proof that the CPU has what [`Avx2`] proves, and AVX-VNNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvxVnni(Avx2);

impl AvxVnni {
    /// The token, if this CPU has the features.
    pub fn detect() -> Option<Self> {
        let base = Avx2::detect()?;
        is_x86_feature_detected!("avxvnni").then_some(Self(base))
    }
}

impl Simd for AvxVnni {
    delegate_simd!(Avx2);
    const K_GROUP: usize = 4;

    #[inline(always)]
    fn isa(self) -> Isa {
        Isa::AvxVnni(self)
    }
    #[inline(always)]
    fn dot(self, acc: __m256i, u: __m256i, s: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX-VNNI; the intrinsic touches registers only.
        unsafe { _mm256_dpbusd_avx_epi32(acc, u, s) }
    }
}
