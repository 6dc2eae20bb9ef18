//! Whether arrays fit what a model declares, found before anything runs.

use super::error::{DataError, LayoutHint};
use super::prepare::Layout;
use super::{DataOptions, Feed};
use crate::ir::Dim;

/// Checks an array's shape, apart from the axis that counts samples and the one that a mask cuts.
///
/// # Errors
/// [`DataError::WrongShape`], with the layout that would fit.
pub(super) fn check(feed: &Feed, options: &DataOptions) -> Result<(), DataError> {
    let (Some(found), Some(declared)) = (feed.shape(), &feed.fact.shape) else {
        return Ok(());
    };
    let open = |axis| (axis == 0 && feed.sampled) || (axis == 1 && options.trim.is_some());
    let fits = |shape: &[usize]| {
        let each = declared.iter().zip(shape).enumerate();
        let known = |dim: &Dim, size| dim.as_size().is_none_or(|d| d == size);
        declared.len() == shape.len()
            && each
                .into_iter()
                .all(|(axis, (dim, &size))| open(axis) || known(dim, size))
    };
    let moves = found.len() >= 3 && feed.fact.dtype.is_none_or(|d| d.is_float());
    let moved = channels_first(found);
    let (taken, other, hint) = match options.preprocess.layout {
        Layout::Nhwc if moves => (moved.as_slice(), found, LayoutHint::Model),
        _ => (found, moved.as_slice(), LayoutHint::Nhwc),
    };
    if fits(taken) {
        return Ok(());
    }
    let dims: Vec<String> = declared.iter().map(ToString::to_string).collect();
    Err(DataError::WrongShape {
        name: feed.name.clone(),
        expected: format!("[{}]", dims.join(", ")),
        found: found.to_vec(),
        hint: match moves && fits(other) {
            true => hint,
            false => LayoutHint::None,
        },
    })
}

/// `[n, …, c]` as `[n, c, …]`.
fn channels_first(shape: &[usize]) -> Vec<usize> {
    let mut moved = shape.to_vec();
    if let Some(rest) = moved.get_mut(1..) {
        rest.rotate_right(usize::from(!rest.is_empty()));
    }
    moved
}
