//! Shared test support: the ONNX backend node tests, the runtimes that they judge, and what studies measure with.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod histogram;
pub mod node_tests;
pub mod random;
pub mod resident;

pub use onnx_ir::backend_tests::compare;
