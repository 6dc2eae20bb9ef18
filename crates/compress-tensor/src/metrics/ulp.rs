//! Distance in units in the last place.

use half::{bf16, f16};
use ndarray::{ArrayView, Dimension};

use super::{ShapeMismatch, check_shapes};

mod sealed {
    pub trait Sealed {}
}

/// A floating-point type that can be compared: `f32`, `f64`, `f16`, `bf16`. Sealed.
pub trait Real: Copy + PartialOrd + sealed::Sealed {
    /// The number, exactly.
    fn to_f64(self) -> f64;

    /// The position of the number in the order of all numbers of its type; both zeros have
    /// position 0, and the infinities stand next to the largest finite numbers.
    fn ordinal(self) -> i64;
}

macro_rules! real {
    ($($t:ty, $to_f64:expr, $signed:ty);* $(;)?) => {$(
        impl sealed::Sealed for $t {}
        impl Real for $t {
            fn to_f64(self) -> f64 {
                $to_f64(self)
            }
            fn ordinal(self) -> i64 {
                // The bits of a float order as sign and magnitude.
                let magnitude = i64::from(self.to_bits() as $signed & <$signed>::MAX);
                if self.is_sign_negative() { -magnitude } else { magnitude }
            }
        }
    )*};
}

real! {
    f32, f64::from, i32;
    f64, f64::from, i64;
    f16, f16::to_f64, i16;
    bf16, bf16::to_f64, i16;
}

/// How many steps from one number of type `T` to the next lie between `a` and `b`.
///
/// 0 for equal numbers, zeros of either sign, and two NaN; [`u64::MAX`] if one alone is NaN.
/// Infinity is one step from the largest finite number.
///
/// # Examples
/// ```
/// use compress_tensor::metrics::ulp_distance;
/// assert_eq!(ulp_distance(1.0f32, 1.0 + 2.0 * f32::EPSILON), 2);
/// assert_eq!(ulp_distance(0.0f32, -0.0), 0);
/// ```
pub fn ulp_distance<T: Real>(a: T, b: T) -> u64 {
    match (a.to_f64().is_nan(), b.to_f64().is_nan()) {
        (true, true) => 0,
        (false, false) => a.ordinal().abs_diff(b.ordinal()),
        _ => u64::MAX,
    }
}

/// The largest [`ulp_distance`] of two arrays' elements; 0 for empty ones.
///
/// # Errors
/// [`ShapeMismatch`].
pub fn max_ulp_distance<T: Real, D: Dimension>(
    expected: ArrayView<'_, T, D>,
    found: ArrayView<'_, T, D>,
) -> Result<u64, ShapeMismatch> {
    check_shapes(expected.shape(), found.shape())?;
    let distances = expected
        .iter()
        .zip(found.iter())
        .map(|(&e, &f)| ulp_distance(e, f));
    Ok(distances.max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr1;
    use proptest::prelude::*;

    #[test]
    fn neighbours_are_one_apart_also_across_zero_and_to_infinity() {
        let smallest = f32::from_bits(1);
        assert_eq!(ulp_distance(smallest, -smallest), 2);
        assert_eq!(ulp_distance(f32::MAX, f32::INFINITY), 1);
        assert_eq!(ulp_distance(1.0f64, 1.0f64.next_up()), 1);
        assert_eq!(ulp_distance(f16::ONE, f16::from_f32(1.0009766)), 1);
        assert_eq!(ulp_distance(bf16::ONE, bf16::from_f32(1.0078125)), 1);
    }

    #[test]
    fn the_ends_of_f64_do_not_overflow() {
        let whole = 2 * f64::INFINITY.to_bits();
        assert_eq!(ulp_distance(f64::NEG_INFINITY, f64::INFINITY), whole);
    }

    #[test]
    fn nan_equals_only_nan() {
        assert_eq!(ulp_distance(f32::NAN, -f32::NAN), 0);
        assert_eq!(ulp_distance(f32::NAN, 1.0), u64::MAX);
        let (a, b) = (arr1(&[1.0f32, 2.0]), arr1(&[1.0f32, f32::NAN]));
        assert_eq!(max_ulp_distance(a.view(), b.view()), Ok(u64::MAX));
    }

    proptest! {
        #[test]
        fn stepping_n_times_gives_distance_n(x in any::<f32>(), n in 0u32..100) {
            prop_assume!(x.is_finite() && x < f32::MAX / 2.0);
            let y = (0..n).fold(x, |y, _| y.next_up());
            // From -0 the first step of `next_up` already leaves both zeros behind.
            prop_assert_eq!(ulp_distance(x, y), u64::from(n));
        }
    }
}
