//! Gradients that the standard's operators do not express well, in the domain
//! [`PRIVATE_DOMAIN`](crate::operator::PRIVATE_DOMAIN). Gradient graphs are built from these and from operators of the standard.
//!
//! Their inputs come in one order: the adjoints of the forward operator's outputs, then its inputs and outputs as
//! far as they are needed, and shapes (i64 vectors) of what only the shape is needed of. Adjoints are called `dx` for `x`.

mod attention_grad;
mod batch_normalization_grad;
mod convolution;
mod cum_prod_grad;
mod gather_grad;
mod gelu_grad;
mod group_normalization_grad;
mod lane_normalization_grad;
mod learned_fake_quantize_grad;
mod likelihood_grad;
mod lrn_grad;
mod pooling;
mod quantization;
mod recurrent;
mod reduce_to_shape;
mod relu_grad;
mod resize_grad;
mod scatter_add;
mod shaped;
mod softmax_grad;

pub use attention_grad::AttentionGrad;
pub use batch_normalization_grad::BatchNormalizationGrad;
pub use convolution::{
    ConvInputGrad, ConvTransposeInputGrad, ConvTransposeWeightGrad, ConvWeightGrad,
};
pub use cum_prod_grad::CumProdGrad;
pub use gather_grad::GatherGrad;
pub use gelu_grad::GeluGrad;
pub use group_normalization_grad::GroupNormalizationGrad;
pub use lane_normalization_grad::{LayerNormalizationGrad, RmsNormalizationGrad};
pub use learned_fake_quantize_grad::LearnedFakeQuantizeGrad;
pub use likelihood_grad::{NegativeLogLikelihoodLossGrad, SoftmaxCrossEntropyLossGrad};
pub use lrn_grad::LrnGrad;
pub use pooling::{AveragePoolGrad, GlobalMaxPoolGrad, LpPoolGrad, MaxPoolGrad};
pub use quantization::{DequantizeLinearGrad, FakeQuantizeGrad, QuantizeLinearGrad, QuantizedAxis};
pub use recurrent::{GruGrad, LstmGrad, RnnGrad};
pub use reduce_to_shape::ReduceToShape;
pub use relu_grad::ReluGrad;
pub use resize_grad::ResizeGrad;
pub use scatter_add::ScatterAdd;
pub use softmax_grad::{LogSoftmaxGrad, SoftmaxGrad};

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<AttentionGrad>(),
    OpEntry::of::<AveragePoolGrad>(),
    OpEntry::of::<BatchNormalizationGrad>(),
    OpEntry::of::<ConvInputGrad>(),
    OpEntry::of::<ConvTransposeInputGrad>(),
    OpEntry::of::<ConvTransposeWeightGrad>(),
    OpEntry::of::<ConvWeightGrad>(),
    OpEntry::of::<CumProdGrad>(),
    OpEntry::of::<DequantizeLinearGrad>(),
    OpEntry::of::<FakeQuantizeGrad>(),
    OpEntry::of::<GatherGrad>(),
    OpEntry::of::<GeluGrad>(),
    OpEntry::of::<GlobalMaxPoolGrad>(),
    OpEntry::of::<GroupNormalizationGrad>(),
    OpEntry::of::<GruGrad>(),
    OpEntry::of::<LayerNormalizationGrad>(),
    OpEntry::of::<LearnedFakeQuantizeGrad>(),
    OpEntry::of::<LogSoftmaxGrad>(),
    OpEntry::of::<LpPoolGrad>(),
    OpEntry::of::<LrnGrad>(),
    OpEntry::of::<LstmGrad>(),
    OpEntry::of::<MaxPoolGrad>(),
    OpEntry::of::<NegativeLogLikelihoodLossGrad>(),
    OpEntry::of::<QuantizeLinearGrad>(),
    OpEntry::of::<ReduceToShape>(),
    OpEntry::of::<ReluGrad>(),
    OpEntry::of::<ResizeGrad>(),
    OpEntry::of::<RmsNormalizationGrad>(),
    OpEntry::of::<RnnGrad>(),
    OpEntry::of::<ScatterAdd>(),
    OpEntry::of::<SoftmaxCrossEntropyLossGrad>(),
    OpEntry::of::<SoftmaxGrad>(),
];
