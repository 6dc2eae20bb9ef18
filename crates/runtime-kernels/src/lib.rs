//! CPU kernels on slices: GEMM, convolution, pooling, elementwise, normalisation, recurrent layers, in f32 and
//! exact int8, chosen at run time per instruction set.
//!
//! Every kernel takes a [`Context`] (instruction set and threads), slices, and a configuration;
//! it checks the shapes once, returns a [`KernelError`] rather than panic, and gives the same
//! numbers at any thread count. Integer kernels give the same bits on every instruction set.
//!
//! Algorithms are written once over a vector trait; one file per instruction set under `isa`
//! implements it. `unsafe` code is confined to those files, their dispatch, the cutting of a
//! result into disjoint tiles for threads, and the lending of a job to them.
#![deny(missing_docs)]

pub mod attention;
mod context;
pub mod conv;
pub mod elementwise;
mod error;
pub mod gemm;
pub mod isa;
pub mod layout;
mod matrix;
pub mod norm;
mod pages;
pub mod pool;
pub mod quantized;
pub mod recurrent;
pub mod table;
mod threads;

pub use context::{Context, Scratch};
pub use error::KernelError;
pub use isa::Isa;
pub use matrix::MatRef;
pub use threads::{Caller, Parallelism};
