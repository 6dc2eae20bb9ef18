//! Quantization-aware training of whole ONNX models.
//!
//! [`prepare_qat`] folds batch normalizations, chooses ranges as static quantization does, and puts a `LearnedFakeQuantize`
//! (domain `modelpress`) at each place where a quantized file has a `QuantizeLinear` and a `DequantizeLinear`. What comes out is a float
//! model whose steps are initializers: any trainer that trains ONNX files trains it, with any loss. [`export_qat`] writes for each of
//! these nodes the pair that it is, to the bit, and integers in the place of weights.
//!
//! ```text
//! w ─ LearnedFakeQuantize ─┐                 w_quantized ─ DequantizeLinear ─┐
//! x ─ LearnedFakeQuantize ─ Conv ─   ───►    x ─ QuantizeLinear ─ (Clip) ─ DequantizeLinear ─ Conv ─
//! b ─ FakeQuantizeBias ────┘                 b_quantized ─ DequantizeLinear ─┘
//! ```
//!
//! Codes of fewer than 8 bits stand in 8-bit tensors: runtimes have integer kernels for these, and for no others. Weights simply take fewer of
//! the codes; behind the `QuantizeLinear` of an activation an integer `Clip` cuts off what lies beyond.
//!
//! Activations that no weighted layer reads (such as both sides of a residual sum) and the model's inputs keep 8 bits, unless
//! [`QatConfig::layers`] says otherwise: they cost no multiplication.

mod bits;
mod config;
mod export;
mod prepare;
mod ranges;
mod report;

pub use config::{LayerBits, QatConfig};
pub use export::{ExportReport, export_qat};
pub use prepare::prepare_qat;
pub use report::{QatLayer, QatReport};

/// Where the model's metadata hold the target that it is trained for.
const TARGET: &str = "modelpress.qat.target";
/// The operator that stands for a pair while it is trained.
const OPERATOR: &str = "LearnedFakeQuantize";
/// The operator that stands for an int32 bias while it is trained.
const BIAS_OPERATOR: &str = "FakeQuantizeBias";
