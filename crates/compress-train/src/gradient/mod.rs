//! What happens to gradients between the backward pass and the optimizer: accumulation and clipping.

mod accumulate;
mod clip;

pub use accumulate::{Accumulator, AccumulatorError};
pub use clip::{clip_by_norm, clip_by_value, global_norm};
