//! Instruction sets: detection, tokens, and the dispatch to the widest one at run time.
//!
//! A token such as [`Avx2`] cannot be made outside this module, and is made only after the CPU
//! was asked for the feature. An [`Isa`] holds one token; a kernel that takes an [`Isa`] is safe
//! to call with any value of it.
//!
//! [`Isa::best`] may be overridden for tests and for reports of a fault by the environment
//! variable `MODELPRESS_ISA` (`scalar`, `avx2`, `avxvnni`, `avx512`, `avx512vnni`, `avx512amx`, `neon`, `neondot`, `neoni8mm`); a name that this
//! CPU does not have is ignored.

pub(crate) mod bf16;
mod delegate;
mod scalar;
mod simd;
mod spaced_rows;

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_dot;

use std::fmt;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
pub use amx::Avx512Amx;
#[cfg(target_arch = "x86_64")]
pub use avx_vnni::AvxVnni;
#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::{Avx512, Avx512Vnni};
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
#[cfg(target_arch = "aarch64")]
pub use neon_dot::{NeonDot, NeonI8mm};
pub use scalar::Scalar;

pub(crate) use simd::{
    MAX_LANES, MAX_MR, MAX_NR, Simd, packed_lane, simd_dispatch, word_signed, word_unsigned,
};
pub(crate) use spaced_rows::{RowTile, SpacedRows};

/// An instruction set that this CPU was found to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Portable code, on every CPU.
    Scalar(Scalar),
    /// x86-64 AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX2 with AVX-VNNI, the 8-bit dot product without AVX-512.
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    /// x86-64 AVX-512 F, BW, VL and DQ.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// AVX-512 with VNNI, the 8-bit dot product.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
    /// The same with AMX, tiles of bytes, for products of enough rows.
    #[cfg(target_arch = "x86_64")]
    Avx512Amx(Avx512Amx),
    /// AArch64 NEON.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// NEON with the dot product of signed bytes.
    #[cfg(target_arch = "aarch64")]
    NeonDot(NeonDot),
    /// NEON with the dot product of unsigned with signed bytes.
    #[cfg(target_arch = "aarch64")]
    NeonI8mm(NeonI8mm),
}

