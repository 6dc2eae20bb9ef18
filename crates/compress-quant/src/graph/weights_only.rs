//! Weight-only quantization: small weights, float arithmetic.
//!
//! int8 per channel: `DequantizeLinear` in front of the operator, for any operator with a constant weight.
//! Blocks of 4 or 8 bits: `com.microsoft.MatMulNBits` in the place of `MatMul`.

use super::config::{QuantizeConfig, WeightGranularity};
use super::edit::{
    add_dequantize, add_params, drop_unread, node_name, record, sqnr_db, stored_bytes,
};
use super::error::QuantizeError;
use super::prepare::prepare;
use super::report::{LayerReport, Report, SkippedNode};
use super::select::{Role, select};
use crate::QuantError;
use crate::weight::{quantize_blocks, quantize_per_channel, quantize_per_tensor};
use compress_tensor::DType;
use onnx_ir::{Catalog, Model, Node};

/// How weights are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Quantizes weights only; activations stay float.
///
/// # Errors
/// [`QuantizeError`]; what could not be quantized of a model that could is listed in the report.
pub fn quantize_weights(
    model: &Model,
    weights: WeightOnlyConfig,
    config: &QuantizeConfig,
) -> Result<(Model, Report), QuantizeError> {
    let bytes_before = stored_bytes(&model.graph);
    let mut model = prepare(model)?;
    let selection = select(&model, config)?;
    let mut report = Report {
        skipped: selection.skipped.clone(),
        bytes_before,
        ..Report::default()
    };
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
        let data = tensor.data::<f32>().map_err(|e| values(e.into()))?;
        let (sqnr_db, bytes_after) = match weights {
            WeightOnlyConfig::Int8 => {
                let quantized = match config.weight_granularity {
                    WeightGranularity::PerChannel => {
                        quantize_per_channel(&tensor, weight.axis, DType::I8, config.weight_rule)
                    }
                    WeightGranularity::PerTensor => {
                        quantize_per_tensor(&tensor, DType::I8, config.weight_rule)
                    }
                }
                .map_err(values)?;
                let back = quantized
                    .params
                    .dequantize(&quantized.values)
                    .map_err(|e| values(e.into()))?;
                let sqnr = sqnr_db(&data, back.iter().copied());
                let bytes = quantized.values.byte_len() + quantized.params.scale.len() * 5;
                let q =
                    graph.add_initializer(&format!("{weight_name}_quantized"), quantized.values)?;
                let granularity = quantized.params.granularity;
                let params = add_params(graph, &weight_name, &quantized.params)?;
                let dequantized = add_dequantize(graph, &weight_name, q, params, granularity)?;
                graph.set_node_input(id, weight.input, Some(dequantized));
                (sqnr, bytes)
            }
            WeightOnlyConfig::Blocks { .. } if !node.is("MatMul") || tensor.rank() != 2 => {
                report.skipped.push(SkippedNode {
                    node: name,
                    op: node.qualified_op(),
                    reason: "blocks are for MatMul with a weight of rank 2".to_owned(),
                });
                continue;
            }
            WeightOnlyConfig::Blocks { bits, block } => {
                let quantized = quantize_blocks(&tensor, bits, block).map_err(values)?;
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
            input_sqnr_db: None,
            input_range: None,
            output_range: None,
            clipped_share: None,
            bytes_before: tensor.byte_len(),
            bytes_after,
        });
    }
    if report.layers.is_empty() {
        let reasons = report
            .skipped
            .iter()
            .take(5)
            .map(|s| format!("{}: {}", s.node, s.reason))
            .collect();
        return Err(QuantizeError::NothingToQuantize { reasons });
    }
    onnx_ir::infer::infer_shapes(&mut model, Catalog::standard())?;
    record(&mut model, format!("weight-only {weights:?}"));
    report.bytes_after = stored_bytes(&model.graph);
    Ok((model, report))
}
