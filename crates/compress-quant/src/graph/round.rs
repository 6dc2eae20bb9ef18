//! Rounding a node's weight to the node's inputs, whatever way the weight lies.

use crate::weight::{InputMoments, QuantizedWeight, RoundingOptions, round_to_inputs};
use crate::{QuantError, QuantParams};
use compress_tensor::Tensor;

/// A weight with codes that change the layer's outputs least.
pub(super) struct Refined {
    pub weight: QuantizedWeight,
    /// What the bias of each output channel must grow by.
    pub bias_shift: Vec<f32>,
    /// The least of the groups'.
    pub product_sqnr_db: f64,
}

/// Chooses the codes of `weight` anew for the scales that it has. `axis` is the axis of output channels: 0, or the
/// last one. `moments`, which suffice, are those of each group of
/// channels.
pub(super) fn refine(
    weight: &Tensor,
    params: QuantParams,
    axis: usize,
    moments: &[InputMoments],
    options: RoundingOptions,
) -> Result<Refined, QuantError> {
    let channels = weight.shape()[axis];
    let k = weight.len() / channels.max(1);
    let data = weight.data::<f32>()?;
    let rows = match axis {
        0 => data.into_owned(),
        _ => transposed(&data, channels),
    };
    let scales = match params.scale.as_slice() {
        [one] => vec![*one; channels],
        many => many.to_vec(),
    };
    let share = channels / moments.len().max(1);
    let mut codes = Vec::with_capacity(rows.len());
    let mut bias_shift = Vec::with_capacity(channels);
    let mut worst = f64::INFINITY;
    for (group, moments) in moments.iter().enumerate() {
        let channels = group * share..(group + 1) * share;
        let rows = &rows[channels.start * k..channels.end * k];
        let found = round_to_inputs(rows, &scales[channels], moments, options)?;
        codes.extend(found.codes);
        bias_shift.extend(found.bias_shift);
        worst = worst.min(found.product_sqnr_db.unwrap_or(f64::INFINITY));
    }
    let codes = match axis {
        0 => codes,
        _ => transposed(&codes, k),
    };
    Ok(Refined {
        weight: QuantizedWeight {
            values: Tensor::from_vec(weight.shape(), codes)?,
            params,
        },
        bias_shift,
        product_sqnr_db: worst,
    })
}

/// `[rows, columns]` as `[columns, rows]`.
fn transposed<T: Copy>(data: &[T], columns: usize) -> Vec<T> {
    let rows = data.len() / columns.max(1);
    let places = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
    places.map(|i| data[i]).collect()
}
