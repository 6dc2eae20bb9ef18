//! A total order on tensor elements, for sorting and for finding extremes.

use crate::operator::EvalError;
use crate::ops::dispatch::dispatch;
use compress_tensor::{Element, Tensor};
use std::cmp::Ordering;

/// How two elements of one type compare; NaN counts as greater than all else, as NumPy sorts it.
pub(super) fn compare<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| {
        // Only NaN is not equal to itself.
        let is_nan = |v: &T| v.partial_cmp(v).is_none();
        is_nan(a).cmp(&is_nan(b))
    })
}

/// Evaluates `visit` with the elements of a tensor of numbers, booleans or strings.
///
/// # Errors
/// [`EvalError::DType`] for other types, and those of `visit`.
pub(super) fn with_elements<V: Visit>(x: &Tensor, visit: V) -> Result<V::Output, EvalError> {
    if let Ok(strings) = x.strings() {
        return visit.visit(strings);
    }
    dispatch!(x.dtype(), T in elements => visit.visit(x.data::<T>()?.as_ref()))
}

/// What is done with elements whose type is known only while running.
pub(super) trait Visit {
    /// The result.
    type Output;
    /// The work on the elements.
    fn visit<T: PartialOrd>(self, data: &[T]) -> Result<Self::Output, EvalError>;
}

/// The elements as f64; booleans as 0 and 1.
///
/// # Errors
/// [`EvalError::DType`] for strings and types without arithmetic.
pub(super) fn to_f64(x: &Tensor) -> Result<Vec<f64>, EvalError> {
    use crate::ops::number::Number;
    if let Ok(flags) = x.data::<bool>() {
        return Ok(flags.iter().map(|&b| f64::from(u8::from(b))).collect());
    }
    fn convert<T: Element + Number>(x: &Tensor) -> Result<Vec<f64>, EvalError> {
        Ok(x.data::<T>()?.iter().map(|v| v.to_f64()).collect())
    }
    dispatch!(x.dtype(), T in numbers => convert::<T>(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_the_greatest_and_equal_to_itself() {
        assert_eq!(compare(&f32::NAN, &f32::INFINITY), Ordering::Greater);
        assert_eq!(compare(&1.0, &f64::NAN), Ordering::Less);
        assert_eq!(compare(&f32::NAN, &f32::NAN), Ordering::Equal);
        assert_eq!(compare(&2, &1), Ordering::Greater);
    }
}
