//! Comparing a value with the expected one.
//!
//! Element types and shapes must be equal, integers, truth values, strings and the smallest floats too;
//! of the other floats `|a - b| <= absolute + relative * |b|` must hold.

use crate::Value;
use compress_tensor::{DType, Tensor, TensorError};

/// How a value differs from the expected one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Difference {
    /// A tensor, a sequence or an optional instead of another of these.
    #[error("a {found} where a {expected} is expected")]
    Kind {
        /// The expected kind.
        expected: &'static str,
        /// The kind found.
        found: &'static str,
    },
    /// Another number of elements in a sequence.
    #[error("{found} elements in the sequence, {expected} expected")]
    Length {
        /// The expected number.
        expected: usize,
        /// The number found.
        found: usize,
    },
    /// Another element type.
    #[error("elements of {found}, {expected} expected")]
    DType {
        /// The expected type.
        expected: DType,
        /// The type found.
        found: DType,
    },
    /// Another shape.
    #[error("shape {found:?}, {expected:?} expected")]
    Shape {
        /// The expected shape.
        expected: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },
    /// Other elements.
    #[error("{count} of {len} elements differ, the first at {index}: {found}, {expected} expected")]
    Elements {
        /// How many differ.
        count: usize,
        /// How many there are.
        len: usize,
        /// Position of the first in C order.
        index: usize,
        /// The expected element.
        expected: String,
        /// The element found.
        found: String,
    },
    /// A tensor cannot be read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// How far floats may be apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// The absolute part.
    pub absolute: f64,
    /// The part relative to the expected value.
    pub relative: f64,
}

impl Tolerance {
    /// The tolerance for an element type; `None` where elements must be equal.
    pub fn of(dtype: DType) -> Option<Self> {
        let (absolute, relative) = match dtype {
            DType::F32 | DType::F64 => (1e-4, 1e-3),
            DType::F16 => (2e-3, 2e-3),
            DType::BF16 => (1e-2, 1e-2),
            _ => return None,
        };
        Some(Self { absolute, relative })
    }

    /// Whether `found` is near enough to `expected`; NaN is near NaN, an infinity only to itself.
    pub fn holds(&self, found: f64, expected: f64) -> bool {
        found == expected
            || (found.is_nan() && expected.is_nan())
            || (found - expected).abs() <= self.absolute + self.relative * expected.abs()
                && expected.is_finite()
    }
}

/// Holds a value against the expected one.
///
/// # Errors
/// The first [`Difference`].
pub fn values(found: &Value, expected: &Value) -> Result<(), Difference> {
    match (found, expected) {
        (Value::Tensor(found), Value::Tensor(expected)) => tensors(found, expected),
        (Value::Sequence(found), Value::Sequence(expected)) => {
            if found.len() != expected.len() {
                return Err(Difference::Length {
                    expected: expected.len(),
                    found: found.len(),
                });
            }
            found
                .iter()
                .zip(expected)
                .try_for_each(|(found, expected)| values(found, expected))
        }
        (Value::Optional(None), Value::Optional(None)) => Ok(()),
        (Value::Optional(Some(found)), Value::Optional(Some(expected))) => values(found, expected),
        _ => Err(Difference::Kind {
            expected: expected.kind(),
            found: found.kind(),
        }),
    }
}

/// Holds a tensor against the expected one.
///
/// # Errors
/// The first [`Difference`].
pub fn tensors(found: &Tensor, expected: &Tensor) -> Result<(), Difference> {
    if found.dtype() != expected.dtype() {
        return Err(Difference::DType {
            expected: expected.dtype(),
            found: found.dtype(),
        });
    }
    if found.shape() != expected.shape() {
        return Err(Difference::Shape {
            expected: expected.shape().to_vec(),
            found: found.shape().to_vec(),
        });
    }
    match (expected.dtype(), Tolerance::of(expected.dtype())) {
        (DType::String, _) => elements(found.strings()?, expected.strings()?, |a, b| a == b),
        (_, Some(tolerance)) => {
            elements(&found.to_f64_vec()?, &expected.to_f64_vec()?, |&a, &b| {
                tolerance.holds(a, b)
            })
        }
        (DType::C64 | DType::C128, None) => {
            elements(found.bytes(), expected.bytes(), |a, b| a == b)
        }
        (dtype, None) if dtype.is_float() => {
            elements(&found.to_f64_vec()?, &expected.to_f64_vec()?, |a, b| {
                a == b || a.is_nan() && b.is_nan()
            })
        }
        (DType::U64, None) => elements(&found.data::<u64>()?, &expected.data::<u64>()?, |a, b| {
            a == b
        }),
        _ => elements(&found.to_i64_vec()?, &expected.to_i64_vec()?, |a, b| a == b),
    }
}

fn elements<T: std::fmt::Debug>(
    found: &[T],
    expected: &[T],
    same: impl Fn(&T, &T) -> bool,
) -> Result<(), Difference> {
    let mut differing =
        (0..found.len().min(expected.len())).filter(|&i| !same(&found[i], &expected[i]));
    match differing.next() {
        None => Ok(()),
        Some(index) => Err(Difference::Elements {
            count: 1 + differing.count(),
            len: expected.len(),
            index,
            expected: format!("{:?}", expected[index]),
            found: format!("{:?}", found[index]),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_may_be_a_little_apart_and_nan_is_itself() {
        let a = Tensor::vector(vec![1.0f32, f32::NAN, f32::INFINITY]);
        let b = Tensor::vector(vec![1.0005f32, f32::NAN, f32::INFINITY]);
        assert_eq!(tensors(&a, &b), Ok(()));
        let c = Tensor::vector(vec![1.01f32, f32::NAN, f32::MAX]);
        assert!(matches!(
            tensors(&c, &b),
            Err(Difference::Elements {
                count: 2,
                index: 0,
                ..
            })
        ));
    }

    #[test]
    fn shapes_and_types_must_be_equal() {
        let a = Tensor::vector(vec![1i32]);
        assert!(matches!(
            tensors(&a, &Tensor::scalar(1i32)),
            Err(Difference::Shape { .. })
        ));
        assert!(matches!(
            tensors(&a, &Tensor::vector(vec![1i64])),
            Err(Difference::DType { .. })
        ));
    }
}
