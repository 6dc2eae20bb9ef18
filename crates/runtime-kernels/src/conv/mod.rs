//! Convolution of one, two or three spatial dimensions, in `f32` and exact int8.
//!
//! Each is a matrix product with packed weights. Channels last, the other operand is the image
//! itself, read window by window; channels first, patches are cut from it as the product asks for
//! them (no patch matrix is stored). Depthwise weights have direct loops of their own, and `f32` images with 3 x 3
//! taps may be convolved by fewer products ([`WinogradTile`]), with large windows by the fast Fourier transform ([`FftTile`]). Convolutions one behind the other run
//! together ([`conv_stages`]), so that the images between them stay in the cache.

mod backward;
mod bands;
mod depthwise;
mod depthwise_bytes;
mod depthwise_last;
mod depthwise_rows;
mod depthwise_tiles;
mod fft;
mod filters;
mod float;
mod fresh;
mod groups;
mod image;
mod int8;
mod int8_weights;
mod patches;
mod shape;
mod winograd;

pub use backward::{conv_input_grad, conv_weight_grad};
pub use bands::{
    BAND_BYTES, ConvStage, Int8ConvStage, MAX_STAGES, conv_int8_stages, conv_int8_stages_within,
    conv_stages, conv_stages_within,
};
pub use fft::FftTile;
pub use float::{ConvEpilogue, PackedConvF32, conv};
pub use fresh::{ConvSums, conv_packing_weights};
pub use int8::conv_int8;
pub use int8_weights::{Int8Input, PackedConvInt8};
pub use shape::{ConvParams, ConvShape, Layout};
pub use winograd::WinogradTile;

pub(crate) use fresh::FreshWeights;
