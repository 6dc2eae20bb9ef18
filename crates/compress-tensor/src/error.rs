//! What can be wrong with a tensor.

use crate::DType;

/// Why a tensor could not be made or read as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The data was asked for as another element type.
    #[error("tensor holds {found}, asked for {expected}")]
    WrongDType {
        /// What was asked for.
        expected: DType,
        /// What the tensor holds.
        found: DType,
    },
    /// The data length does not fit the shape.
    #[error("shape {shape:?} of {dtype} takes {expected} {unit}, found {found}")]
    WrongLength {
        /// The declared shape.
        shape: Vec<usize>,
        /// The element type.
        dtype: DType,
        /// Length that the shape asks for.
        expected: usize,
        /// Length that is there.
        found: usize,
        /// `bytes` or `elements`.
        unit: &'static str,
    },
    /// The number of elements overflows.
    #[error("shape {shape:?} of {dtype} is too large to address")]
    TooLarge {
        /// The declared shape.
        shape: Vec<usize>,
        /// The element type.
        dtype: DType,
    },
    /// A borrowed view was asked for, but the memory-mapped data is not aligned for its type.
    #[error("the {dtype} data is not aligned in memory: copy it with `to_aligned` first")]
    Misaligned {
        /// The element type.
        dtype: DType,
    },
    /// The data was asked for as a kind of number that it is not.
    #[error("tensor holds {found}, asked for {expected}")]
    WrongKind {
        /// What was asked for, such as `a floating-point type`.
        expected: &'static str,
        /// What the tensor holds.
        found: DType,
    },
    /// There is no conversion between the two types.
    #[error("{from} cannot be cast to {to}")]
    NoCast {
        /// The type of the tensor.
        from: DType,
        /// The type asked for.
        to: DType,
    },
    /// A string to be cast does not read as a number of the type asked for.
    #[error("string {text:?} at position {index} is not a number of type {to}")]
    NotANumber {
        /// The string, its first 40 characters.
        text: String,
        /// Its position in C order.
        index: usize,
        /// The type asked for.
        to: DType,
    },
    /// A value does not fit the type asked for.
    #[error("value {value} at position {index} does not fit {dtype}")]
    OutOfRange {
        /// The value.
        value: i128,
        /// Its position in C order.
        index: usize,
        /// The type asked for.
        dtype: DType,
    },
}
