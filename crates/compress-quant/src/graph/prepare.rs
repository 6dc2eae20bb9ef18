//! The form that quantization works on.

use super::error::QuantizeError;
use onnx_ir::passes::{
    EliminateIdentity, FoldBatchNorm, FoldConstants, Form, FreezeDefaults, FuseLinear, Pipeline,
    RemoveUnused, RewritePass,
};
use onnx_ir::{Catalog, Graph, Model};

/// The opset from which on `DequantizeLinear` takes scales per channel.
pub(super) const MIN_OPSET: i64 = 13;

/// Freezes weights that are listed as inputs, folds constants and batch normalization, removes what does nothing, raises the opset to 13, infers shapes.
/// Names of tensors stay, and preparing a prepared model changes nothing: statistics of either serve the other.
///
/// # Errors
/// [`QuantizeError::AlreadyQuantized`], [`QuantizeError::Opset`], [`QuantizeError::Pass`],
/// [`QuantizeError::Pipeline`].
pub fn prepare(model: &Model) -> Result<Model, QuantizeError> {
    if let Some(node) = quantized_node(&model.graph) {
        return Err(QuantizeError::AlreadyQuantized { node });
    }
    let mut model = model.clone();
    // Old files list weights among the inputs, where a caller could replace them: quantization freezes them.
    FreezeDefaults::apply(&mut model);
    let opset = model.opset();
    if opset < MIN_OPSET {
        onnx_ir::opset::convert(&mut model, MIN_OPSET, Catalog::standard()).map_err(|e| {
            QuantizeError::Opset {
                found: opset,
                needed: MIN_OPSET,
                reason: e.to_string(),
            }
        })?;
    }
    let passes: Vec<Box<dyn onnx_ir::passes::Pass>> = vec![
        Box::new(FoldConstants::default()),
        Box::new(RewritePass::new(
            "simplify",
            vec![Box::new(EliminateIdentity), Box::new(FuseLinear)],
        )),
        Box::new(
            RewritePass::new("fold-batch-norm", vec![Box::new(FoldBatchNorm)])
                .giving(&[Form::BatchNormFolded]),
        ),
        Box::new(RemoveUnused),
    ];
    Pipeline::new(passes)?.run(&mut model, Catalog::standard())?;
    Ok(model)
}

/// The first node, here or in a subgraph, that works on quantized values.
fn quantized_node(graph: &Graph) -> Option<String> {
    let quantized = |op: &str| {
        matches!(
            op,
            "QuantizeLinear"
                | "DequantizeLinear"
                | "DynamicQuantizeLinear"
                | "ConvInteger"
                | "MatMulInteger"
                | "FakeQuantizeBias"
                | "LearnedFakeQuantize"
        ) || op.starts_with("QLinear")
    };
    graph.nodes().find_map(|(id, node)| {
        if quantized(&node.op_type) {
            return Some(graph.describe(id));
        }
        node.attributes.graphs().find_map(|g| quantized_node(g))
    })
}
