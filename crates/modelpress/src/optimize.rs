//! The standard optimization: the passes of [`crate::ir::passes`] in their order.

use crate::ir::dims::{DimError, fix_dims};
use crate::ir::passes::{
    EliminateIdentity, FoldBatchNorm, FoldConstants, Form, FreezeDefaults, Pass, PassError,
    PassRecord, Pipeline, RemoveDuplicates, RemoveUnused, RewritePass,
};
use crate::ir::{Catalog, Model};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the standard optimization may change of a model's inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct OptimizeOptions {
    /// Sizes of dimensions that the inputs leave open, by symbol or by `INPUT:AXIS`; see [`fix_dims`].
    pub dims: BTreeMap<String, usize>,
    /// What becomes of inputs that have a default.
    pub defaults: Defaults,
}

/// What becomes of inputs that have a default, as old files list all weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Defaults {
    /// They become constants, so that passes may fold them; a caller can no longer replace them.
    #[default]
    Freeze,
    /// They stay inputs, and what they feed is not folded.
    Keep,
}

/// Why a model cannot be optimized.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptimizeError {
    /// A size was given to a dimension that is not open.
    #[error(transparent)]
    Dim(#[from] DimError),
    /// A pass failed.
    #[error(transparent)]
    Pass(#[from] PassError),
}

/// Fixes sizes, infers shapes, folds constants and batch normalization, removes what does nothing, is there twice or is
/// not read. Float rounding alone may change; inputs change as `options` say, outputs stay.
///
/// # Errors
/// [`OptimizeError`]; the model may then be half changed.
pub fn optimize(
    model: &mut Model,
    options: &OptimizeOptions,
) -> Result<Vec<PassRecord>, OptimizeError> {
    let sizes = options.dims.iter();
    fix_dims(model, sizes.map(|(name, &size)| (name.as_str(), size)))?;
    let mut passes: Vec<Box<dyn Pass>> = Vec::new();
    if options.defaults == Defaults::Freeze {
        passes.push(Box::new(FreezeDefaults));
    }
    let folding: Vec<Box<dyn Pass>> = vec![
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
    passes.extend(folding);
    let records = match Pipeline::new(passes) {
        Ok(pipeline) => pipeline.run(model, Catalog::standard())?,
        // None of these passes needs a form besides known shapes.
        Err(_) => Vec::new(),
    };
    model.raise_ir_version();
    Ok(records)
}
