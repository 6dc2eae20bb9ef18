//! The common tensor crate of modelpress.
//!
//! A [`Tensor`] is an element type, a shape and contiguous C-order data that is either
//! shared ([`std::sync::Arc`]) or a window into a memory map ([`map_file`]). Around it stand what
//! every user of tensors needs and nothing that knows an operator or a graph:
//!
//! * [`Tensor::cast`] between all element types, [`Tensor::pack_ints`] for those that share bytes;
//! * [`QuantParams`], the one description of how a quantized tensor stands for real numbers;
//! * [`metrics`], how far two arrays are apart;
//! * files: [`npy`], `npz` and `safetensors` (each behind the feature of its name, on by default),
//!   and [`write_atomically`].
#![deny(missing_docs, unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("tensor data is viewed in place as the little-endian bytes of ONNX files");

mod atomic;
mod convert;
mod dtype;
mod element;
mod error;
mod float8;
pub mod metrics;
mod mmap;
pub mod npy;
#[cfg(feature = "npz")]
pub mod npz;
mod packed;
mod quant_params;
#[cfg(feature = "safetensors")]
pub mod safetensors;
mod shape;
mod storage;
mod tensor;

pub use atomic::write_atomically;
pub use bytes::Bytes;
pub use convert::CastOptions;
pub use dtype::DType;
pub use element::Element;
pub use error::TensorError;
pub use float8::{
    E8M0Rounding, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0, Overflow, f4e2m1_from_f64,
    f4e2m1_to_f32,
};
pub use mmap::map_file;
pub use quant_params::{Granularity, QuantParams, QuantParamsError, RangeRule};
pub use shape::Shape;
pub use tensor::{Tensor, element_count};
