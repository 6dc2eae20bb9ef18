//! Arrays of any rank as rows of `f64`.

use crate::KdError;
use crate::check;
use crate::element::{narrow, wide};
use ndarray::{Array, Array2, ArrayRef, Axis, Dimension};
use num_traits::Float;

/// One row for each sample, the other axes one behind the other.
pub(crate) fn samples<F: Float, D: Dimension>(
    what: &'static str,
    array: &ArrayRef<F, D>,
) -> Result<Array2<f64>, KdError> {
    check::rank(what, array.shape(), 2)?;
    check::readable(what, array)?;
    let rows = array.shape()[0];
    Ok(filled(rows, array.len() / rows, array.iter()))
}

/// One row for each place, with its channels: `[places, channels]`.
pub(crate) fn channels<F: Float, D: Dimension>(
    what: &'static str,
    array: &ArrayRef<F, D>,
    axis: Axis,
) -> Result<Array2<f64>, KdError> {
    let rank = array.ndim();
    if axis.index() == 0 || axis.index() >= rank {
        return Err(KdError::ChannelAxis {
            what,
            axis: axis.index(),
            rank,
        });
    }
    check::readable(what, array)?;
    let channels = array.len_of(axis);
    let lanes = array.lanes(axis).into_iter();
    Ok(filled(
        array.len() / channels,
        channels,
        lanes.flat_map(|lane| lane.into_iter()),
    ))
}

/// The reverse of [`channels`], for an array of this shape.
pub(crate) fn from_channels<F: Float, D: Dimension>(
    shape: D,
    axis: Axis,
    rows: &Array2<f64>,
) -> Array<F, D> {
    let mut array = Array::zeros(shape);
    for (mut lane, row) in array.lanes_mut(axis).into_iter().zip(rows.rows()) {
        for (out, &value) in lane.iter_mut().zip(row) {
            *out = narrow(value);
        }
    }
    array
}

fn filled<'a, F: Float + 'a>(
    rows: usize,
    columns: usize,
    values: impl Iterator<Item = &'a F>,
) -> Array2<f64> {
    let mut filled = Array2::zeros((rows, columns));
    for (out, &value) in filled.iter_mut().zip(values) {
        *out = wide(value);
    }
    filled
}

/// The rows of an array in C order, as all arrays of this module are.
pub(crate) fn slices(rows: &Array2<f64>) -> impl Iterator<Item = &[f64]> {
    let columns = rows.ncols().max(1);
    rows.as_slice().unwrap_or_default().chunks_exact(columns)
}

/// As [`slices`], to write to.
pub(crate) fn slices_mut(rows: &mut Array2<f64>) -> impl Iterator<Item = &mut [f64]> {
    let columns = rows.ncols().max(1);
    rows.as_slice_mut()
        .unwrap_or_default()
        .chunks_exact_mut(columns)
}

/// Each row divided by its length, and the lengths. A row of zeros stays.
pub(crate) fn unit(mut rows: Array2<f64>) -> (Array2<f64>, Vec<f64>) {
    let mut lengths = Vec::with_capacity(rows.nrows());
    for mut row in rows.rows_mut() {
        // By the greatest element first, so that squares neither overflow nor vanish.
        let max = row.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        if max > 0.0 {
            row.mapv_inplace(|x| x / max);
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.mapv_inplace(|x| x / length);
            lengths.push(length * max);
        } else {
            lengths.push(0.0);
        }
    }
    (rows, lengths)
}

/// The gradient by `x` from that by `u = x/‖x‖`: `(g - (g·u) u) / ‖x‖`, and zero where `x` is.
pub(crate) fn through_unit(unit: &Array2<f64>, lengths: &[f64], gradient: &mut Array2<f64>) {
    for ((u, mut g), &length) in unit
        .rows()
        .into_iter()
        .zip(gradient.rows_mut())
        .zip(lengths)
    {
        if length > 0.0 {
            let along = u.dot(&g);
            g.zip_mut_with(&u, |g, u| *g = (*g - along * u) / length);
        } else {
            g.fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, arr2};

    #[test]
    fn places_and_their_channels_go_out_and_back() {
        let image = Array3::from_shape_fn((2, 3, 4), |(n, c, x)| (100 * n + 10 * c + x) as f32);
        let rows = channels("x", &image, Axis(1)).unwrap();
        assert_eq!(rows.dim(), (8, 3));
        assert_eq!(rows.row(5).to_vec(), [101.0, 111.0, 121.0]);
        let back: Array3<f32> = from_channels(image.raw_dim(), Axis(1), &rows);
        assert_eq!(back, image);
    }

    #[test]
    fn units_of_extreme_rows_are_finite() {
        let (units, lengths) = unit(arr2(&[[3e200, 4e200], [3e-200, 4e-200], [0.0, 0.0]]));
        for row in 0..2 {
            assert!((units[[row, 0]] - 0.6).abs() < 1e-15 && (units[[row, 1]] - 0.8).abs() < 1e-15);
        }
        assert_eq!(units.row(2).to_vec(), [0.0, 0.0]);
        assert!(
            (lengths[0] / 5e200 - 1.0).abs() < 1e-15 && lengths[2] == 0.0,
            "{lengths:?}"
        );
    }
}
