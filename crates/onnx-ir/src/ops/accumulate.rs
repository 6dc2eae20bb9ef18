//! Sums and products in a wider type: floats in f64, integers wrapping in 64 bits.
//!
//! Wrapping 64-bit sums of products, cut to the element's width, are what wrapping arithmetic in
//! the element's own type gives, for signed and unsigned elements alike.

use compress_tensor::Element;
use half::{bf16, f16};
use std::num::Wrapping;
use std::ops::{Add, AddAssign, Mul};

/// An element whose sums and products are formed in a wider type.
pub trait Accumulate: Element {
    /// The wider type.
    type Wide: Copy
        + Default
        + PartialEq
        + Add<Output = Self::Wide>
        + Mul<Output = Self::Wide>
        + AddAssign;

    /// The element in the wider type.
    fn widen(self) -> Self::Wide;
    /// The nearest element; integers wrap around.
    fn narrow(wide: Self::Wide) -> Self;
    /// The wider value of a real number; integers drop the fraction and saturate.
    fn from_real(real: f64) -> Self::Wide;
    /// The wider value as a real number.
    fn to_real(wide: Self::Wide) -> f64;
}

macro_rules! float {
    ($($t:ty: |$x:ident| $widen:expr, |$w:ident| $narrow:expr;)*) => {$(
        impl Accumulate for $t {
            type Wide = f64;
            fn widen(self) -> f64 {
                let $x = self;
                $widen
            }
            fn narrow($w: f64) -> Self {
                $narrow
            }
            fn from_real(real: f64) -> f64 {
                real
            }
            fn to_real(wide: f64) -> f64 {
                wide
            }
        }
    )*};
}

float! {
    f64: |x| x, |w| w;
    f32: |x| f64::from(x), |w| w as f32;
    f16: |x| f64::from(x), |w| f16::from_f64(w);
    bf16: |x| f64::from(x), |w| bf16::from_f64(w);
}

macro_rules! integer {
    ($($t:ty)*) => {$(
        impl Accumulate for $t {
            type Wide = Wrapping<i64>;
            fn widen(self) -> Wrapping<i64> {
                Wrapping(self as i64)
            }
            fn narrow(wide: Wrapping<i64>) -> Self {
                wide.0 as Self
            }
            fn from_real(real: f64) -> Wrapping<i64> {
                Wrapping(real as Self as i64)
            }
            fn to_real(wide: Wrapping<i64>) -> f64 {
                wide.0 as Self as f64
            }
        }
    )*};
}

integer! { i8 i16 i32 i64 u8 u16 u32 u64 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_sums_of_products_wrap_as_in_their_own_type() {
        let wide = 200u8.widen() * 3u8.widen() + 255u8.widen();
        assert_eq!(u8::narrow(wide), 200u8.wrapping_mul(3).wrapping_add(255));
        let wide = u64::MAX.widen() * 3u64.widen();
        assert_eq!(u64::narrow(wide), u64::MAX.wrapping_mul(3));
    }

    #[test]
    fn float_sums_keep_what_their_own_type_would_lose() {
        let wide = 1e8f32.widen() + 1f32.widen() + (-1e8f32).widen();
        assert_eq!(f32::narrow(wide), 1.0);
    }
}
