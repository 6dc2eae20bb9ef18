//! The dot product of bfloat16 pairs where the CPU has it: AVX-512 BF16 (`vdpbf16ps`) and FEAT_BF16 (`bfdot`).
//!
//! It serves one kernel, so its tokens are not instruction sets of their own, for each of which every kernel would be
//! compiled: [`bf16_dispatch!`] finds them where the instruction set at hand is one that they extend. Elsewhere two fused
//! multiply-adds do the same.

use super::Isa;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::{delegate::delegate_simd, simd::Simd};

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::Avx512Bf16;

#[cfg(target_arch = "aarch64")]
pub(crate) use arm::NeonBf16;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m512, __m512bh, __m512i, _mm512_dpbf16_ps};
    use std::mem::transmute;

    use super::{Isa, Simd, delegate_simd};
    use crate::isa::Avx512Vnni;

    /// Proof that the CPU has what [`Avx512Vnni`] proves, and BF16.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Avx512Bf16(Avx512Vnni);

    impl Avx512Bf16 {
        /// The token, if `isa` is the instruction set that it extends and this CPU has the feature.
        pub(crate) fn of(isa: Isa) -> Option<Self> {
            match isa.of_vectors() {
                Isa::Avx512Vnni(base) if is_x86_feature_detected!("avx512bf16") => Some(Self(base)),
                _ => None,
            }
        }
    }

    impl Simd for Avx512Bf16 {
        delegate_simd!(Avx512Vnni);
        const K_GROUP: usize = Avx512Vnni::K_GROUP;

        #[inline(always)]
        fn isa(self) -> Isa {
            Isa::Avx512Vnni(self.0)
        }
        #[inline(always)]
        fn dot(self, acc: __m512i, u: __m512i, s: __m512i) -> __m512i {
            self.0.dot(acc, u, s)
        }
        #[inline(always)]
        fn dot_bf16(self, acc: __m512, a: __m512i, b: __m512i) -> __m512 {
            // SAFETY: `self` proves AVX-512 BF16; the types are of one size and hold bits; registers only.
            unsafe {
                let (a, b) = (
                    transmute::<__m512i, __m512bh>(a),
                    transmute::<__m512i, __m512bh>(b),
                );
                _mm512_dpbf16_ps(acc, a, b)
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::{float32x4_t, int32x4_t};
    use std::arch::{asm, is_aarch64_feature_detected};

    use super::{Isa, Simd, delegate_simd};
    use crate::isa::NeonI8mm;

    /// Proof that the CPU has what [`NeonI8mm`] proves, and the dot product of bfloat16 pairs.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct NeonBf16(NeonI8mm);

    impl NeonBf16 {
        /// The token, if `isa` is the instruction set that it extends and this CPU has the feature.
        pub(crate) fn of(isa: Isa) -> Option<Self> {
            match isa {
                Isa::NeonI8mm(base) if is_aarch64_feature_detected!("bf16") => Some(Self(base)),
                _ => None,
            }
        }
    }

    /// `acc + a0 b0 + a1 b1` per lane. The intrinsic is not stable yet; the instruction is written out.
    ///
    /// # Safety
    /// The CPU must have FEAT_BF16, and the function that this is inlined into must enable it.
    #[inline(always)]
    unsafe fn bfdot(mut acc: float32x4_t, a: int32x4_t, b: int32x4_t) -> float32x4_t {
        // SAFETY: the caller proves the feature; the instruction touches registers only.
        unsafe {
            asm!(
                "bfdot {acc:v}.4s, {a:v}.8h, {b:v}.8h",
                acc = inout(vreg) acc, a = in(vreg) a, b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        acc
    }

    impl Simd for NeonBf16 {
        delegate_simd!(NeonI8mm);
        const K_GROUP: usize = NeonI8mm::K_GROUP;

        #[inline(always)]
        fn isa(self) -> Isa {
            Isa::NeonI8mm(self.0)
        }
        #[inline(always)]
        fn dot(self, acc: Self::I, u: Self::I, s: Self::I) -> Self::I {
            self.0.dot(acc, u, s)
        }
        #[inline(always)]
        fn dot_bf16(self, acc: Self::F, a: Self::I, b: Self::I) -> Self::F {
            // SAFETY: `self` proves FEAT_BF16, which the dispatch enables.
            unsafe { (bfdot(acc.0, a.0, b.0), bfdot(acc.1, a.1, b.1)) }
        }
    }
}

/// Whether products of bfloat16 pairs are faster than those of floats on an instruction set.
pub(crate) fn has_bf16_dot(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    return Avx512Bf16::of(isa).is_some();
    #[cfg(target_arch = "aarch64")]
    return NeonBf16::of(isa).is_some();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = isa;
        false
    }
}

/// As [`simd_dispatch!`](super::simd_dispatch), with the dot product of bfloat16 pairs where the CPU has it.
macro_rules! bf16_dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident [$($g:ident : $bound:path),* $(,)?]
        ($simd:ident : S $(, $arg:ident : $ty:ty)* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name<$($g: $bound),*>(isa: $crate::isa::Isa $(, $arg: $ty)*) {
            $crate::isa::simd_dispatch! {
                fn without[$($g: $bound),*]($simd: S $(, $arg: $ty)*) $body
            }
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            #[inline(always)]
            fn body<S: $crate::isa::Simd $(, $g: $bound)*>($simd: S $(, $arg: $ty)*) $body

            #[cfg(target_arch = "x86_64")]
            if let Some(token) = $crate::isa::bf16::Avx512Bf16::of(isa) {
                #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")]
                fn go<$($g: $bound),*>(token: $crate::isa::bf16::Avx512Bf16 $(, $arg: $ty)*) {
                    body(token $(, $arg)*)
                }
                // SAFETY: an `Avx512Bf16` exists only where these features were detected.
                return unsafe { go(token $(, $arg)*) };
            }
            #[cfg(target_arch = "aarch64")]
            if let Some(token) = $crate::isa::bf16::NeonBf16::of(isa) {
                #[target_feature(enable = "neon,dotprod,i8mm,bf16")]
                fn go<$($g: $bound),*>(token: $crate::isa::bf16::NeonBf16 $(, $arg: $ty)*) {
                    body(token $(, $arg)*)
                }
                // SAFETY: a `NeonBf16` exists only where these features were detected.
                return unsafe { go(token $(, $arg)*) };
            }
            without(isa $(, $arg)*)
        }
    };
}
pub(crate) use bf16_dispatch;
