//! How much each node's quantization alone changes the model's outputs.

use super::calibrate::Calibration;
use super::config::QuantizeConfig;
use super::edit::{node_name, sqnr_db};
use super::error::{CalibrationError, QuantizeError};
use super::gather::Sample;
use super::patterns::literal_pattern;
use super::plan::Plan;
use super::prepare::prepare;
use super::report::SkippedNode;
use super::select::Role;
use super::static_int8::{Strictness, quantize_prepared};
use compress_tensor::{DType, Tensor};
use onnx_ir::Model;
use runtime_session::{Session, SessionOptions};
use serde::Serialize;

/// What quantizing one node alone does to the model's outputs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NodeSensitivity {
    /// The node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Signal to noise of all float outputs in dB, the float model being the signal: `10·log10(Σy² / Σ(y - ŷ)²)`;
    /// `-inf` where the result is no number.
    pub sqnr_db: f64,
}

/// What [`sensitivity`] found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Sensitivity {
    /// The most sensitive node first.
    pub nodes: Vec<NodeSensitivity>,
    /// Nodes that could not be quantized alone, and why.
    pub skipped: Vec<SkippedNode>,
}

/// Quantizes one weighted node at a time and compares the outputs on `samples` with the float model's;
/// the most sensitive node comes first.
///
/// Exclude what falls below a bound: [`QuantizeConfig::exclude`] takes the names, as
/// [`literal_pattern`](super::literal_pattern) writes them. A target that takes integers only does not hinder: the
/// models with one quantized node are run here.
///
/// # Errors
/// [`CalibrationError`] where a run fails or the model cannot be quantized.
pub fn sensitivity(
    model: &Model,
    calibration: &Calibration,
    samples: &[Sample],
    config: &QuantizeConfig,
    options: &SessionOptions,
) -> Result<Sensitivity, CalibrationError> {
    if samples.is_empty() {
        return Err(CalibrationError::NoSamples);
    }
    let prepared = prepare(model).map_err(Box::new)?;
    let plan = Plan::of(&prepared, config).map_err(Box::new)?;
    let reference = outputs(&prepared, samples, options)?;
    let graph = &prepared.graph;
    let cores = plan
        .selection
        .order
        .iter()
        .filter(|id| matches!(plan.selection.roles.get(id), Some(Role::Core { .. })));
    let mut result = Sensitivity::default();
    for &id in cores {
        let (node, op) = (node_name(graph, id), graph.node(id).qualified_op());
        // Names of values are unique, those of nodes need not be.
        let output = graph.node(id).output(0).map(|v| graph.name_of(v));
        let alone = QuantizeConfig {
            include: vec![literal_pattern(output.unwrap_or(&node))],
            ..config.clone()
        };
        let quantized = quantize_prepared(&prepared, calibration, &alone, Strictness::Loose);
        let (quantized, _) = match quantized {
            Ok(quantized) => quantized,
            Err(error @ QuantizeError::NotCalibrated { .. }) => {
                result.skipped.push(SkippedNode {
                    node,
                    op,
                    reason: error.to_string(),
                });
                continue;
            }
            Err(error) => return Err(Box::new(error).into()),
        };
        let changed = outputs(&quantized, samples, options)?;
        let found = sqnr_db(&reference, changed.iter().copied());
        result.nodes.push(NodeSensitivity {
            node,
            op,
            sqnr_db: if found.is_nan() {
                f64::NEG_INFINITY
            } else {
                found
            },
        });
    }
    result.nodes.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
    Ok(result)
}

/// All f32 outputs on all samples, one after the other.
fn outputs(
    model: &Model,
    samples: &[Sample],
    options: &SessionOptions,
) -> Result<Vec<f32>, CalibrationError> {
    let session = Session::new(model.clone(), options).map_err(Box::new)?;
    let mut all = Vec::new();
    for (sample, inputs) in samples.iter().enumerate() {
        let inputs: Vec<(&str, Tensor)> = inputs
            .iter()
            .map(|(n, t)| (n.as_str(), t.clone()))
            .collect();
        let outputs = session
            .run(&inputs)
            .map_err(|error| CalibrationError::Run {
                sample,
                error: Box::new(error),
            })?;
        for tensor in outputs.iter().filter(|t| t.dtype() == DType::F32) {
            let data = tensor.data::<f32>().map_err(|e| CalibrationError::Sample {
                sample,
                message: e.to_string(),
            })?;
            all.extend_from_slice(&data);
        }
    }
    Ok(all)
}
