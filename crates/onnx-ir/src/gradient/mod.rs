//! Reverse-mode differentiation: a model becomes one that also computes gradients.
//!
//! [`gradient`] adds to a model's graph the nodes that compute `d loss / d value` for named values (trainable
//! initializers, inputs, or anything between). Each operator's own file says how adjoints flow through it
//! ([`crate::operator::Gradient`]); the nodes are of the ONNX standard where it can say it, else of the private domain
//! [`crate::operator::PRIVATE_DOMAIN`] (`ops/backward`). Only nodes on a path from such a value to a loss are gone through: what is
//! frozen costs nothing. Symbolic sizes stay symbolic. [`training_mode`] comes first where a model has batch normalisations or
//! dropouts: it makes them train. [`recompute()`] afterwards trades work for memory.
//!
//! ```
//! use onnx_ir::gradient::{GradientRequest, gradient};
//! use onnx_ir::{Catalog, Fact, Graph, Model, Node};
//! use compress_tensor::{DType, Tensor};
//!
//! // loss = sum(x * w): d loss / d w = x
//! let mut g = Graph::new("g");
//! let x = g.add_value("x", Fact::tensor(DType::F32, [2usize])).unwrap();
//! g.add_input(x);
//! let w = g.add_initializer("w", Tensor::vector(vec![1f32, 2.0])).unwrap();
//! let (y, loss) = (g.add_value("y", Fact::Unknown).unwrap(), g.add_value("loss", Fact::Unknown).unwrap());
//! g.add_node(Node::new("Mul", [x, w], [y])).unwrap();
//! g.add_node(Node::new("ReduceSum", [y], [loss]).with("keepdims", 0i64)).unwrap();
//! g.add_output(loss);
//! let model = Model::new(g, 17);
//!
//! let request = GradientRequest::of(["loss"], ["w"]);
//! let (trained, report) = gradient(&model, &request, Catalog::standard()).unwrap();
//! assert_eq!(report.gradients[0].output, "grad/w");
//! assert_eq!(trained.graph.outputs().len(), 2);
//! ```

mod activity;
mod builder;
mod context;
mod driver;
mod error;
mod recompute;
mod training_mode;
mod var;

pub use builder::GraphBuilder;
pub use context::GradientContext;
pub use driver::{
    GradientOutput, GradientReport, GradientRequest, Loss, Seed, Unreached, gradient,
};
pub use error::GradientError;
pub use recompute::{ActivationBudget, RecomputeReport, recompute};
pub use training_mode::{RunningStatistic, TrainingMode, TrainingModeReport, training_mode};
pub use var::{Operand, Var};
