//! ONNX as a typed graph: the contract of every modelpress step.
//!
//! * [`Model`] and [`graph::Graph`]: what a file holds, with uses and producers kept right;
//! * [`operator::Catalog`]: what operators mean, one file each under `ops/`;
//! * [`io`]: ONNX files, [`proto`] their wire format;
//! * [`schema`]: what the specification says of every operator;
//! * [`check`]: is a model valid;
//! * [`infer`]: element types, symbolic shapes, partially known values;
//! * [`dims`]: giving sizes to dimensions that a model leaves open;
//! * [`cost`]: parameters and multiply-accumulates;
//! * [`backend_tests`]: the tests that the ONNX project publishes;
//! * [`gradient`]: gradients as graphs;
//! * [`eval`]: the reference evaluator.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod backend_tests;
pub mod check;
pub mod cost;
pub mod dims;
pub mod eval;
pub mod fact;
pub mod functions;
pub mod gradient;
pub mod graph;
pub mod infer;
pub mod io;
mod model;
pub mod operator;
pub mod ops;
pub mod opset;
pub mod passes;
mod print;
pub mod proto;
pub mod rewrite;
pub mod schema;
pub mod symbolic;
mod value;

pub use fact::{Fact, TensorFact};
pub use graph::{Attribute, Graph, Node, NodeId, ValueId};
pub use model::{Function, Model, OpsetImports, canonical_domain};
pub use operator::Catalog;
pub use symbolic::Dim;
pub use value::Value;
