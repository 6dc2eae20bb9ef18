//! Arithmetic that is written once for all numeric element types.

use compress_tensor::Element;
use half::{bf16, f16};

/// A numeric element: integers wrap around, floats round to nearest even (the narrow ones by way of
/// f32).
pub trait Number: Element + PartialOrd {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The least value, `-inf` for floats: the neutral element of [`Number::larger`].
    const LOWEST: Self;
    /// The greatest value, `inf` for floats: the neutral element of [`Number::smaller`].
    const HIGHEST: Self;

    /// `self + other`.
    fn plus(self, other: Self) -> Self;
    /// `self - other`.
    fn minus(self, other: Self) -> Self;
    /// `self * other`.
    fn times(self, other: Self) -> Self;
    /// `self / other`, for integers cut off towards zero; `None` for an integer divided by zero.
    fn divided_by(self, other: Self) -> Option<Self>;
    /// The smaller one; NaN where either is.
    fn smaller(self, other: Self) -> Self;
    /// The larger one; NaN where either is.
    fn larger(self, other: Self) -> Self;
    /// The nearest f64: exact but for 64-bit integers beyond 2^53.
    fn to_f64(self) -> f64;
    /// The nearest value; integers cut off the fraction and saturate.
    fn from_f64(value: f64) -> Self;
    /// Whether the value is below 0.
    fn is_negative(self) -> bool;
    /// Whether the value is no number.
    fn is_not_a_number(self) -> bool;
}

macro_rules! integer {
    ($is_negative:expr; $($T:ty),+) => {$(
        impl Number for $T {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const LOWEST: Self = <$T>::MIN;
            const HIGHEST: Self = <$T>::MAX;

            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn divided_by(self, other: Self) -> Option<Self> {
                (other != 0).then(|| self.wrapping_div(other))
            }
            fn smaller(self, other: Self) -> Self {
                Ord::min(self, other)
            }
            fn larger(self, other: Self) -> Self {
                Ord::max(self, other)
            }
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn from_f64(value: f64) -> Self {
                value as $T
            }
            fn is_negative(self) -> bool {
                $is_negative(i128::from(self))
            }
            fn is_not_a_number(self) -> bool {
                false
            }
        }
    )+};
}

macro_rules! float {
    ($($T:ty, $zero:expr, $one:expr, $inf:expr, $neg_inf:expr, $to:expr, $from:expr;)+) => {$(
        impl Number for $T {
            const ZERO: Self = $zero;
            const ONE: Self = $one;
            const LOWEST: Self = $neg_inf;
            const HIGHEST: Self = $inf;

            fn plus(self, other: Self) -> Self {
                self + other
            }
            fn minus(self, other: Self) -> Self {
                self - other
            }
            fn times(self, other: Self) -> Self {
                self * other
            }
            fn divided_by(self, other: Self) -> Option<Self> {
                Some(self / other)
            }
            fn smaller(self, other: Self) -> Self {
                if self < other || self.is_nan() { self } else { other }
            }
            fn larger(self, other: Self) -> Self {
                if self > other || self.is_nan() { self } else { other }
            }
            fn to_f64(self) -> f64 {
                $to(self)
            }
            fn from_f64(value: f64) -> Self {
                $from(value)
            }
            fn is_negative(self) -> bool {
                self < Self::ZERO
            }
            fn is_not_a_number(self) -> bool {
                self.is_nan()
            }
        }
    )+};
}

integer!(|v| v < 0; i8, i16, i32, i64);
integer!(|_| false; u8, u16, u32, u64);
float! {
    f32, 0.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, f64::from, |v: f64| v as f32;
    f64, 0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY, |v: f64| v, |v: f64| v;
    f16, f16::ZERO, f16::ONE, f16::INFINITY, f16::NEG_INFINITY, f64::from, |v: f64| f16::from_f32(v as f32);
    bf16, bf16::ZERO, bf16::ONE, bf16::INFINITY, bf16::NEG_INFINITY, f64::from, |v: f64| bf16::from_f32(v as f32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_wrap_and_refuse_zero_divisors() {
        assert_eq!(i8::MIN.divided_by(-1), Some(i8::MIN));
        assert_eq!(7i32.divided_by(-2), Some(-3));
        assert_eq!(7u8.divided_by(0), None);
        assert_eq!(200u8.plus(100), 44);
    }

    #[test]
    fn extremes_propagate_nan_from_either_side() {
        assert!(f32::NAN.larger(1.0).is_nan());
        assert!(1f32.larger(f32::NAN).is_nan());
        assert!(f16::ONE.smaller(f16::NAN).is_nan());
        assert_eq!(2f64.smaller(-1.0), -1.0);
    }
}
