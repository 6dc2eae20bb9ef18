//! Activations and softmaxes.

mod celu;
mod elu;
mod gelu;
mod hard_sigmoid;
mod hard_swish;
mod hardmax;
mod leaky_relu;
pub(crate) mod log_softmax;
mod mish;
mod prelu;
mod relu;
mod selu;
mod shrink;
pub(crate) mod sigmoid;
pub(crate) mod softmax;
pub mod softmax_axis;
pub(crate) mod softplus;
mod softsign;
mod swiglu;
pub(super) mod swish;
mod tanh;
mod thresholded_relu;

pub use celu::Celu;
pub use elu::Elu;
pub use gelu::{Gelu, GeluForm};
pub use hard_sigmoid::HardSigmoid;
pub use hard_swish::HardSwish;
pub use hardmax::Hardmax;
pub use leaky_relu::LeakyRelu;
pub use log_softmax::LogSoftmax;
pub use mish::Mish;
pub use prelu::PRelu;
pub use relu::Relu;
pub use selu::Selu;
pub use shrink::Shrink;
pub use sigmoid::Sigmoid;
pub use softmax::Softmax;
pub use softplus::Softplus;
pub use softsign::Softsign;
pub use swiglu::SwiGlu;
pub use swish::Swish;
pub use tanh::Tanh;
pub use thresholded_relu::ThresholdedRelu;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<Celu>(),
    OpEntry::of::<Elu>(),
    OpEntry::of::<Gelu>(),
    OpEntry::of::<HardSigmoid>(),
    OpEntry::of::<HardSwish>(),
    OpEntry::of::<Hardmax>(),
    OpEntry::of::<LeakyRelu>(),
    OpEntry::of::<LogSoftmax>(),
    OpEntry::of::<Mish>(),
    OpEntry::of::<PRelu>(),
    OpEntry::of::<Relu>(),
    OpEntry::of::<Selu>(),
    OpEntry::of::<Shrink>(),
    OpEntry::of::<Sigmoid>(),
    OpEntry::of::<Softmax>(),
    OpEntry::of::<Softplus>(),
    OpEntry::of::<Softsign>(),
    OpEntry::of::<SwiGlu>(),
    OpEntry::of::<Swish>(),
    OpEntry::of::<Tanh>(),
    OpEntry::of::<ThresholdedRelu>(),
];
