//! Weight-only quantization: small weights, float arithmetic.
//!
//! int8 per channel: `DequantizeLinear` in front of the operator, for any operator with a constant weight and for
//! `LSTM`, `GRU` and `RNN`. Branches and loop bodies are quantized as the main graph is.
//! Blocks of 4 or 8 bits: `com.microsoft.MatMulNBits` in the place of `MatMul`.

use super::captured::{Reader, captured_weights, sources};
use super::config::{Mode, QuantizeConfig, WeightGranularity};
use super::edit::{
    add_dequantize, add_params, drop_unread, in_subgraphs, node_name, quantized_bytes, record,
    redirect, sqnr_db, stored_bytes,
};
use super::error::QuantizeError;
use super::operators::RECURRENT;
use super::prepare::prepare;
use super::report::{LayerReport, Note, Report, SkippedNode};
use super::select::{
    Bias, IN_SUBGRAPHS, Role, check_patterns, is_per_channel, is_recurrent, nothing, select_in,
    wanted, wanted_names,
};
use crate::QuantError;
use crate::weight::{check_blocks, quantize_blocks, quantize_per_channel, quantize_per_tensor};
use compress_tensor::{DType, Granularity, Tensor};
use onnx_ir::graph::Use;
use onnx_ir::{Catalog, Graph, Model, Node, NodeId, ValueId};
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
        /// Weights per scale; a power of two of at least 16.
        block: usize,
    },
}

/// Why a node has no weight in blocks.
const NOT_IN_BLOCKS: &str =
    "4-bit weights and weights in blocks are for MatMul with a weight of rank 2 only";

/// Quantizes weights only; activations stay float.
///
/// # Errors
/// [`QuantizeError::Setting`] for `bits` and `block` that break their rule, [`QuantizeError`]; what could not be quantized of a model that could is listed in the report.
pub fn quantize_weights(
    model: &Model,
    weights: WeightOnlyConfig,
    config: &QuantizeConfig,
) -> Result<(Model, Report), QuantizeError> {
    let mode = match weights {
        WeightOnlyConfig::Int8 => Mode::Weights,
        WeightOnlyConfig::Blocks { .. } => Mode::Blocks,
    };
    config.validate_for(mode)?;
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
    quantize_graph(&mut model, weights, config, &mut report)?;
    if report.layers.is_empty() {
        return Err(nothing(&report.skipped));
    }
    onnx_ir::infer::infer_shapes(&mut model, Catalog::standard())?;
    record(&mut model, format!("weight-only {weights:?}"));
    report.bytes_after = stored_bytes(&model.graph);
    Ok((model, report))
}

/// Quantizes the main graph of `model` and the subgraphs of its nodes.
fn quantize_graph(
    model: &mut Model,
    weights: WeightOnlyConfig,
    config: &QuantizeConfig,
    report: &mut Report,
) -> Result<(), QuantizeError> {
    in_subgraphs(model, |inner| {
        quantize_graph(inner, weights, config, report)
    })?;
    if weights == WeightOnlyConfig::Int8 {
        captured(&mut model.graph, config, report)?;
    }
    let selection = select_in(model, config, Bias::Float)?;
    let handled = |s: &SkippedNode| s.reason == IN_SUBGRAPHS || RECURRENT.contains(&s.op.as_str());
    let others = selection.skipped.iter().filter(|s| !handled(s));
    report.skipped.extend(others.cloned());
    for &id in &selection.order {
        let Some(Role::Core {
            weight: Some(weight),
            ..
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
        let (sqnr_db, bytes_after) = match weights {
            WeightOnlyConfig::Int8 => {
                let at = (weight.input, w);
                let axis = is_per_channel(&node, tensor.rank()).then_some(weight.axis);
                int8(graph, id, at, axis, &tensor, config)?
            }
            WeightOnlyConfig::Blocks { .. } if !node.is("MatMul") || tensor.rank() != 2 => {
                report.skipped.push(SkippedNode {
                    node: name,
                    op: node.qualified_op(),
                    reason: NOT_IN_BLOCKS.to_owned(),
                });
                continue;
            }
            WeightOnlyConfig::Blocks { bits, block } => {
                let quantized = quantize_blocks(&tensor, bits, block).map_err(values)?;
                let data = tensor.data::<f32>().map_err(|e| values(e.into()))?;
                let sqnr = sqnr_db(&data, quantized.dequantize().map_err(values)?.into_iter());
                let bytes = quantized.codes.byte_len() + quantized.scales.byte_len();
                let q =
                    graph.add_initializer(&format!("{weight_name}_quantized"), quantized.codes)?;
                let scales =
                    graph.add_initializer(&format!("{weight_name}_scale"), quantized.scales)?;
                let &[k, n] = tensor.shape() else { continue };
                graph.remove_node(id);
                let new = Node::new("MatMulNBits", [x, q, scales], [y])
                    .in_domain("com.microsoft")
                    .named(name.clone())
                    .with("K", k as i64)
                    .with("N", n as i64)
                    .with("bits", bits as i64)
                    .with("block_size", block as i64);
                graph.add_node(new)?;
                model.opsets.set("com.microsoft", 1);
                (sqnr, bytes)
            }
        };
        drop_unread(&mut model.graph, [w]);
        report.layers.push(LayerReport {
            node: name,
            op: node.qualified_op(),
            weight_sqnr_db: Some(sqnr_db),
            bytes_before: tensor.byte_len(),
            bytes_after,
            ..LayerReport::default()
        });
    }
    for &id in &selection.order {
        if model.graph.get_node(id).is_some_and(is_recurrent) {
            recurrent(model, id, weights, config, report)?;
        }
    }
    Ok(())
}

/// Quantizes the weights `W` and `R` (`[directions, gates · hidden, …]`) of a recurrent node, one scale per row of a gate.
fn recurrent(
    model: &mut Model,
    id: NodeId,
    weights: WeightOnlyConfig,
    config: &QuantizeConfig,
    report: &mut Report,
) -> Result<(), QuantizeError> {
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
        let (sqnr, bytes) = int8(graph, id, (input, w), Some(1), &tensor, config)?;
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
    config: &QuantizeConfig,
    report: &mut Report,
) -> Result<(), QuantizeError> {
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
        let (layer_sqnr, bytes, codes) =
            int8_codes(graph, &name, &tensor, Some(tensor.rank() - 2), config)?;
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

/// Puts an int8 weight with its `DequantizeLinear` in front of a node; gives the weight's SQNR and bytes.
fn int8(
    graph: &mut Graph,
    id: NodeId,
    (input, weight): (usize, ValueId),
    axis: Option<usize>,
    tensor: &Tensor,
    config: &QuantizeConfig,
) -> Result<(f64, usize), QuantizeError> {
    let name = graph.name_of(weight).to_owned();
    let (sqnr, bytes, codes) = int8_codes(graph, &name, tensor, axis, config)?;
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

/// Quantizes a weight; gives its SQNR, its bytes and what was added.
fn int8_codes(
    graph: &mut Graph,
    name: &str,
    tensor: &Tensor,
    axis: Option<usize>,
    config: &QuantizeConfig,
) -> Result<(f64, usize, Codes), QuantizeError> {
    let values = |error: QuantError| QuantizeError::Values {
        tensor: name.to_owned(),
        error,
    };
    let quantized = match (config.weight_granularity, axis) {
        (WeightGranularity::PerChannel, Some(axis)) => {
            quantize_per_channel(tensor, axis, DType::I8, config.weight_rule)
        }
        _ => quantize_per_tensor(tensor, DType::I8, config.weight_rule),
    }
    .map_err(values)?;
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
