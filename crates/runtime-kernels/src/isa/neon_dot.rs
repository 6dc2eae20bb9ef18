//! AArch64 NEON with the 8-bit dot products: `sdot` (FEAT_DotProd) and `usdot` (FEAT_I8MM), eight lanes as two registers.
//!
//! `sdot` multiplies signed bytes with signed bytes. Activations are therefore packed as signed bytes for it
//! ([`Simd::SIGNED_ACTIVATIONS`]), which moves their zero point and nothing else; where unsigned bytes must be taken,
//! `Σ u s = Σ (u - 128) s + 128 Σ s`. `usdot` takes unsigned and signed bytes as they are.
//!
//! The intrinsics of both are not stable yet; the instructions are written out.

use std::arch::aarch64::{
    int32x4_t, vaddq_s32, vdupq_n_s32, vdupq_n_u8, veorq_s32, vreinterpretq_s32_u8, vshlq_n_s32,
};
use std::arch::{asm, is_aarch64_feature_detected};

use super::delegate::delegate_simd;
use super::simd::Simd;
use super::{Isa, Neon};

/// Proof that the CPU has NEON and the dot product of signed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeonDot(Neon);

/// Proof that the CPU has what [`NeonDot`] proves, and the dot product of unsigned with signed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeonI8mm(Neon);

impl NeonDot {
    /// The token, if this CPU has the features.
    pub fn detect() -> Option<Self> {
        let base = Neon::detect()?;
        is_aarch64_feature_detected!("dotprod").then_some(Self(base))
    }
}

impl NeonI8mm {
    /// The token, if this CPU has the features.
    pub fn detect() -> Option<Self> {
        let NeonDot(base) = NeonDot::detect()?;
        is_aarch64_feature_detected!("i8mm").then_some(Self(base))
    }
}

/// `acc + Σ a b` of four signed bytes per lane.
///
/// # Safety
/// The CPU must have FEAT_DotProd, and the function that this is inlined into must enable it.
#[inline(always)]
unsafe fn sdot(mut acc: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    // SAFETY: the caller proves the feature; the instruction touches registers only.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// `acc + Σ u s` of four bytes per lane, those of `u` unsigned.
///
/// # Safety
/// The CPU must have FEAT_I8MM, and the function that this is inlined into must enable it.
#[inline(always)]
unsafe fn usdot(mut acc: int32x4_t, u: int32x4_t, s: int32x4_t) -> int32x4_t {
    // SAFETY: the caller proves the feature; the instruction touches registers only.
    unsafe {
        asm!(
            "usdot {acc:v}.4s, {u:v}.16b, {s:v}.16b",
            acc = inout(vreg) acc, u = in(vreg) u, s = in(vreg) s,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

impl Simd for NeonDot {
    delegate_simd!(Neon);
    const K_GROUP: usize = 4;
    const SIGNED_ACTIVATIONS: bool = true;

    #[inline(always)]
    fn isa(self) -> Isa {
        Isa::NeonDot(self)
    }
    #[inline(always)]
    fn dot(self, acc: Self::I, u: Self::I, s: Self::I) -> Self::I {
        let half = |acc, u, s| {
            // SAFETY: `self` proves NEON and FEAT_DotProd, which the dispatch enables.
            unsafe {
                let lowered = veorq_s32(u, vreinterpretq_s32_u8(vdupq_n_u8(0x80)));
                let ones = vreinterpretq_s32_u8(vdupq_n_u8(1));
                let sum = sdot(vdupq_n_s32(0), ones, s);
                vaddq_s32(sdot(acc, lowered, s), vshlq_n_s32::<7>(sum))
            }
        };
        (half(acc.0, u.0, s.0), half(acc.1, u.1, s.1))
    }
    #[inline(always)]
    fn dot_activations(self, acc: Self::I, x: Self::I, s: Self::I) -> Self::I {
        // SAFETY: `self` proves FEAT_DotProd, which the dispatch enables.
        unsafe { (sdot(acc.0, x.0, s.0), sdot(acc.1, x.1, s.1)) }
    }
}

impl Simd for NeonI8mm {
    delegate_simd!(Neon);
    const K_GROUP: usize = 4;

    #[inline(always)]
    fn isa(self) -> Isa {
        Isa::NeonI8mm(self)
    }
    #[inline(always)]
    fn dot(self, acc: Self::I, u: Self::I, s: Self::I) -> Self::I {
        // SAFETY: `self` proves FEAT_I8MM, which the dispatch enables.
        unsafe { (usdot(acc.0, u.0, s.0), usdot(acc.1, u.1, s.1)) }
    }
}
