//! Quantizing weights: per tensor, per channel, in blocks; to the nearest codes, or to those that change the outputs least.

mod blocks;
mod channels;
mod moments;
mod product;
mod rounding;

#[cfg(feature = "graph")]
pub(crate) use blocks::check_blocks;
pub use blocks::{BlockQuantized, quantize_blocks};
pub use channels::{QuantizedWeight, WeightRule, quantize_per_channel, quantize_per_tensor};
pub(crate) use channels::{positive, steps_of};
pub use moments::InputMoments;
pub use rounding::{
    MeanError, Rounded, RoundedBlocks, RoundingOptions, round_blocks_to_inputs, round_to_inputs,
};
