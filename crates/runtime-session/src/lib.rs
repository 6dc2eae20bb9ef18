//! Runs ONNX models on the CPU.
//!
//! A [`Session`] is a model made ready to run: constants are folded, nodes are bound to kernels (several nodes to
//! one where a fused kernel exists), buffers are reused as soon as a value is dead, and shape arithmetic is
//! resolved once per set of input shapes. What has no fast kernel runs by the operator's reference evaluation,
//! so every model that [`onnx_ir::eval::Evaluator`] runs, a session runs.
//!
//! ```
//! use compress_tensor::{DType, Tensor};
//! use onnx_ir::{Fact, Graph, Model, Node};
//! use runtime_session::{Session, SessionOptions};
//!
//! let mut graph = Graph::new("doubling");
//! let x = graph.add_value("x", Fact::tensor(DType::F32, [3usize]))?;
//! let y = graph.add_value("y", Fact::Unknown)?;
//! graph.add_input(x);
//! graph.add_node(Node::new("Add", [x, x], [y]))?;
//! graph.add_output(y);
//!
//! let session = Session::new(Model::new(graph, 17), &SessionOptions::default())?;
//! let outputs = session.run(&[("x", Tensor::vector(vec![1.0f32, 2.0, 3.0]))])?;
//! assert_eq!(outputs[0].as_slice::<f32>()?, [2.0, 4.0, 6.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod bindings;
mod error;
mod execute;
mod measure;
mod memory;
mod options;
mod plan;
mod profile;
pub mod roofline;
mod session;
mod step;
mod tune;
mod turns;
mod weights;

pub use error::{SessionError, StepError};
pub use measure::{Latency, MeasureOptions, measure};
pub use options::{OptimizationLevel, SessionOptions, TapOrder};
pub use profile::{Profile, ProfileRow, TraceEvent};
pub use runtime_kernels::{Isa, Parallelism};
pub use session::Session;
pub use tune::{Autotune, TunedStep, Tuning};
