//! Weight-only quantization: small weights, float arithmetic.
//!
//! int8 per channel: `DequantizeLinear` in front of the operator, for any operator with a constant weight and for
//! `LSTM`, `GRU` and `RNN`. Branches and loop bodies are quantized as the main graph is.
//! Blocks of 4 or 8 bits: `com.microsoft.MatMulNBits` in the place of `MatMul`.

use super::calibrate::Calibration;
use super::captured::{Reader, captured_weights, sources};
use super::codes::{Layer, Request, nearest_codes, rounder_of};
use super::config::{Mode, QuantizeConfig};
use super::edit::{
    add_dequantize, add_params, drop_unread, in_subgraphs, node_name, quantized_bytes, record,
    redirect, share_equal, sqnr_db, stored_bytes,
};
use super::error::QuantizeError;
use super::mean::BiasInput;
use super::operators::RECURRENT;
use super::patterns::check_patterns;
use super::prepare::prepare;
use super::report::{LayerReport, Note, Report, SkippedNode};
use super::round::nearest_note;
use super::select::{
    Bias, IN_SUBGRAPHS, Role, is_product, is_recurrent, nothing, select_in, wanted, wanted_names,
};
use crate::QuantError;
use crate::weight::{BlockQuantized, QuantizedWeight, check_blocks, quantize_blocks};
use compress_tensor::{DType, Granularity, Tensor};
use onnx_ir::graph::Use;
use onnx_ir::{Catalog, Fact, Graph, Model, Node, NodeId, ValueId};
use std::collections::BTreeMap;

/// How weights are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightOnlyConfig {
    /// int8, one scale per output channel (or per tensor, as the [`QuantizeConfig`] says).
    Int8,
    /// Blocks along the inner dimension, for `MatMul` only.
    Blocks {
        /// 4 or 8.
        bits: usize,
        /// Weights per scale; a power of two from 16 to 256.
        block: usize,
    },
}

/// Why a node has no weight in blocks.
const NOT_IN_BLOCKS: &str = "4-bit weights and weights in blocks are for products with a weight of rank 2, as it stands, only";

/// Quantizes weights only; activations stay float.
///
/// # Errors
/// [`QuantizeError::Setting`] for `bits` and `block` that break their rule, [`QuantizeError`]; what could not be quantized of a model that could is listed in the report.
pub fn quantize_weights(
    model: &Model,
    weights: WeightOnlyConfig,
    config: &QuantizeConfig,
) -> Result<(Model, Report), QuantizeError> {
    quantize(model, weights, None, config)
}

/// As [`quantize_weights`], with what [`calibrate_for`](super::calibrate_for) gathered of the layers' inputs for
/// [`WeightOnlyConfig::mode`]: `config.rounding` may then be [`Rounding::Calibrated`](super::Rounding::Calibrated).
///
/// # Errors
/// Those of [`quantize_weights`]; [`QuantizeError::OtherModel`] for statistics of another model.
pub fn quantize_weights_calibrated(
    model: &Model,
    weights: WeightOnlyConfig,
    calibration: &Calibration,
    config: &QuantizeConfig,
) -> Result<(Model, Report), QuantizeError> {
    quantize(model, weights, Some(calibration), config)
}

/// Weights per scale of 4-bit weights unless another number is asked for.
const BLOCK: usize = 32;

impl WeightOnlyConfig {
    /// For `bits` per weight and `block` weights per scale, where that is given: 8 bits have one scale per channel
    /// otherwise, 4 bits one for 32 weights.
    pub fn of(bits: usize, block: Option<usize>) -> Self {
        match (bits, block) {
            (8, None) => Self::Int8,
            (bits, block) => Self::Blocks {
                bits,
                block: block.unwrap_or(BLOCK),
            },
        }
    }

    /// The mode that this is quantized in.
    pub fn mode(self) -> Mode {
        match self {
            Self::Int8 => Mode::Weights,
            Self::Blocks { .. } => Mode::Blocks,
        }
    }
}

