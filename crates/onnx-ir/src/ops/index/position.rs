//! Positions along an axis: negative ones count from the end.

use crate::operator::EvalError;

/// The index as a position below `size`.
///
/// # Errors
/// [`EvalError::Rule`] where it lies outside of `-size..size`.
pub fn resolve(index: i64, size: usize) -> Result<usize, EvalError> {
    let from_end = usize::try_from(index.unsigned_abs())
        .ok()
        .and_then(|back| size.checked_sub(back));
    let position = if index < 0 {
        from_end
    } else {
        usize::try_from(index).ok()
    };
    position.filter(|&p| p < size).ok_or_else(|| {
        EvalError::rule(
            "indices must lie within the axis",
            format_args!("{index}, size {size}"),
        )
    })
}

/// The offset of the block that an index tuple names: each index along the leading axes of `shape`,
/// with `block` elements in each place.
///
/// # Errors
/// Those of [`resolve`].
pub fn offset(tuple: &[i64], shape: &[usize], block: usize) -> Result<usize, EvalError> {
    let mut place = 0usize;
    for (&index, &size) in tuple.iter().zip(shape) {
        place = place * size + resolve(index, size)?;
    }
    Ok(place * block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_indices_count_from_the_end() {
        assert_eq!(resolve(-1, 3), Ok(2));
        assert_eq!(resolve(-3, 3), Ok(0));
        assert!(resolve(3, 3).is_err());
        assert!(resolve(-4, 3).is_err());
        assert!(resolve(i64::MIN, 3).is_err());
        assert_eq!(offset(&[1, -1], &[2, 3], 4), Ok(20));
    }
}
