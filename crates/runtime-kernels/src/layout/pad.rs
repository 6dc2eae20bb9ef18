//! Padding: elements added before and after along each axis.

use crate::KernelError;
use crate::error::{check_extent, check_len, product};

/// Where the added elements come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Padding<T> {
    /// One value.
    Constant(T),
    /// The nearest element.
    Edge,
    /// The mirror image, without the edge itself; at most one element less than there are.
    Reflect,
}

/// Writes `x`, of extents `dims`, with `pads[0][k]` elements before and `pads[1][k]` after along axis `k`.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have the elements of its extents, [`KernelError::Extent`] if there are not
/// two pads per axis, [`KernelError::Invalid`] for pads that an axis has not enough elements for.
///
/// # Examples
/// ```
/// use runtime_kernels::layout::{Padding, pad};
///
/// let mut y = [0; 6];
/// pad(&[3], [&[2], &[1]], Padding::Reflect, &[1, 2, 3], &mut y)?;
/// assert_eq!(y, [3, 2, 1, 2, 3, 2]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn pad<T: Copy>(
    dims: &[usize],
    pads: [&[usize]; 2],
    padding: Padding<T>,
    x: &[T],
    y: &mut [T],
) -> Result<(), KernelError> {
    for pads in pads {
        check_extent("pads of one side", pads.len(), dims.len())?;
    }
    check_len("input", x.len(), product(dims))?;
    let of_axes = || dims.iter().zip(pads[0].iter().zip(pads[1]));
    let padded = of_axes().try_fold(1usize, |len, (&d, (&before, &after))| {
        len.checked_mul(d.checked_add(before)?.checked_add(after)?)
    });
    check_len("result", y.len(), padded)?;
    for (&d, (&before, &after)) in of_axes() {
        let (most, largest) = (before.max(after), d.saturating_sub(1));
        let fits = match padding {
            Padding::Constant(_) => true,
            Padding::Edge => d > 0 || most == 0,
            Padding::Reflect => most <= largest,
        };
        if !fits {
            return Err(KernelError::Invalid {
                what: "pads beyond the elements",
                value: most,
            });
        }
    }
    if !y.is_empty() {
        pad_axis(dims, pads, padding, x, y);
    }
    Ok(())
}

/// Pads the first axis; what is inside by the axes behind it.
fn pad_axis<T: Copy>(
    dims: &[usize],
    pads: [&[usize]; 2],
    padding: Padding<T>,
    x: &[T],
    y: &mut [T],
) {
    if pads.iter().all(|pads| pads.iter().all(|&n| n == 0)) {
        y.copy_from_slice(x);
        return;
    }
    let (size, [before, after]) = (dims[0], pads.map(|pads| pads[0]));
    let row = y.len() / (before + size + after);
    let inside = &mut y[before * row..(before + size) * row];
    let own: usize = dims[1..].iter().product();
    if own == row {
        inside.copy_from_slice(x);
    } else {
        for (i, y) in inside.chunks_exact_mut(row).enumerate() {
            let x = &x[i * own..(i + 1) * own];
            pad_axis(&dims[1..], pads.map(|pads| &pads[1..]), padding, x, y);
        }
    }
    let end = before + size;
    for i in (0..before).chain(end..end + after) {
        let from = match padding {
            Padding::Constant(value) => {
                y[i * row..(i + 1) * row].fill(value);
                continue;
            }
            Padding::Edge => i.clamp(before, end - 1),
            Padding::Reflect if i < before => 2 * before - i,
            Padding::Reflect => 2 * (end - 1) - i,
        };
        y.copy_within(from * row..(from + 1) * row, i * row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_axes_are_padded() {
        let pads = [&[1, 0][..], &[0, 2]];
        let run = |padding| {
            let mut y = [9; 15];
            pad(&[2, 3], pads, padding, &[1, 2, 3, 4, 5, 6], &mut y).unwrap();
            y
        };
        assert_eq!(
            run(Padding::Constant(0)),
            [0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 4, 5, 6, 0, 0]
        );
        assert_eq!(
            run(Padding::Edge),
            [1, 2, 3, 3, 3, 1, 2, 3, 3, 3, 4, 5, 6, 6, 6]
        );
        assert_eq!(
            run(Padding::Reflect),
            [4, 5, 6, 5, 4, 1, 2, 3, 2, 1, 4, 5, 6, 5, 4]
        );
    }

    #[test]
    fn what_cannot_be_mirrored_is_refused() {
        let mut y = [0; 6];
        assert!(pad(&[3], [&[3], &[0]], Padding::Reflect, &[1, 2, 3], &mut y).is_err());
        assert!(pad(&[0], [&[6], &[0]], Padding::Edge, &[], &mut y).is_err());
        assert!(pad(&[0], [&[6], &[0]], Padding::Constant(7), &[], &mut y).is_ok());
        assert_eq!(y, [7; 6]);
        assert!(
            pad(
                &[3],
                [&[usize::MAX], &[1]],
                Padding::Edge,
                &[1, 2, 3],
                &mut y
            )
            .is_err()
        );
        assert!(pad(&[3], [&[], &[]], Padding::Edge, &[1, 2, 3], &mut y).is_err());
    }
}