fn quantize(
    model: &Model,
    weights: WeightOnlyConfig,
    calibration: Option<&Calibration>,
    config: &QuantizeConfig,
) -> Result<(Model, Report), QuantizeError> {
    config.validate_for(weights.mode())?;
    if let WeightOnlyConfig::Blocks { bits, block } = weights {
        check_blocks(bits, block)?;
    }
    let bytes_before = stored_bytes(&model.graph);
    let mut model = prepare(model)?;
    check_patterns(&model.graph, config)?;
    let mut report = Report {
        bytes_before,
        ..Report::default()
    };
    let rounder = rounder_of(&model, calibration, config)?;
    let request = Request { config, rounder };
    quantize_graph(&mut model, weights, request, &mut report)?;
    if report.layers.is_empty() {
        return Err(nothing(&report.skipped));
    }
    onnx_ir::infer::infer_shapes(&mut model, Catalog::standard())?;
    let rounding = config.rounding;
    record(
        &mut model,
        format!("weight-only {weights:?} rounding={rounding:?}"),
    );
    report.bytes_after = stored_bytes(&model.graph);
    Ok((model, report))
}

/// Quantizes the main graph of `model` and the subgraphs of its nodes.
fn quantize_graph(
    model: &mut Model,
    weights: WeightOnlyConfig,
    request: Request<'_>,
    report: &mut Report,
) -> Result<(), QuantizeError> {
    let config = request.config;
    let first_new = model.graph.value_bound();
    in_subgraphs(model, |inner| {
        quantize_graph(inner, weights, request, report)
    })?;
    if weights == WeightOnlyConfig::Int8 {
        captured(&mut model.graph, request, report)?;
    }
    let selection = select_in(model, config, Bias::Float)?;
    let handled = |s: &SkippedNode| s.reason == IN_SUBGRAPHS || RECURRENT.contains(&s.op.as_str());
    let others = selection.skipped.iter().filter(|s| !handled(s));
    report.skipped.extend(others.cloned());
    for &id in &selection.order {
        let Some(Role::Core {
            weight: Some(weight),
            bias,
        }) = selection.roles.get(&id).copied()
        else {
            continue;
        };
        let graph = &mut model.graph;
        let node = graph.node(id).clone();
        let name = node_name(graph, id);
        let (Some(w), Some(x), Some(y)) = (node.input(weight.input), node.input(0), node.output(0))
        else {
            continue;
        };
        let Some(tensor) = graph.constant(w).cloned() else {
            continue;
        };
        let weight_name = graph.name_of(w).to_owned();
        let values = |error: QuantError| QuantizeError::Values {
            tensor: weight_name.clone(),
            error,
        };
        let layer = Layer { id, weight, bias };
        let notes = &mut report.notes;
        let (sqnr_db, bytes_after, product_sqnr_db) = match weights {
            WeightOnlyConfig::Int8 => {
                let (codes, product) = layer.codes(graph, &tensor, request, notes)?;
                let (sqnr, bytes) = int8(graph, id, (weight.input, w), &tensor, codes)?;
                (sqnr, bytes, product)
            }
            WeightOnlyConfig::Blocks { .. } if !is_product(&node) || tensor.rank() != 2 => {
                report.skipped.push(SkippedNode {
                    node: name,
                    op: node.qualified_op(),
                    reason: NOT_IN_BLOCKS.to_owned(),
                });
                continue;
            }
            WeightOnlyConfig::Blocks { bits, block } => {
                let (quantized, product) =
                    blocks(graph, layer, &tensor, (bits, block), request, notes)?;
                let data = tensor.data::<f32>().map_err(|e| values(e.into()))?;
                let sqnr = sqnr_db(&data, quantized.dequantize().map_err(values)?.into_iter());
                let bytes = quantized.codes.byte_len() + quantized.scales.byte_len();
                let q =
                    graph.add_initializer(&format!("{weight_name}_quantized"), quantized.codes)?;
                let scales =
                    graph.add_initializer(&format!("{weight_name}_scale"), quantized.scales)?;
                let &[k, n] = tensor.shape() else { continue };
                // Rounding may have put another in its place.
                let summand = bias.and_then(|b| graph.node(id).input(b));
                graph.remove_node(id);
                let to = match summand {
                    Some(_) => {
                        let name = graph.name_of(y).to_owned();
                        graph.fresh_value(&name, Fact::Unknown)?
                    }
                    None => y,
                };
                let new = Node::new("MatMulNBits", [x, q, scales], [to])
                    .in_domain("com.microsoft")
                    .named(name.clone())
                    .with("K", k as i64)
                    .with("N", n as i64)
                    .with("bits", bits as i64)
                    .with("block_size", block as i64);
                graph.add_node(new)?;
                if let Some(summand) = summand {
                    graph.add_node(Node::new("Add", [to, summand], [y]))?;
                }
                model.opsets.set("com.microsoft", 1);
                (sqnr, bytes, product)
            }
        };
        drop_unread(&mut model.graph, [w]);
        report.layers.push(LayerReport {
            node: name,
            op: node.qualified_op(),
            weight_sqnr_db: Some(sqnr_db),
            product_sqnr_db,
            bytes_before: tensor.byte_len(),
            bytes_after,
            ..LayerReport::default()
        });
    }
    for &id in &selection.order {
        if model.graph.get_node(id).is_some_and(is_recurrent) {
            recurrent(model, id, weights, request, report)?;
        }
    }
    share_equal(&mut model.graph, first_new);
    Ok(())
}

