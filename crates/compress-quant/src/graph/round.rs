//! Rounding a node's weight to the node's inputs, whatever way the weight lies.

use super::inputs::{LayerInput, LayerInputs, Seen};
use super::report::Note;
use super::select::Weight;
use crate::weight::{
    InputMoments, MeanError, QuantizedWeight, RoundedBlocks, RoundingOptions,
    round_blocks_to_inputs, round_to_inputs,
};
use crate::{QuantError, QuantParams};
use compress_tensor::Tensor;
use onnx_ir::{Graph, Node};

/// Damping of products with a matrix: their inputs have as many numbers as a calibration set has rows.
const PRODUCT_DAMPING: f64 = 1e-2;
/// Damping of blocks, whose codes reach further from the weights.
const BLOCK_DAMPING: f64 = 0.1;

/// What weights are rounded to, and how.
#[derive(Clone, Copy)]
pub(super) struct Rounder<'a> {
    pub inputs: &'a LayerInputs,
    pub threads: usize,
}

/// A weight with codes that change the layer's outputs least.
pub(super) struct Refined {
    pub weight: QuantizedWeight,
    /// What the bias of each output channel must grow by.
    pub bias_shift: Vec<f32>,
    /// The least of the groups'.
    pub product_sqnr_db: f64,
}

impl<'a> Rounder<'a> {
    /// The moments of what a node's weight is multiplied with, of each group.
    ///
    /// # Errors
    /// The reason, in words, why the weight is rounded to nearest.
    pub(super) fn moments(
        self,
        graph: &Graph,
        node: &Node,
        weight: Weight,
    ) -> Result<&'a Seen, String> {
        let input = LayerInput::of(graph, node, weight.input);
        self.inputs
            .get(&input.ok_or("its inputs do not come in rows")?)
    }

    /// Chooses the codes of `weight` anew for the scales that it has; `axis` is the axis of output channels, 0 or the
    /// last one. Where inputs are quantized at run time the bias takes up the mean of that error too.
    pub(super) fn refine(
        self,
        node: &Node,
        weight: &Tensor,
        params: QuantParams,
        axis: usize,
        (seen, mean): (&Seen, MeanError),
    ) -> Result<Refined, QuantError> {
        let plain = RoundingOptions::default();
        let options = RoundingOptions {
            mean,
            threads: self.threads,
            damping: if node.is("MatMul") {
                PRODUCT_DAMPING
            } else {
                plain.damping
            },
            ..plain
        };
        let loss = seen.mean_loss().filter(|_| mean == MeanError::InBias);
        refine(weight, params, axis, (&seen.moments, loss), options)
    }

    /// Chooses scales and codes of a matrix in blocks.
    pub(super) fn blocks(
        self,
        weight: &Tensor,
        (bits, block): (usize, usize),
        seen: &Seen,
        mean: MeanError,
    ) -> Result<RoundedBlocks, QuantError> {
        let options = RoundingOptions {
            mean,
            threads: self.threads,
            damping: BLOCK_DAMPING,
            ..RoundingOptions::default()
        };
        let moments = seen.moments.first().ok_or(QuantError::NothingObserved)?;
        round_blocks_to_inputs(weight, bits, block, moments, options)
    }
}

/// The note in a report of a weight that is rounded to nearest against the request.
pub(super) fn nearest_note(weight: &str, reason: &str) -> Note {
    Note::new(weight, format!("rounded to nearest: {reason}"))
}

/// `moments`, which suffice, are those of each group of channels, and so are the means of what inputs lose otherwise.
fn refine(
    weight: &Tensor,
    params: QuantParams,
    axis: usize,
    (moments, loss): (&[InputMoments], Option<Vec<Vec<f64>>>),
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
        let found = round_to_inputs(rows, &scales[channels.clone()], moments, options)?;
        codes.extend(found.codes);
        bias_shift.extend(found.bias_shift);
        if let Some(loss) = loss.as_ref().and_then(|groups| groups.get(group)) {
            let shifts = &mut bias_shift[channels.start..];
            for (shift, weights) in shifts.iter_mut().zip(rows.chunks(k.max(1))) {
                let each = weights.iter().zip(loss).map(|(&w, l)| f64::from(w) * l);
                *shift += each.sum::<f64>() as f32;
            }
        }
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
