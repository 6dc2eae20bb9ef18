//! Recurrent layers.

mod activation;
mod backward;
mod gru;
mod layer;
mod lstm;
mod rnn;

pub use activation::Activation;
pub use gru::Gru;
pub use layer::{Directions, Layer, Layout};
pub use lstm::Lstm;
pub use rnn::Rnn;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<Gru>(),
    OpEntry::of::<Lstm>(),
    OpEntry::of::<Rnn>(),
];
