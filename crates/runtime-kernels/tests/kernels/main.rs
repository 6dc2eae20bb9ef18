//! Kernels against their definitions, on every instruction set and by one and several threads.
//!
//! One program: kernels that are generic over their epilogue are compiled into it once.

mod attention;
mod backward;
mod conv;
mod conv_backward;
mod depthwise_bytes;
mod elementwise;
mod fake_quantize;
mod fft;
mod gemm;
mod half;
mod nbits;
mod norm_pool;
mod quantized;
mod recurrent;
mod refusals;
mod winograd;
