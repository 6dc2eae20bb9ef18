//! The vector trait that every algorithm of this crate is written over.
//!
//! A value of a type that implements [`Simd`] is a token: it exists only where the CPU feature
//! was detected, so its methods are safe. Each method is one instruction or a short sequence and
//! must inline into a function that has the feature enabled, which [`simd_dispatch!`] arranges.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::Isa;
use crate::quantized::QuantByte;

/// Vectors of `f32` and `i32` with [`Simd::LANES`] lanes, and the int8 dot product.
///
/// Loads and stores take slices of at least [`Simd::LANES`] elements and are checked; where the
/// length is known the compiler removes the check.
pub trait Simd: Copy + Send + Sync + 'static {
    /// A vector of `f32`.
    type F: Copy;
    /// A vector of `i32`.
    type I: Copy;
    /// The result of a comparison of two `f32` vectors.
    type M: Copy;

    /// Lanes of a vector.
    const LANES: usize;
    /// Rows of the register tile of a matrix product; its columns are two vectors.
    const MR: usize;
    /// Rows of a register tile of one vector of columns.
    const MR_NARROW: usize = if 2 * Self::MR < MAX_MR {
        2 * Self::MR
    } else {
        MAX_MR
    };
    /// Bytes of the reduction dimension that one 32-bit word of [`Simd::dot`] holds: 4 (bytes) or
    /// 2 (bytes widened to 16 bits).
    const K_GROUP: usize;
    /// How many bytes in a row [`Simd::pack`] takes from a vector before it goes to the next one.
    const PACK_RUN: usize;
    /// Whether the activations of int8 products are signed bytes, as the weights are: [`Simd::dot_activations`] multiplies
    /// such then, else unsigned ones.
    const SIGNED_ACTIVATIONS: bool = false;

    /// The instruction set of this token.
    fn isa(self) -> Isa;
    fn splat(self, x: f32) -> Self::F;
    fn load(self, src: &[f32]) -> Self::F;
    fn store(self, v: Self::F, dst: &mut [f32]);
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, with one rounding where the instruction set has it.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a < b ? a : b` per lane: a NaN in either gives `b`.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a > b ? a : b` per lane: a NaN in either gives `b`.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    fn sqrt(self, a: Self::F) -> Self::F;
    fn abs(self, a: Self::F) -> Self::F;
    /// Rounds to the nearest integer, halves to even.
    fn round(self, a: Self::F) -> Self::F;
    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    /// Whether each lane is NaN.
    fn is_nan(self, a: Self::F) -> Self::M;
    /// `m ? a : b` per lane.
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;
    /// The bits of `a`.
    fn bits(self, a: Self::F) -> Self::I;
    /// The float with the bits `a`.
    fn float_from_bits(self, a: Self::I) -> Self::F;
    /// Rounds to the nearest integer, halves to even; the values must fit `i32`.
    fn to_i32(self, a: Self::F) -> Self::I;
    fn to_f32(self, a: Self::I) -> Self::F;

    fn splat_i32(self, x: i32) -> Self::I;
    fn load_i32(self, src: &[i32]) -> Self::I;
    fn store_i32(self, v: Self::I, dst: &mut [i32]);
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I;
    fn sub_i32(self, a: Self::I, b: Self::I) -> Self::I;
    fn mul_i32(self, a: Self::I, b: Self::I) -> Self::I;
    fn min_i32(self, a: Self::I, b: Self::I) -> Self::I;
    fn max_i32(self, a: Self::I, b: Self::I) -> Self::I;
    fn and_i32(self, a: Self::I, b: Self::I) -> Self::I;
    fn shl_i32<const N: i32>(self, a: Self::I) -> Self::I;
    fn shr_i32<const N: i32>(self, a: Self::I) -> Self::I;
    fn load_u8(self, src: &[u8]) -> Self::I;
    fn load_i8(self, src: &[i8]) -> Self::I;
    /// Stores lanes that are known to lie in `0..=255`.
    fn store_u8(self, v: Self::I, dst: &mut [u8]);
    /// Stores lanes that are known to lie in `-128..=127`.
    fn store_i8(self, v: Self::I, dst: &mut [i8]);

    /// `acc + dot(u, s)` per 32-bit word, exact: each word of `u` holds [`Simd::K_GROUP`] values
    /// of `0..=255`, each word of `s` as many of `-128..=127` (see [`word_unsigned`] and
    /// [`word_signed`]).
    fn dot(self, acc: Self::I, u: Self::I, s: Self::I) -> Self::I;

    // Bytes: a vector of words is also one of `4 * LANES` bytes.

    fn xor_i32(self, a: Self::I, b: Self::I) -> Self::I;
    fn load_bytes<T: QuantByte>(self, src: &[T]) -> Self::I;
    fn store_bytes<T: QuantByte>(self, v: Self::I, dst: &mut [T]);
    /// `low` where a byte is below it, `high` where it is above, as bytes of type `T`.
    fn clamp_bytes<T: QuantByte>(self, v: Self::I, low: Self::I, high: Self::I) -> Self::I;
    /// The words of four vectors plus `zero_point` as bytes of type `T`, saturated. They stand in runs of
    /// [`Simd::PACK_RUN`]: of the first vector, of the second, ..., of the fourth, the next of the first, and so on.
    /// `zero_point` lies in `-128..=255`.
    fn pack<T: QuantByte>(self, words: [Self::I; 4], zero_point: i32) -> Self::I;
    /// Packed bytes with all those of the first vector first, then all of the second, and so on.
    fn straighten(self, packed: Self::I) -> Self::I;
    /// Words of four bytes, one of each vector. Packed, the words stand in the order of the bytes.
    fn interleave(self, bytes: [Self::I; 4]) -> [Self::I; 4];
    /// As [`Simd::dot`], of activations in the form of [`Simd::SIGNED_ACTIVATIONS`] with weights: the form that takes the
    /// fewest instructions.
    #[inline(always)]
    fn dot_activations(self, acc: Self::I, x: Self::I, s: Self::I) -> Self::I {
        self.dot(acc, x, s)
    }

    /// Loads numbers of half precision; exact.
    fn load_f16(self, src: &[f16]) -> Self::F;
    /// Stores lanes rounded to half precision, halves to even.
    fn store_f16(self, v: Self::F, dst: &mut [f16]);
    /// Loads lanes of 16 bits without sign.
    fn load_u16(self, src: &[u16]) -> Self::I;
    /// Stores lanes that are known to lie in `0..=65535`.
    fn store_u16(self, v: Self::I, dst: &mut [u16]);

    /// Loads bfloat16 numbers, the upper halves of `f32`; exact.
    #[inline(always)]
    fn load_bf16(self, src: &[bf16]) -> Self::F {
        self.float_from_bits(self.shl_i32::<16>(self.load_u16(src.reinterpret_cast())))
    }

    /// Stores lanes rounded to bfloat16, halves to even. A NaN stays one.
    #[inline(always)]
    fn store_bf16(self, v: Self::F, dst: &mut [bf16]) {
        let upper = |x| self.and_i32(self.shr_i32::<16>(x), self.splat_i32(0xffff));
        let bits = self.bits(v);
        let odd = self.and_i32(self.shr_i32::<16>(bits), self.splat_i32(1));
        let rounded = self.add_i32(bits, self.add_i32(odd, self.splat_i32(0x7fff)));
        // The lower half alone may hold what makes it a NaN.
        let quiet = self.and_i32(upper(bits), self.splat_i32(0xffbf));
        let quiet = self.add_i32(quiet, self.splat_i32(0x40));
        let (quiet, rounded) = (
            self.float_from_bits(quiet),
            self.float_from_bits(upper(rounded)),
        );
        let kept = self.select(self.is_nan(v), quiet, rounded);
        self.store_u16(self.bits(kept), dst.reinterpret_cast_mut());
    }

    /// `acc + a0 b0 + a1 b1` per 32-bit word of two bfloat16 numbers. The products are exact; the order of the sums, their
    /// roundings and what becomes of subnormal numbers are the instruction set's.
    #[inline(always)]
    fn dot_bf16(self, acc: Self::F, a: Self::I, b: Self::I) -> Self::F {
        let first = |x| self.float_from_bits(self.shl_i32::<16>(x));
        let second = |x| self.float_from_bits(self.and_i32(x, self.splat_i32(-0x1_0000)));
        self.fma(first(a), first(b), self.fma(second(a), second(b), acc))
    }

    /// Hints that the cache line of `of[at]` is read soon; `at` may lie past the end.
    #[inline(always)]
    fn prefetch<T>(self, of: &[T], at: usize) {
        let _ = (of, at);
    }

    /// The same of what is read later than all that the first cache holds.
    #[inline(always)]
    fn prefetch_far<T>(self, of: &[T], at: usize) {
        let _ = (of, at);
    }

    /// Loads up to [`Simd::LANES`] elements; the missing lanes are `fill`.
    #[inline(always)]
    fn load_partial(self, src: &[f32], fill: f32) -> Self::F {
        let mut lanes = [fill; MAX_LANES];
        let n = src.len().min(Self::LANES);
        lanes[..n].copy_from_slice(&src[..n]);
        self.load(&lanes)
    }

    /// Stores the first `dst.len()` lanes, at most [`Simd::LANES`].
    #[inline(always)]
    fn store_partial(self, v: Self::F, dst: &mut [f32]) {
        let mut lanes = [0.0; MAX_LANES];
        self.store(v, &mut lanes);
        let n = dst.len().min(Self::LANES);
        dst[..n].copy_from_slice(&lanes[..n]);
    }

    /// The sum of all lanes, added pairwise in an order that does not depend on the data.
    #[inline(always)]
    fn sum(self, v: Self::F) -> f32 {
        self.fold(v, |a, b| a + b)
    }

    /// Folds the lanes pairwise: lane `i` with lane `i + half`.
    #[inline(always)]
    fn fold(self, v: Self::F, f: impl Fn(f32, f32) -> f32) -> f32 {
        let mut lanes = [0.0; MAX_LANES];
        self.store(v, &mut lanes);
        let mut half = Self::LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = f(lanes[i], lanes[i + half]);
            }
            half /= 2;
        }
        lanes[0]
    }
}

