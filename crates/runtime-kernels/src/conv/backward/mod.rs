//! The adjoints of a convolution in f32, channels last: with respect to its image and to its weights.
//!
//! With `y[p, m] = sum over k, c of w[m, c, k] * x[p * stride + k * dilation - pad, c]` and an adjoint `dy` of `y`:
//!
//! * `dx[i, c] = sum over m, k, p of w[m, c, k] * dy[p, m]`, of all `p` and `k` with `p * stride + k * dilation - pad = i`
//!   ([`conv_input_grad`]);
//! * `dw[m, c, k] = sum over p of dy[p, m] * x[p * stride + k * dilation - pad, c]`, over all pixels of the batch
//!   ([`conv_weight_grad`]).
//!
//! Both are products whose operands are read where they stand, window by window (Chellapilla, Puri & Simard 2006, without the
//! matrix of patches).

mod input;
mod phase;
mod weight;

pub use input::conv_input_grad;
pub use weight::conv_weight_grad;
