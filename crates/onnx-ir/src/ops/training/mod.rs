//! One step of an optimizer: the `ai.onnx.preview.training` domain.

mod adagrad;
mod adam;
mod momentum;
pub mod step;

pub use adagrad::Adagrad;
pub use adam::Adam;
pub use momentum::{Momentum, MomentumMode};

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<Adagrad>(),
    OpEntry::of::<Adam>(),
    OpEntry::of::<Momentum>(),
];