impl Isa {
    /// The fastest instruction set of this CPU, or the one that `MODELPRESS_ISA` names.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let wanted = std::env::var("MODELPRESS_ISA").unwrap_or_default();
            let named = |all: &[Self]| {
                let is_wanted = |isa: &&Self| isa.name().eq_ignore_ascii_case(&wanted);
                all.iter().find(is_wanted).copied()
            };
            // Who names another one is not to be asked for tiles.
            named(&Self::of_vectors_alone()).unwrap_or_else(|| {
                let all = Self::available();
                let last = all.last().copied();
                named(&all).or(last).unwrap_or_else(Self::scalar)
            })
        })
    }

    /// All instruction sets of this CPU, the slowest (scalar) first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut, reason = "there are none beyond on other architectures")]
        let mut all = Self::of_vectors_alone();
        #[cfg(target_arch = "x86_64")]
        all.extend(Avx512Amx::detect().map(Self::Avx512Amx));
        all
    }

    /// The same without what has more than vectors.
    fn of_vectors_alone() -> Vec<Self> {
        let mut all = vec![Self::scalar()];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx2::detect().map(Self::Avx2));
            all.extend(AvxVnni::detect().map(Self::AvxVnni));
            all.extend(Avx512::detect().map(Self::Avx512));
            all.extend(Avx512Vnni::detect().map(Self::Avx512Vnni));
        }
        #[cfg(target_arch = "aarch64")]
        {
            all.extend(Neon::detect().map(Self::Neon));
            all.extend(NeonDot::detect().map(Self::NeonDot));
            all.extend(NeonI8mm::detect().map(Self::NeonI8mm));
        }
        all
    }

    /// The portable instruction set.
    pub fn scalar() -> Self {
        Self::Scalar(Scalar::new())
    }

    /// The name that `MODELPRESS_ISA` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar(_) => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(_) => "avxvnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(_) => "avx512vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Amx(_) => "avx512amx",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(_) => "neondot",
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm(_) => "neoni8mm",
        }
    }

    /// The instruction set that its vectors are of: another one where it is that one with something beside vectors.
    #[inline(always)]
    pub(crate) fn of_vectors(self) -> Self {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Amx(amx) => Self::Avx512Vnni(amx.base()),
            vectors => vectors,
        }
    }

    /// The register tile and word format of the matrix products of this instruction set.
    pub(crate) fn tile(self) -> TileShape {
        tile_shape(self)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What packed operands depend on: two instruction sets with the same shape can share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TileShape {
    /// Rows of the register tile.
    pub(crate) mr: usize,
    /// Columns of the register tile.
    pub(crate) nr: usize,
    /// Bytes of the reduction dimension per word.
    pub(crate) k_group: usize,
    /// See [`Simd::SIGNED_ACTIVATIONS`].
    pub(crate) signed_activations: bool,
}

simd_dispatch! {
    fn tile_shape(_simd: S) -> TileShape {
        TileShape {
            mr: S::MR,
            nr: 2 * S::LANES,
            k_group: S::K_GROUP,
            signed_activations: S::SIGNED_ACTIVATIONS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_is_always_available_and_first() {
        assert_eq!(Isa::available()[0].name(), "scalar");
    }

    #[test]
    fn every_available_tile_fits_the_stack_buffers() {
        for isa in Isa::available() {
            let t = isa.tile();
            assert!(
                t.mr <= MAX_MR && t.nr <= MAX_NR && t.nr % 2 == 0,
                "{isa}: {t:?}"
            );
            assert!(t.k_group == 2 || t.k_group == 4);
        }
    }

    simd_dispatch! {
        fn dot_once(simd: S, u: [u8; 4], s: [i8; 4]) -> i32 {
            let mut out = [0; MAX_LANES];
            let mut acc = simd.splat_i32(7);
            for k in (0..4).step_by(S::K_GROUP) {
                let (mut a, mut b) = ([0; 4], [0; 4]);
                a[..S::K_GROUP].copy_from_slice(&u[k..k + S::K_GROUP]);
                b[..S::K_GROUP].copy_from_slice(&s[k..k + S::K_GROUP]);
                let a = simd.splat_i32(word_unsigned(S::K_GROUP, a));
                let b = simd.splat_i32(word_signed(S::K_GROUP, b));
                acc = simd.dot(acc, a, b);
            }
            simd.store_i32(acc, &mut out);
            out[S::LANES - 1]
        }
    }

    #[test]
    fn dot_does_not_saturate_at_the_extremes() {
        for isa in Isa::available() {
            assert_eq!(
                dot_once(isa, [255; 4], [127; 4]),
                7 + 4 * 255 * 127,
                "{isa}"
            );
            assert_eq!(
                dot_once(isa, [255; 4], [-128; 4]),
                7 - 4 * 255 * 128,
                "{isa}"
            );
            assert_eq!(dot_once(isa, [1, 2, 3, 4], [1, -1, 1, -1]), 5, "{isa}");
        }
    }

    simd_dispatch! {
        fn lanes_behave(simd: S, x: &[f32]) -> [f32; 6] {
            let v = simd.load(x);
            let first = |v| { let mut o = [0.0; MAX_LANES]; simd.store(v, &mut o); o[0] };
            [
                first(simd.round(v)),
                first(simd.max(simd.splat(f32::NAN), v)),
                first(simd.max(v, simd.splat(f32::NAN))),
                first(simd.to_f32(simd.to_i32(v))),
                first(simd.abs(v)),
                simd.sum(v),
            ]
        }
    }

    #[test]
    fn rounding_nan_rule_and_sum_agree_on_every_instruction_set() {
        let x = [-2.5_f32; MAX_LANES];
        for isa in Isa::available() {
            let got = lanes_behave(isa, &x);
            let lanes = (isa.tile().nr / 2) as f32;
            assert_eq!(got[0], -2.0);
            assert_eq!(got[1], -2.5);
            assert!(got[2].is_nan());
            assert_eq!(got[3..], [-2.0, 2.5, -2.5 * lanes]);
        }
    }
}
