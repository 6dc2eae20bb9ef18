//! The form that quantization works on.

use super::error::QuantizeError;
use onnx_ir::passes::{
    EliminateIdentity, FoldBatchNorm, FoldConstants, Form, FuseLinear, Pipeline, RemoveUnused,
    RewritePass,
};
use onnx_ir::{Catalog, Model};

/// The opset from which on `DequantizeLinear` takes scales per channel.
pub(super) const MIN_OPSET: i64 = 13;

/// Freezes weights that are listed as inputs, folds constants and batch normalization, removes what does nothing, raises the opset to 13, infers shapes.
/// Names of tensors stay, so statistics of the prepared model serve the original too.
///
/// # Errors
/// [`QuantizeError::AlreadyQuantized`], [`QuantizeError::Opset`], [`QuantizeError::Pass`].
pub fn prepare(model: &Model) -> Result<Model, QuantizeError> {
    let graph = &model.graph;
    let quantized = |op: &str| {
        matches!(
            op,
            "QuantizeLinear"
                | "DequantizeLinear"
                | "DynamicQuantizeLinear"
                | "ConvInteger"
                | "MatMulInteger"
        ) || op.starts_with("QLinear")
    };
    if let Some((id, _)) = graph.nodes().find(|(_, n)| quantized(&n.op_type)) {
        return Err(QuantizeError::AlreadyQuantized {
            node: graph.describe(id),
        });
    }
    let mut model = model.clone();
    // Old files list weights among the inputs, where a caller could replace them: quantization freezes them.
    let fed = model.graph.required_inputs().collect();
    model.graph.set_inputs(fed);
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
    // The order is fixed and every form that is needed holds from the start.
    let Ok(pipeline) = Pipeline::new(passes) else {
        return Ok(model);
    };
    pipeline.run(&mut model, Catalog::standard())?;
    Ok(model)
}