/// Codes of a layer's weight in blocks, and the SQNR of the products where they are rounded to the inputs.
fn blocks(
    graph: &mut Graph,
    layer: Layer,
    tensor: &Tensor,
    form: (usize, usize),
    request: Request<'_>,
    notes: &mut Vec<Note>,
) -> Result<(BlockQuantized, Option<f64>), QuantizeError> {
    let name = layer.weight_name(graph);
    let values = |error: QuantError| QuantizeError::Values {
        tensor: name.clone(),
        error,
    };
    let Some((rounder, seen)) = layer.moments(graph, request, notes) else {
        let (bits, block) = form;
        let nearest = quantize_blocks(tensor, bits, block);
        return Ok((nearest.map_err(values)?, None));
    };
    let channels = tensor.shape()[layer.weight.axis];
    let bias = BiasInput::of(graph, layer.id, layer.bias, channels);
    let rounded = rounder.blocks(tensor, form, seen, BiasInput::mean(bias));
    let rounded = rounded.map_err(values)?;
    if let Some(bias) = bias {
        bias.shift(graph, &rounded.bias_shift)?;
    }
    Ok((rounded.blocks, rounded.product_sqnr_db))
}

/// Why weights of recurrent nodes are rounded to nearest.
const STATES_STAY: &str = "recurrent weights are not rounded to their inputs";

