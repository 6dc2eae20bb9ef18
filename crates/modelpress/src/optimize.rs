//! The standard optimization: the passes of [`crate::ir::passes`] in their order.

use crate::ir::passes::{
    EliminateIdentity, FoldBatchNorm, FoldConstants, Form, Pass, PassError, PassRecord, Pipeline,
    RemoveDuplicates, RemoveUnused, RewritePass,
};
use crate::ir::{Catalog, Model};

/// Infers shapes, folds constants and batch normalization, removes what does nothing, is there twice or is not
/// read. Float rounding alone may change; inputs and outputs stay.
///
/// # Errors
/// [`PassError`]; the model may then be half changed.
pub fn optimize(model: &mut Model) -> Result<Vec<PassRecord>, PassError> {
    let passes: Vec<Box<dyn Pass>> = vec![
        Box::new(FoldConstants::default()),
        Box::new(RewritePass::new(
            "eliminate-identity",
            vec![Box::new(EliminateIdentity)],
        )),
        Box::new(
            RewritePass::new("fold-batch-norm", vec![Box::new(FoldBatchNorm)])
                .giving(&[Form::BatchNormFolded]),
        ),
        Box::new(RemoveDuplicates),
        Box::new(RemoveUnused),
    ];
    match Pipeline::new(passes) {
        Ok(pipeline) => pipeline.run(model, Catalog::standard()),
        // None of these passes needs a form besides known shapes.
        Err(_) => Ok(Vec::new()),
    }
}