/// The vector and the lane of byte `at` of [`Simd::pack`].
#[inline(always)]
pub(crate) fn packed_lane<S: Simd>(at: usize) -> (usize, usize) {
    let run = at / S::PACK_RUN;
    (run % 4, run / 4 * S::PACK_RUN + at % S::PACK_RUN)
}

/// No instruction set here has more lanes.
pub(crate) const MAX_LANES: usize = 16;
/// No instruction set here has a register tile of more rows.
pub(crate) const MAX_MR: usize = 12;
/// No instruction set here has a register tile of more columns.
pub(crate) const MAX_NR: usize = 2 * MAX_LANES;

/// The word of [`Simd::dot`] that holds unsigned bytes.
#[inline(always)]
pub(crate) fn word_unsigned(k_group: usize, b: [u8; 4]) -> i32 {
    if k_group == 4 {
        i32::from_le_bytes(b)
    } else {
        i32::from(b[0]) | (i32::from(b[1]) << 16)
    }
}

/// The word of [`Simd::dot`] that holds signed bytes.
#[inline(always)]
pub(crate) fn word_signed(k_group: usize, b: [i8; 4]) -> i32 {
    if k_group == 4 {
        i32::from_le_bytes(b.map(|x| x as u8))
    } else {
        (i32::from(b[0]) & 0xffff) | (i32::from(b[1]) << 16)
    }
}