/// Quantizes the weights `W` and `R` (`[directions, gates · hidden, …]`) of a recurrent node, one scale per row of a gate.
fn recurrent(
    model: &mut Model,
    id: NodeId,
    weights: WeightOnlyConfig,
    request: Request<'_>,
    report: &mut Report,
) -> Result<(), QuantizeError> {
    let config = request.config;
    let graph = &mut model.graph;
    let node = graph.node(id).clone();
    let name = node_name(graph, id);
    let skip = |reason: String| SkippedNode {
        node: name.clone(),
        op: node.qualified_op(),
        reason,
    };
    if let Err(reason) = wanted(graph, id, config) {
        report.skipped.push(skip(reason));
        return Ok(());
    }
    if weights != WeightOnlyConfig::Int8 {
        report.skipped.push(skip(NOT_IN_BLOCKS.to_owned()));
        return Ok(());
    }
    let mut layer = LayerReport {
        node: name.clone(),
        op: node.qualified_op(),
        ..LayerReport::default()
    };
    for input in [1, 2] {
        let Some(w) = node.input(input) else { continue };
        let tensor = graph
            .constant(w)
            .filter(|t| t.dtype() == DType::F32)
            .cloned();
        let Some(tensor) = tensor else {
            if !sources(graph, w).is_empty() {
                // The graph that holds it takes care of it.
                continue;
            }
            let weight = graph.name_of(w);
            report.skipped.push(skip(format!(
                "its weight `{weight}` is not constant in f32"
            )));
            continue;
        };
        let weight = graph.name_of(w).to_owned();
        let codes = recurrent_codes(&weight, &tensor, 1, request, &mut report.notes)?;
        let (sqnr, bytes) = int8(graph, id, (input, w), &tensor, codes)?;
        layer.weight_sqnr_db = Some(layer.weight_sqnr_db.map_or(sqnr, |other| other.min(sqnr)));
        layer.bytes_before += tensor.byte_len();
        layer.bytes_after += bytes;
        drop_unread(graph, [w]);
    }
    if layer.weight_sqnr_db.is_some() {
        warn_of_state(report, &name, &node.op_type);
        report.layers.push(layer);
    }
    Ok(())
}

/// Says of a recurrent layer what the figures of its weights do not.
fn warn_of_state(report: &mut Report, node: &str, op: &str) {
    let text = "what its int8 weights change adds up in its state from step to step, which the SQNR of the weights does \
                not show: compare the outputs over sequences of full length";
    let known = |note: &Note| note.subject == node && note.text == text;
    if RECURRENT.contains(&op) && !report.notes.iter().any(known) {
        report.notes.push(Note::new(node, text));
    }
}

/// Quantizes the weights of this graph that recurrent nodes in subgraphs read.
fn captured(
    graph: &mut Graph,
    request: Request<'_>,
    report: &mut Report,
) -> Result<(), QuantizeError> {
    let config = request.config;
    let holds = |n: &Node| n.attributes.graphs().next().is_some();
    let nodes = graph.nodes().filter(|(_, n)| holds(n)).map(|(id, _)| id);
    let mut found: BTreeMap<String, Vec<Reader>> = BTreeMap::new();
    for id in nodes {
        for (name, readers) in captured_weights(graph, id) {
            found.entry(name).or_default().extend(readers);
        }
    }
    for (name, readers) in found {
        // Where it is captured in turn, a graph further out holds it.
        let Some(w) = graph.value_by_name(&name) else {
            continue;
        };
        if graph.producer(w).is_none() && graph.initializer(w).is_none() && !graph.is_input(w) {
            continue;
        }
        let matrix = |t: &Tensor| t.dtype() == DType::F32 && t.rank() >= 2;
        let usable = !graph.is_input(w) && graph.constant(w).is_some_and(matrix);
        let refusal = |reader: &Reader| match wanted_names(&reader.names, &reader.op, config) {
            Ok(()) if usable => None,
            Ok(()) => Some("its weight, of a graph around it, is not a constant matrix in f32"),
            Err(reason) => Some(reason),
        };
        // All of them read the same numbers: one that is to stay as it is keeps the others so.
        let first = readers.iter().find_map(refusal);
        if let Some(first) = first {
            report.skipped.extend(readers.iter().map(|reader| {
                let shared = "it shares its weight with a node that is not quantized";
                let own = refusal(reader);
                SkippedNode {
                    node: reader.name().to_owned(),
                    op: reader.op.clone(),
                    reason: own
                        .unwrap_or(if readers.len() > 1 { shared } else { first })
                        .to_owned(),
                }
            }));
            continue;
        }
        let Some(Reader { op, .. }) = readers.first() else {
            continue;
        };
        let (node, op) = (readers[0].name().to_owned(), op.clone());
        let Some(tensor) = graph.constant(w).cloned() else {
            continue;
        };
        for reader in &readers {
            warn_of_state(report, reader.name(), &reader.op);
        }
        // What reads it in this graph goes on reading floats, or is quantized by itself.
        let direct = |u: &Use| matches!(u, Use::Input { .. });
        if graph.uses(w).iter().any(direct) {
            let float = graph.add_initializer(&format!("{name}_float"), tensor.clone())?;
            redirect(graph, w, float, |_, _| true);
        }
        match graph.producer(w) {
            Some(constant) => drop(graph.remove_node(constant)),
            None => drop(graph.remove_initializer(w)),
        }
        let axis = tensor.rank() - 2;
        let codes = recurrent_codes(&name, &tensor, axis, request, &mut report.notes)?;
        let (layer_sqnr, bytes, codes) = add_codes(graph, &name, &tensor, codes)?;
        let mut dequantize = Node::new("DequantizeLinear", codes.inputs, [w]);
        if let Granularity::PerChannel { axis } = codes.granularity {
            dequantize = dequantize.with("axis", axis as i64);
        }
        graph.add_node(dequantize.named(format!("{name}_DequantizeLinear")))?;
        report.layers.push(LayerReport {
            node,
            op,
            weight_sqnr_db: Some(layer_sqnr),
            bytes_before: tensor.byte_len(),
            bytes_after: bytes,
            ..LayerReport::default()
        });
    }
    Ok(())
}

