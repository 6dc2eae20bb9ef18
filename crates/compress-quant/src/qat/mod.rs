//! Quantization-aware training at the array level: fake quantization with learned steps, and its gradients.
//!
//! `x' = (q - z) s` with `q = clamp(round(x / s) + z, q_min, q_max)`: what a code of `b` bits stands for after a number became one. A network is
//! trained with `x'` in the place of its weights `x` and activations; rounding has no useful derivative, and what stands for it
//! is what the methods differ in ([`StepMethod`]). Functions take `ndarray` views and give gradients of the input, of the steps and of the offsets, for use with any framework:
//!
//! ```
//! use compress_quant::qat::{CodeRange, FakeQuantizer, StepMethod};
//! use ndarray::arr1;
//!
//! // Weights in 4 bits with one step, trained as LSQ says.
//! let weights = arr1(&[0.31f32, -0.74, 0.05, 1.9]).into_dyn();
//! let quantizer = FakeQuantizer::new(CodeRange::signed(4)?, StepMethod::Lsq);
//! let step = [0.2f32];
//! let y = quantizer.forward(weights.view(), &step, None)?;
//! assert_eq!(y, arr1(&[2.0f32 * 0.2, -4.0 * 0.2, 0.0, 7.0 * 0.2]).into_dyn());
//!
//! let dy = arr1(&[1.0f32; 4]).into_dyn();
//! let gradient = quantizer.backward(dy.view(), weights.view(), &step, None)?;
//! // 1.9 lies outside of the range: the gradient goes to the step alone.
//! assert_eq!(gradient.input, arr1(&[1.0f32, 1.0, 1.0, 0.0]).into_dyn());
//! assert!((gradient.step[0] - 6.9 / 28f32.sqrt()).abs() < 1e-5); // 4 numbers share it, Q_P = 7
//! # Ok::<(), compress_quant::QuantError>(())
//! ```
//!
//! With feature `graph`, `graph::qat` does this to whole ONNX models.

mod fake;
mod initial;
mod range;

pub use fake::{FakeQuantizer, Gradient, StepMethod};
pub use initial::{least_squares_step, mean_step};
pub use range::CodeRange;
#[cfg(feature = "graph")]
pub(crate) use range::check as check_bits;
