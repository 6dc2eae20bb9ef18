//! Reductions, softmax and normalisations.

mod backward;
mod batch;
mod channels;
mod layer;
mod reduce;
mod rows_backward;
mod softmax;

pub use backward::{Statistics, batch_norm_grad, batch_norm_training, channel_sums};
pub use batch::{affine_channels, group_norm};
pub use layer::{layer_norm, rms_norm};
pub use reduce::{Reduce, reduce};
pub(crate) use reduce::{accumulate, exponentials};
pub use rows_backward::{Centre, layer_norm_grad, softmax_grad};
pub use softmax::{Softmax, softmax};