/// The nearest codes of a recurrent node's weight; a note where others were asked for.
fn recurrent_codes(
    name: &str,
    tensor: &Tensor,
    axis: usize,
    request: Request<'_>,
    notes: &mut Vec<Note>,
) -> Result<QuantizedWeight, QuantizeError> {
    if request.rounder.is_some() {
        notes.push(nearest_note(name, STATES_STAY));
    }
    let config = request.config;
    let codes = nearest_codes(
        tensor,
        Some(axis),
        config.weight_granularity,
        config.weight_rule,
    );
    codes.map_err(|error| QuantizeError::Values {
        tensor: name.to_owned(),
        error,
    })
}

/// Puts an int8 weight with its `DequantizeLinear` in front of a node; gives the weight's SQNR and bytes.
fn int8(
    graph: &mut Graph,
    id: NodeId,
    (input, weight): (usize, ValueId),
    tensor: &Tensor,
    codes: QuantizedWeight,
) -> Result<(f64, usize), QuantizeError> {
    let name = graph.name_of(weight).to_owned();
    let (sqnr, bytes, codes) = add_codes(graph, &name, tensor, codes)?;
    let [q, scale, zero] = codes.inputs;
    let dequantized = add_dequantize(graph, &name, q, (scale, zero), codes.granularity)?;
    graph.set_node_input(id, input, Some(dequantized));
    Ok((sqnr, bytes))
}

/// Codes, scale and zero point of a weight as initializers.
struct Codes {
    inputs: [ValueId; 3],
    granularity: Granularity,
}

/// Adds a quantized weight; gives its SQNR, its bytes and what was added.
fn add_codes(
    graph: &mut Graph,
    name: &str,
    tensor: &Tensor,
    quantized: QuantizedWeight,
) -> Result<(f64, usize, Codes), QuantizeError> {
    let values = |error: QuantError| QuantizeError::Values {
        tensor: name.to_owned(),
        error,
    };
    let data = tensor.data::<f32>().map_err(|e| values(e.into()))?;
    let back = quantized.params.dequantize(&quantized.values);
    let back = back.map_err(|e| values(e.into()))?;
    let sqnr = sqnr_db(&data, back.iter().copied());
    let bytes = quantized_bytes(&quantized.values, &quantized.params);
    let q = graph.add_initializer(&format!("{name}_quantized"), quantized.values)?;
    let granularity = quantized.params.granularity;
    let (scale, zero) = add_params(graph, name, &quantized.params)?;
    let inputs = [q, scale, zero];
    Ok((
        sqnr,
        bytes,
        Codes {
            inputs,
            granularity,
        },
    ))
}
