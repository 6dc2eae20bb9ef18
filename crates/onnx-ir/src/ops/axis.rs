//! Axes: negative ones count from the end.

use crate::operator::{EvalError, InferError};

/// The axis as an index below `rank`; `None` where it lies outside of `-rank..rank`.
pub fn resolve(axis: i64, rank: usize) -> Option<usize> {
    let signed_rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 {
        axis.checked_add(signed_rank)?
    } else {
        axis
    };
    usize::try_from(axis).ok().filter(|&a| a < rank)
}

const RULE: &str = "axis must lie within the rank";

/// [`resolve`] while inferring.
///
/// # Errors
/// [`InferError::Rule`].
pub fn infer(axis: i64, rank: usize) -> Result<usize, InferError> {
    resolve(axis, rank)
        .ok_or_else(|| InferError::rule(RULE, format_args!("axis {axis}, rank {rank}")))
}

/// [`resolve`] while evaluating.
///
/// # Errors
/// [`EvalError::Rule`].
pub fn eval(axis: i64, rank: usize) -> Result<usize, EvalError> {
    resolve(axis, rank)
        .ok_or_else(|| EvalError::rule(RULE, format_args!("axis {axis}, rank {rank}")))
}

/// The parts of a shape before, at and after an axis: `(outer, size, inner)` element counts. Where one of them
/// is 0, another may be beyond the range; it is `usize::MAX` then.
pub fn split(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    let count = |sizes: &[usize]| sizes.iter().fold(1usize, |n, &d| n.saturating_mul(d));
    (
        count(&shape[..axis]),
        shape[axis],
        count(&shape[axis + 1..]),
    )
}
