//! What a kernel refuses, checked once at its entry.

use crate::Isa;

/// Why a kernel did not run. What stands in the output then is arbitrary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A slice is shorter or longer than its shape says.
    #[error("{operand}: expected {expected} elements, found {found}")]
    Length {
        /// Which argument.
        operand: &'static str,
        /// Elements that the shape asks for.
        expected: usize,
        /// Elements that the slice has.
        found: usize,
    },
    /// Two extents that must agree do not.
    #[error("{what}: expected {expected}, found {found}")]
    Extent {
        /// Which extent.
        what: &'static str,
        /// The value that the other operand gives.
        expected: usize,
        /// The value found.
        found: usize,
    },
    /// A size does not fit the address space, or the strides reach past the slice.
    #[error("{operand}: a shape of {rows} x {cols} does not fit a slice of {len} elements")]
    OutOfBounds {
        /// Which argument.
        operand: &'static str,
        /// Rows (or outer extent).
        rows: usize,
        /// Columns (or inner extent).
        cols: usize,
        /// Length of the slice.
        len: usize,
    },
    /// An attribute has a value that has no meaning (a stride of zero, say).
    #[error("{what} must not be {value}")]
    Invalid {
        /// Which attribute.
        what: &'static str,
        /// Its value.
        value: usize,
    },
    /// A scale that fixed-point arithmetic cannot hold.
    #[error("{operand} must be finite and positive")]
    NotAScale {
        /// Which scale.
        operand: &'static str,
    },
    /// A packed operand was made for another instruction set.
    #[error("{operand} was packed for tiles of width {packed}, but {isa} uses {needed}")]
    PackedFor {
        /// Which argument.
        operand: &'static str,
        /// The width that it was packed for.
        packed: usize,
        /// The instruction set asked to run.
        isa: &'static str,
        /// The width of that instruction set.
        needed: usize,
    },
    /// A packed operand was made for an instruction set whose dot product takes other words.
    #[error("{operand} was packed in words of {packed} bytes, but {isa} uses {needed}")]
    PackedWords {
        /// Which argument.
        operand: &'static str,
        /// Bytes of a word that it was packed for.
        packed: usize,
        /// The instruction set asked to run.
        isa: &'static str,
        /// Bytes of a word of that instruction set.
        needed: usize,
    },
    /// The thread pool could not be started.
    #[error("a pool of {threads} threads could not be started: {reason}")]
    ThreadPool {
        /// Threads asked for.
        threads: usize,
        /// What the system says.
        reason: String,
    },
}

/// Checks that a slice has exactly the length that its shape gives.
pub(crate) fn check_len(
    operand: &'static str,
    found: usize,
    expected: Option<usize>,
) -> Result<(), KernelError> {
    match expected {
        Some(expected) if expected == found => Ok(()),
        expected => Err(KernelError::Length {
            operand,
            expected: expected.unwrap_or(usize::MAX),
            found,
        }),
    }
}

/// Checks that an operand was packed in words of `packed` bytes, as `isa` takes them.
pub(crate) fn check_words(
    operand: &'static str,
    packed: usize,
    isa: Isa,
) -> Result<(), KernelError> {
    let needed = isa.tile().k_group;
    if packed == needed {
        return Ok(());
    }
    Err(KernelError::PackedWords {
        operand,
        packed,
        isa: isa.name(),
        needed,
    })
}

/// Checks that an extent has the value that another operand gives.
pub(crate) fn check_extent(
    what: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), KernelError> {
    if found == expected {
        Ok(())
    } else {
        Err(KernelError::Extent {
            what,
            expected,
            found,
        })
    }
}

/// The product of extents, or `None` past the address space. With an extent of 0 there is nothing, however large the
/// others are.
pub(crate) fn product(extents: &[usize]) -> Option<usize> {
    if extents.contains(&0) {
        return Some(0);
    }
    extents.iter().try_fold(1usize, |p, &e| p.checked_mul(e))
}
