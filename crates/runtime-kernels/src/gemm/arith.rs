//! The three arithmetics of the one blocked matrix product.

use crate::isa::Simd;

/// A multiply-accumulate on vectors of 32-bit words.
pub(crate) trait Arith: Copy + Send + Sync + 'static {
    /// The element of a packed panel and of the accumulators.
    type Word: Copy + Default + Send + Sync;
    /// A vector of words.
    type Vector<S: Simd>: Copy;

    fn splat<S: Simd>(s: S, x: Self::Word) -> Self::Vector<S>;
    fn load<S: Simd>(s: S, src: &[Self::Word]) -> Self::Vector<S>;
    fn store<S: Simd>(s: S, v: Self::Vector<S>, dst: &mut [Self::Word]);
    /// `acc + lhs * rhs`.
    fn mac<S: Simd>(
        s: S,
        acc: Self::Vector<S>,
        lhs: Self::Vector<S>,
        rhs: Self::Vector<S>,
    ) -> Self::Vector<S>;
}

/// Single precision.
#[derive(Clone, Copy)]
pub(crate) struct Float;

impl Arith for Float {
    type Word = f32;
    type Vector<S: Simd> = S::F;

    #[inline(always)]
    fn splat<S: Simd>(s: S, x: f32) -> S::F {
        s.splat(x)
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, src: &[f32]) -> S::F {
        s.load(src)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, v: S::F, dst: &mut [f32]) {
        s.store(v, dst);
    }
    #[inline(always)]
    fn mac<S: Simd>(s: S, acc: S::F, lhs: S::F, rhs: S::F) -> S::F {
        s.fma(lhs, rhs, acc)
    }
}

macro_rules! int8 {
    ($(#[$doc:meta])* $name:ident, |$s:ident, $acc:ident, $lhs:ident, $rhs:ident| $mac:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Arith for $name {
            type Word = i32;
            type Vector<S: Simd> = S::I;

            #[inline(always)]
            fn splat<S: Simd>(s: S, x: i32) -> S::I {
                s.splat_i32(x)
            }
            #[inline(always)]
            fn load<S: Simd>(s: S, src: &[i32]) -> S::I {
                s.load_i32(src)
            }
            #[inline(always)]
            fn store<S: Simd>(s: S, v: S::I, dst: &mut [i32]) {
                s.store_i32(v, dst);
            }
            #[inline(always)]
            fn mac<S: Simd>($s: S, $acc: S::I, $lhs: S::I, $rhs: S::I) -> S::I {
                $mac
            }
        }
    };
}

int8!(
    /// Words of bytes, the left operand unsigned.
    UnsignedSigned, |s, acc, lhs, rhs| s.dot(acc, lhs, rhs)
);
int8!(
    /// Words of bytes, the right operand unsigned.
    SignedUnsigned, |s, acc, lhs, rhs| s.dot(acc, rhs, lhs)
);
