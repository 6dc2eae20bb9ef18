//! Quantization: `QuantizeLinear`, `DequantizeLinear` and the operators that work on integers.
//!
//! Arithmetic is that of ONNX Runtime's CPU kernels, bit for bit (see [`rounding`]).

mod conv_integer;
mod dequantize_linear;
pub mod dynamic_quantize_linear;
mod dynamic_quantize_matmul;
mod fake_quantize_bias;
pub mod integer_matmul;
mod learned_fake_quantize;
mod matmul_integer;
pub mod matmul_integer_to_float;
mod matmul_nbits;
mod microsoft;
mod qgemm;
mod qlinear_conv;
mod qlinear_matmul;
mod quantize_linear;
pub mod rounding;
pub mod spread;

pub use conv_integer::ConvInteger;
pub use dequantize_linear::DequantizeLinear;
pub use dynamic_quantize_linear::DynamicQuantizeLinear;
pub use dynamic_quantize_matmul::DynamicQuantizeMatMul;
pub use fake_quantize_bias::FakeQuantizeBias;
pub use learned_fake_quantize::{LearnedFakeQuantize, LearnedGrid, LearnedGrids, LearnedMethod};
pub use matmul_integer::MatMulInteger;
pub use matmul_integer_to_float::MatMulIntegerToFloat;
pub use matmul_nbits::MatMulNBits;
pub use microsoft::{MicrosoftDequantizeLinear, MicrosoftQuantizeLinear};
pub use qgemm::QGemm;
pub use qlinear_conv::{MicrosoftQLinearConv, QLinearConv};
pub use qlinear_matmul::QLinearMatMul;
pub use quantize_linear::QuantizeLinear;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<ConvInteger>(),
    OpEntry::of::<DequantizeLinear>(),
    OpEntry::of::<DynamicQuantizeLinear>(),
    OpEntry::of::<DynamicQuantizeMatMul>(),
    OpEntry::of::<FakeQuantizeBias>(),
    OpEntry::of::<LearnedFakeQuantize>(),
    OpEntry::of::<MatMulInteger>(),
    OpEntry::of::<MatMulIntegerToFloat>(),
    OpEntry::of::<MatMulNBits>(),
    OpEntry::of::<MicrosoftDequantizeLinear>(),
    OpEntry::of::<MicrosoftQLinearConv>(),
    OpEntry::of::<MicrosoftQuantizeLinear>(),
    OpEntry::of::<QGemm>(),
    OpEntry::of::<QLinearConv>(),
    OpEntry::of::<QLinearMatMul>(),
    OpEntry::of::<QuantizeLinear>(),
];
