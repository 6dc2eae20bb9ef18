//! The int8 codes of a layer's weight, for the modes that leave its bias as it is.

use super::calibrate::Calibration;
use super::config::{QuantizeConfig, Rounding, WeightGranularity};
use super::error::QuantizeError;
use super::inputs::Seen;
use super::mean::BiasInput;
use super::report::Note;
use super::round::{Rounder, nearest_note};
use super::select::{Weight, is_per_channel};
use crate::QuantError;
use crate::weight::{QuantizedWeight, WeightRule, quantize_per_channel, quantize_per_tensor};
use compress_tensor::{DType, Tensor};
use onnx_ir::{Graph, Model, NodeId};

/// What is asked of the codes.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub config: &'a QuantizeConfig,
    /// Where weights are rounded to what the layers read.
    pub rounder: Option<Rounder<'a>>,
}

/// What layers read once they are quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inputs {
    /// The values themselves, or codes whose ranges are chosen later.
    Given,
    /// 8-bit codes with a scale of each run.
    Dynamic,
}

/// The rounder that `config` asks for, of the statistics of a prepared model.
///
/// # Errors
/// [`QuantizeError::NoInputs`], [`QuantizeError::OtherModel`].
pub(super) fn rounder_of<'a>(
    prepared: &Model,
    calibration: Option<&'a Calibration>,
    config: &QuantizeConfig,
) -> Result<Option<Rounder<'a>>, QuantizeError> {
    match calibration {
        Some(calibration) => {
            calibration.check_prepared(prepared)?;
            calibration.rounder(config)
        }
        None if config.rounding == Rounding::Calibrated => Err(QuantizeError::NoInputs),
        None => Ok(None),
    }
}

/// A node with a constant weight.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    pub id: NodeId,
    pub weight: Weight,
    /// The input that holds its bias.
    pub bias: Option<usize>,
}

impl Layer {
    /// Codes of the weight, and the SQNR of the products where they are rounded to the inputs; the bias, if there is
    /// one, takes up the mean of the error. The graph changes in nothing else.
    pub(super) fn codes(
        self,
        graph: &mut Graph,
        tensor: &Tensor,
        request: Request<'_>,
        notes: &mut Vec<Note>,
    ) -> Result<(QuantizedWeight, Option<f64>), QuantizeError> {
        let node = graph.node(self.id).clone();
        let axis = self.weight.axis;
        let name = self.weight_name(graph);
        let values = |error: QuantError| QuantizeError::Values {
            tensor: name.clone(),
            error,
        };
        let per_channel = is_per_channel(&node, tensor.rank()).then_some(axis);
        let QuantizeConfig {
            weight_granularity,
            weight_rule,
            ..
        } = *request.config;
        let nearest = nearest_codes(tensor, per_channel, weight_granularity, weight_rule);
        let nearest = nearest.map_err(values)?;
        let Some((rounder, seen)) = self.moments(graph, request, notes) else {
            return Ok((nearest, None));
        };
        let bias = BiasInput::of(graph, self.id, self.bias, tensor.shape()[axis]);
        let (params, mean) = (nearest.params, BiasInput::mean(bias));
        let refined = rounder.refine(&node, tensor, params, axis, (seen, mean));
        let refined = refined.map_err(values)?;
        if let Some(bias) = bias {
            bias.shift(graph, &refined.bias_shift)?;
        }
        Ok((refined.weight, Some(refined.product_sqnr_db)))
    }

    /// What the weight is to be rounded to; a note where it was asked for and there is nothing.
    pub(super) fn moments<'a>(
        self,
        graph: &Graph,
        request: Request<'a>,
        notes: &mut Vec<Note>,
    ) -> Option<(Rounder<'a>, &'a Seen)> {
        let rounder = request.rounder?;
        match rounder.moments(graph, graph.node(self.id), self.weight) {
            Ok(seen) => Some((rounder, seen)),
            Err(reason) => {
                notes.push(nearest_note(&self.weight_name(graph), &reason));
                None
            }
        }
    }

    pub(super) fn weight_name(self, graph: &Graph) -> String {
        let weight = graph.node(self.id).input(self.weight.input);
        weight.map_or(String::new(), |w| graph.name_of(w).to_owned())
    }
}

/// The nearest int8 codes, with one scale for each channel along `axis` where there is one and the granularity asks for it.
pub(super) fn nearest_codes(
    tensor: &Tensor,
    axis: Option<usize>,
    granularity: WeightGranularity,
    rule: WeightRule,
) -> Result<QuantizedWeight, QuantError> {
    match (granularity, axis) {
        (WeightGranularity::PerChannel, Some(axis)) => {
            quantize_per_channel(tensor, axis, DType::I8, rule)
        }
        _ => quantize_per_tensor(tensor, DType::I8, rule),
    }
}
