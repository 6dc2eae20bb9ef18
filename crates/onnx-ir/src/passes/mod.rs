//! Passes over the whole graph, and the pipeline that orders and records them.

mod dialect;
mod eliminate_identity;
mod fold_batch_norm;
mod fold_constants;
mod freeze_defaults;
mod fuse_activation;
mod fuse_attention;
mod fuse_gelu;
mod fuse_layer_norm;
mod fuse_linear;
mod pipeline;
mod remove_duplicates;
mod remove_unused;
mod widen_half;

pub use dialect::Dialect;
pub use eliminate_identity::EliminateIdentity;
pub use fold_batch_norm::FoldBatchNorm;
pub use fold_constants::FoldConstants;
pub use freeze_defaults::FreezeDefaults;
pub use fuse_activation::FuseActivation;
pub use fuse_attention::FuseAttention;
pub use fuse_gelu::FuseGelu;
pub use fuse_layer_norm::FuseLayerNorm;
pub use fuse_linear::FuseLinear;
pub use pipeline::{
    Form, Pass, PassContext, PassError, PassRecord, Pipeline, PipelineError, RewritePass,
};
pub use remove_duplicates::RemoveDuplicates;
pub use remove_unused::RemoveUnused;
pub use widen_half::WidenHalf;

/// The passes that make a model smaller and faster without changing what it computes, in their order.
///
/// # Errors
/// [`PipelineError`] cannot happen for this order; it is checked all the same.
pub fn simplify(dialect: Dialect) -> Result<Pipeline, PipelineError> {
    Pipeline::new(vec![
        Box::new(FoldConstants::default()),
        Box::new(RemoveDuplicates),
        Box::new(RewritePass::new(
            "eliminate-identity",
            vec![Box::new(EliminateIdentity)],
        )),
        Box::new(
            RewritePass::new("fold-batch-norm", vec![Box::new(FoldBatchNorm)])
                .giving(&[Form::BatchNormFolded]),
        ),
        Box::new(RewritePass::new(
            "fuse",
            vec![
                Box::new(FuseGelu { dialect }),
                Box::new(FuseLayerNorm),
                Box::new(FuseAttention),
                Box::new(FuseLinear),
                Box::new(FuseActivation { dialect }),
            ],
        )),
        Box::new(FoldConstants::default()),
        Box::new(RemoveUnused),
    ])
}
