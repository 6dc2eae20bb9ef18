//! Quantization, after training and while training.
//!
//! Array level, of use with any framework: [`observer`] gathers statistics of fixed size and chooses
//! ranges, [`quantize_per_channel`] and [`quantize_blocks`] quantize weights, [`qat`] trains through rounding. Graph level (feature `graph`):
//! calibration and the quantization of whole ONNX models.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod error;
#[cfg(feature = "graph")]
pub mod graph;
pub mod observer;
pub mod qat;
mod weight;

pub use compress_tensor::{DType, Granularity, QuantParams, RangeRule, Tensor};
pub use error::QuantError;
pub use observer::{Method, Range, TensorStats};
pub use weight::{
    BlockQuantized, InputMoments, MeanError, QuantizedWeight, Rounded, RoundedBlocks,
    RoundingOptions, WeightRule, quantize_blocks, quantize_per_channel, quantize_per_tensor,
    round_blocks_to_inputs, round_to_inputs,
};
