//! The fused float operators that ONNX Runtime's optimizer writes into the `com.microsoft` domain.

pub mod activation;
mod bias_gelu;
pub mod biased;
mod embed_layer_normalization;
mod fast_gelu;
mod fused_conv;
mod fused_gemm;
mod fused_matmul;
mod gelu;
mod quick_gelu;
pub mod residual_norm;
mod simplified_layer_normalization;
mod skip_layer_normalization;
mod skip_simplified_layer_normalization;

pub use bias_gelu::BiasGelu;
pub use embed_layer_normalization::EmbedLayerNormalization;
pub use fast_gelu::FastGelu;
pub use fused_conv::{FusedConv, NhwcConv, NhwcFusedConv};
pub use fused_gemm::FusedGemm;
pub use fused_matmul::{FusedMatMul, Orientation};
pub use gelu::MicrosoftGelu;
pub use quick_gelu::QuickGelu;
pub use simplified_layer_normalization::SimplifiedLayerNormalization;
pub use skip_layer_normalization::SkipLayerNormalization;
pub use skip_simplified_layer_normalization::SkipSimplifiedLayerNormalization;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<BiasGelu>(),
    OpEntry::of::<EmbedLayerNormalization>(),
    OpEntry::of::<FastGelu>(),
    OpEntry::of::<FusedConv>(),
    OpEntry::of::<FusedGemm>(),
    OpEntry::of::<FusedMatMul>(),
    OpEntry::of::<MicrosoftGelu>(),
    OpEntry::of::<NhwcConv>(),
    OpEntry::of::<NhwcFusedConv>(),
    OpEntry::of::<QuickGelu>(),
    OpEntry::of::<SimplifiedLayerNormalization>(),
    OpEntry::of::<SkipLayerNormalization>(),
    OpEntry::of::<SkipSimplifiedLayerNormalization>(),
];
