//! Static quantization: int8 weights and activations with scales from calibration.

use super::calibrate::Calibration;
use super::config::{Format, QuantizeConfig};
use super::edit::{node_name, record, share_equal, stored_bytes};
use super::error::QuantizeError;
use super::insert::{ActivationPair, WeightRecord, Writer, WrittenWeight, represented};
use super::plan::Plan;
use super::preflight::{check_integers, fix_sizes};
use super::prepare::prepare;
use super::report::{LayerReport, Note, Report};
use crate::{QuantParams, Range};
use onnx_ir::{Catalog, Graph, Model, NodeId, ValueId};
use std::collections::{BTreeMap, HashMap};

/// Quantizes weights and activations to int8 with the ranges that `config.method` chooses from
/// `calibration`.
///
/// Weights: symmetric int8, one scale per output channel. Activations: one scale per tensor, only where an
/// integer operator reads them. Bias: int32 in steps of `s_x · s_w` (Jacob et al. 2018, arXiv:1712.05877).
///
/// # Errors
/// [`QuantizeError`]: a request that breaks a rule of the target, statistics of another model, or nothing to quantize.
/// What could not
/// be quantized of a model that could is listed in the report.
pub fn quantize_static(
    model: &Model,
    calibration: &Calibration,
    config: &QuantizeConfig,
) -> Result<(Model, Report), QuantizeError> {
    config.validate()?;
    let prepared = prepare(model)?;
    let (quantized, report) =
        quantize_prepared(&prepared, calibration, config, Strictness::Target)?;
    let bytes_before = stored_bytes(&model.graph);
    Ok((
        quantized,
        Report {
            bytes_before,
            ..report
        },
    ))
}

/// Whether nodes that stay float, and sizes that are not constant, are an error where the target says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strictness {
    /// As the target says.
    Target,
    /// They are not: for models that are run here and never written.
    Loose,
}

/// Quantizes a model that [`prepare`] gave.
pub(super) fn quantize_prepared(
    model: &Model,
    calibration: &Calibration,
    config: &QuantizeConfig,
    strictness: Strictness,
) -> Result<(Model, Report), QuantizeError> {
    let bytes_before = stored_bytes(&model.graph);
    let Written {
        mut model,
        plan,
        weights,
        described,
        repairs,
        notes,
        ..
    } = write(model, calibration, config, strictness)?;
    if config.format == Format::QLinear {
        super::qlinear::convert(&mut model)?;
    }
    onnx_ir::infer::infer_shapes(&mut model, Catalog::standard())?;
    let layers = described
        .into_iter()
        .map(|(id, layer)| with_weight(layer, weights.get(&id)))
        .collect();
    record(
        &mut model,
        format!(
            "static target={} activations={} method={:?} rounding={:?} format={:?}",
            config.target.name(),
            config.activation_dtype(),
            config.method,
            config.rounding,
            config.format
        ),
    );
    let bytes_after = stored_bytes(&model.graph);
    let skipped = plan.selection.skipped;
    Ok((
        model,
        Report {
            layers,
            skipped,
            repairs,
            notes,
            bytes_before,
            bytes_after,
        },
    ))
}

/// A model with Q/DQ pairs, and what was written where.
pub(super) struct Written {
    pub model: Model,
    pub plan: Plan,
    pub params: BTreeMap<ValueId, QuantParams>,
    pub weights: HashMap<NodeId, WeightRecord>,
    pub described: Vec<(NodeId, LayerReport)>,
    pub repairs: Vec<Note>,
    pub notes: Vec<Note>,
    pub activation_pairs: Vec<ActivationPair>,
    pub written_weights: Vec<WrittenWeight>,
}

/// Writes Q/DQ pairs into a model that [`prepare`] gave.
pub(super) fn write(
    model: &Model,
    calibration: &Calibration,
    config: &QuantizeConfig,
    strictness: Strictness,
) -> Result<Written, QuantizeError> {
    calibration.check_prepared(model)?;
    let mut model = model.clone();
    let mut repairs = match strictness {
        Strictness::Target => fix_sizes(&mut model, config)?,
        Strictness::Loose => Vec::new(),
    };
    let plan = Plan::of(&model, config)?;
    if strictness == Strictness::Target {
        check_integers(&model.graph, &plan, config)?;
    }
    let mut notes = Vec::new();
    let params = plan.params(&model.graph, calibration, config, &mut notes)?;
    let described = describe(&model.graph, &plan, calibration, &params);
    let first_new = model.graph.value_bound();
    let mut writer = Writer {
        graph: &mut model.graph,
        plan: &plan,
        params: &params,
        rules: config.target.rules(),
        granularity: config.weight_granularity,
        rule: config.weight_rule,
        rounder: calibration.rounder(config)?,
        repairs: Vec::new(),
        notes: Vec::new(),
        pairs: Vec::new(),
        weights: Vec::new(),
    };
    let weights = writer.write()?;
    repairs.append(&mut writer.repairs);
    notes.append(&mut writer.notes);
    let (activation_pairs, written_weights) = (writer.pairs, writer.weights);
    share_equal(&mut model.graph, first_new);
    Ok(Written {
        model,
        plan,
        params,
        weights,
        described,
        repairs,
        notes,
        activation_pairs,
        written_weights,
    })
}

/// The report's rows, while node names and ranges still stand in the graph.
fn describe(
    graph: &Graph,
    plan: &Plan,
    calibration: &Calibration,
    params: &BTreeMap<ValueId, QuantParams>,
) -> Vec<(NodeId, LayerReport)> {
    let range = |v: ValueId| {
        params
            .get(&v)
            .map(represented)
            .map(|(a, b)| (a as f32, b as f32))
    };
    let selection = &plan.selection;
    let rows = selection.order.iter().filter_map(|&id| {
        selection.roles.get(&id)?;
        let input = selection
            .data_inputs(graph, id)
            .first()
            .and_then(|&i| graph.node(id).input(i));
        let result = selection.result(graph, id);
        let stats = input.and_then(|v| calibration.get(graph.name_of(v)));
        let input_range = input.and_then(range);
        let seen = input.and_then(|v| {
            let (min, max) = range(v)?;
            Some((stats?, Range { min, max }, params.get(&v)?.scale[0]))
        });
        Some((
            id,
            LayerReport {
                node: node_name(graph, id),
                op: graph.node(id).qualified_op(),
                weight_sqnr_db: None,
                product_sqnr_db: None,
                input_sqnr_db: seen.and_then(|(stats, range, s)| stats.sqnr_db(range, s)),
                input_range,
                output_range: result.and_then(range),
                // Within half a step beyond the range a value is rounded as any other.
                clipped_share: seen
                    .and_then(|(stats, range, s)| stats.clipped_share(range.widened(s / 2.0))),
                bytes_before: 0,
                bytes_after: 0,
            },
        ))
    });
    rows.collect()
}

fn with_weight(mut layer: LayerReport, weight: Option<&WeightRecord>) -> LayerReport {
    if let Some(w) = weight {
        layer.weight_sqnr_db = Some(w.sqnr_db);
        layer.product_sqnr_db = w.product_sqnr_db;
        layer.bytes_before = w.bytes_before;
        layer.bytes_after = w.bytes_after;
    }
    layer
}
