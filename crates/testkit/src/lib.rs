//! Shared test support: the ONNX backend node tests and the runtimes that they judge.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod node_tests;

pub use onnx_ir::backend_tests::compare;
