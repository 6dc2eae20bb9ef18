//! Reductions, softmax and normalisations.

mod batch;
mod layer;
mod reduce;
mod softmax;

pub use batch::{affine_channels, group_norm};
pub use layer::{layer_norm, rms_norm};
pub use reduce::{Reduce, reduce};
pub(crate) use reduce::{accumulate, exponentials};
pub use softmax::{Softmax, softmax};