/// Declares a function whose body is compiled once per instruction set.
///
/// `fn name(simd: S, args…) -> R { body }` becomes `fn name(isa: Isa, args…) -> R`: the body is
/// generic over `S: Simd` and runs with the features of `isa` enabled. All that the body calls
/// with `simd` must be `#[inline(always)]`, or its vectors travel through memory.
macro_rules! simd_dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $([$($g:ident : $bound:path),* $(,)?])?
        ($simd:ident : S $(, $arg:ident : $ty:ty)* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name $(<$($g: $bound),*>)? (isa: $crate::isa::Isa $(, $arg: $ty)*) $(-> $ret)? {
            #[inline(always)]
            #[allow(unused_mut, reason = "the pattern serves bodies that do and do not mutate")]
            fn body<S: $crate::isa::Simd $($(, $g: $bound)*)?>($simd: S $(, $arg: $ty)*) $(-> $ret)? $body

            match isa.of_vectors() {
                $crate::isa::Isa::Scalar(token) => body(token $(, $arg)*),
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx2(token) => {
                    #[target_feature(enable = "avx2,fma,f16c")]
                    fn go $(<$($g: $bound),*>)? (token: $crate::isa::Avx2 $(, $arg: $ty)*) $(-> $ret)? {
                        body(token $(, $arg)*)
                    }
                    // SAFETY: an `Avx2` exists only where AVX2, FMA and F16C were detected.
                    unsafe { go(token $(, $arg)*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::AvxVnni(token) => {
                    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
                    fn go $(<$($g: $bound),*>)? (token: $crate::isa::AvxVnni $(, $arg: $ty)*) $(-> $ret)? {
                        body(token $(, $arg)*)
                    }
                    // SAFETY: an `AvxVnni` exists only where these features were detected.
                    unsafe { go(token $(, $arg)*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx512(token) => {
                    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
                    fn go $(<$($g: $bound),*>)? (token: $crate::isa::Avx512 $(, $arg: $ty)*) $(-> $ret)? {
                        body(token $(, $arg)*)
                    }
                    // SAFETY: an `Avx512` exists only where these features were detected.
                    unsafe { go(token $(, $arg)*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx512Vnni(token) => {
                    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
                    fn go $(<$($g: $bound),*>)? (token: $crate::isa::Avx512Vnni $(, $arg: $ty)*) $(-> $ret)? {
                        body(token $(, $arg)*)
                    }
                    // SAFETY: an `Avx512Vnni` exists only where these features were detected.
                    unsafe { go(token $(, $arg)*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx512Amx(_) => unreachable!("its vectors are those of its base"),
                #[cfg(target_arch = "aarch64")]
                $crate::isa::Isa::Neon(token) => {
                    #[target_feature(enable = "neon")]
                    fn go $(<$($g: $bound),*>)? (token: $crate::isa::Neon $(, $arg: $ty)*) $(-> $ret)? {
                        body(token $(, $arg)*)
                    }
                    // SAFETY: a `Neon` exists only where NEON was detected.
                    unsafe { go(token $(, $arg)*) }
                }
                #[cfg(target_arch = "aarch64")]
                $crate::isa::Isa::NeonDot(token) => {
                    #[target_feature(enable = "neon,dotprod")]
                    fn go $(<$($g: $bound),*>)? (token: $crate::isa::NeonDot $(, $arg: $ty)*) $(-> $ret)? {
                        body(token $(, $arg)*)
                    }
                    // SAFETY: a `NeonDot` exists only where these features were detected.
                    unsafe { go(token $(, $arg)*) }
                }
                #[cfg(target_arch = "aarch64")]
                $crate::isa::Isa::NeonI8mm(token) => {
                    #[target_feature(enable = "neon,dotprod,i8mm")]
                    fn go $(<$($g: $bound),*>)? (token: $crate::isa::NeonI8mm $(, $arg: $ty)*) $(-> $ret)? {
                        body(token $(, $arg)*)
                    }
                    // SAFETY: a `NeonI8mm` exists only where these features were detected.
                    unsafe { go(token $(, $arg)*) }
                }
            }
        }
    };
}
pub(crate) use simd_dispatch;
