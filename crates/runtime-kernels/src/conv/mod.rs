//! Convolution of one, two or three spatial dimensions, in `f32` and exact int8.
//!
//! Each is a matrix product with packed weights whose other operand is cut from the image as the
//! product asks for it (no patch matrix is stored), or, for depthwise weights, a direct loop.

mod depthwise;
mod float;
mod int8;
mod patches;
mod shape;

pub use float::{ConvEpilogue, PackedConvF32, conv};
pub use int8::{Int8Input, PackedConvInt8, conv_int8};
pub use shape::{ConvParams, ConvShape, Layout};
