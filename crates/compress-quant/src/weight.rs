//! Quantizing weights: per tensor, per channel, in blocks.

mod blocks;
mod channels;

pub use blocks::{BlockQuantized, quantize_blocks};
pub use channels::{QuantizedWeight, WeightRule, quantize_per_channel, quantize_per_tensor};
