//! Tokens that differ from another one in the int8 dot product alone.

/// The methods and constants of [`Simd`](super::simd::Simd) that a token takes from the one that it holds in field 0; the
/// number of bytes in a word and the dot products are its own.
macro_rules! delegate_simd {
    ($base:ty) => {
        type F = <$base as Simd>::F;
        type I = <$base as Simd>::I;
        type M = <$base as Simd>::M;
        const LANES: usize = <$base as Simd>::LANES;
        const MR: usize = <$base as Simd>::MR;
        const PACK_RUN: usize = <$base as Simd>::PACK_RUN;

        $crate::isa::delegate::delegate_methods! {
            fn splat(x: f32) -> Self::F;
            fn load(src: &[f32]) -> Self::F;
            fn store(v: Self::F, dst: &mut [f32]) -> ();
            fn add(a: Self::F, b: Self::F) -> Self::F;
            fn sub(a: Self::F, b: Self::F) -> Self::F;
            fn mul(a: Self::F, b: Self::F) -> Self::F;
            fn div(a: Self::F, b: Self::F) -> Self::F;
            fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
            fn min(a: Self::F, b: Self::F) -> Self::F;
            fn max(a: Self::F, b: Self::F) -> Self::F;
            fn sqrt(a: Self::F) -> Self::F;
            fn abs(a: Self::F) -> Self::F;
            fn round(a: Self::F) -> Self::F;
            fn lt(a: Self::F, b: Self::F) -> Self::M;
            fn is_nan(a: Self::F) -> Self::M;
            fn select(m: Self::M, a: Self::F, b: Self::F) -> Self::F;
            fn bits(a: Self::F) -> Self::I;
            fn float_from_bits(a: Self::I) -> Self::F;
            fn to_i32(a: Self::F) -> Self::I;
            fn to_f32(a: Self::I) -> Self::F;
            fn splat_i32(x: i32) -> Self::I;
            fn load_i32(src: &[i32]) -> Self::I;
            fn store_i32(v: Self::I, dst: &mut [i32]) -> ();
            fn add_i32(a: Self::I, b: Self::I) -> Self::I;
            fn sub_i32(a: Self::I, b: Self::I) -> Self::I;
            fn mul_i32(a: Self::I, b: Self::I) -> Self::I;
            fn min_i32(a: Self::I, b: Self::I) -> Self::I;
            fn max_i32(a: Self::I, b: Self::I) -> Self::I;
            fn and_i32(a: Self::I, b: Self::I) -> Self::I;
            fn xor_i32(a: Self::I, b: Self::I) -> Self::I;
            fn straighten(packed: Self::I) -> Self::I;
            fn interleave(bytes: [Self::I; 4]) -> [Self::I; 4];
            fn load_u8(src: &[u8]) -> Self::I;
            fn load_i8(src: &[i8]) -> Self::I;
            fn store_u8(v: Self::I, dst: &mut [u8]) -> ();
            fn store_i8(v: Self::I, dst: &mut [i8]) -> ();
            fn load_f16(src: &[half::f16]) -> Self::F;
            fn store_f16(v: Self::F, dst: &mut [half::f16]) -> ();
            fn load_u16(src: &[u16]) -> Self::I;
            fn store_u16(v: Self::I, dst: &mut [u16]) -> ();
            fn load_partial(src: &[f32], fill: f32) -> Self::F;
            fn store_partial(v: Self::F, dst: &mut [f32]) -> ();
        }

        #[inline(always)]
        fn shl_i32<const S: i32>(self, a: Self::I) -> Self::I {
            self.0.shl_i32::<S>(a)
        }
        #[inline(always)]
        fn shr_i32<const S: i32>(self, a: Self::I) -> Self::I {
            self.0.shr_i32::<S>(a)
        }
        #[inline(always)]
        fn load_bytes<T: $crate::quantized::QuantByte>(self, src: &[T]) -> Self::I {
            self.0.load_bytes(src)
        }
        #[inline(always)]
        fn store_bytes<T: $crate::quantized::QuantByte>(self, v: Self::I, dst: &mut [T]) {
            self.0.store_bytes(v, dst);
        }
        #[inline(always)]
        fn clamp_bytes<T: $crate::quantized::QuantByte>(
            self,
            v: Self::I,
            low: Self::I,
            high: Self::I,
        ) -> Self::I {
            self.0.clamp_bytes::<T>(v, low, high)
        }
        #[inline(always)]
        fn pack<T: $crate::quantized::QuantByte>(
            self,
            words: [Self::I; 4],
            zero_point: i32,
        ) -> Self::I {
            self.0.pack::<T>(words, zero_point)
        }
        #[inline(always)]
        fn prefetch<T>(self, of: &[T], at: usize) {
            self.0.prefetch(of, at);
        }
        #[inline(always)]
        fn prefetch_far<T>(self, of: &[T], at: usize) {
            self.0.prefetch_far(of, at);
        }
    };
}

/// One call each of the method of the held token.
macro_rules! delegate_methods {
    ($(fn $name:ident($($arg:ident : $ty:ty),*) -> $ret:ty;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $ty),*) -> $ret {
            self.0.$name($($arg),*)
        })*
    };
}

pub(super) use {delegate_methods, delegate_simd};
