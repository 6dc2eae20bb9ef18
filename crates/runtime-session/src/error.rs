//! Why a session cannot be made or run.

use compress_tensor::TensorError;
use onnx_ir::functions::InlineError;
use onnx_ir::graph::GraphError;
use onnx_ir::io::LoadError;
use onnx_ir::operator::{EvalError, ParseError};
use onnx_ir::passes::PassError;
use runtime_kernels::KernelError;

/// Why a session cannot be made or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The file cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A pass over the graph failed.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// The threads could not be started.
    #[error(transparent)]
    Threads(KernelError),
    /// A kernel failed while the machine was measured.
    #[error("the machine cannot be measured: {0}")]
    Measure(KernelError),
    /// The weights of a node cannot be packed.
    #[error("node {node}: {error}")]
    Weights {
        /// The node.
        node: String,
        /// The reason.
        error: KernelError,
    },
    /// An operator is not known, or its attributes are wrong.
    #[error("node {node}: {error}")]
    Operator {
        /// The node.
        node: String,
        /// The reason.
        error: ParseError,
    },
    /// A step failed.
    #[error("node {node}: {error}")]
    Step {
        /// The node (the last one of those that the step fuses).
        node: String,
        /// The reason.
        error: StepError,
    },
    /// The graph has a cycle.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A function cannot be expanded.
    #[error(transparent)]
    Function(#[from] InlineError),
    /// A sparse initializer cannot be made dense.
    #[error("sparse initializer `{name}`: {error}")]
    Sparse {
        /// The initializer.
        name: String,
        /// The reason.
        error: EvalError,
    },
    /// Subgraphs within subgraphs beyond the limit.
    #[error("subgraphs are nested more than {limit} deep")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// An input was not fed.
    #[error("input `{name}` was not given")]
    MissingInput {
        /// The input.
        name: String,
    },
    /// An input was fed twice.
    #[error("input `{name}` was given twice")]
    DuplicateInput {
        /// The input.
        name: String,
    },
    /// A value was fed that the model does not take.
    #[error("the model has no input `{name}`; it takes {}", .known.join(", "))]
    UnknownInput {
        /// The name.
        name: String,
        /// The inputs of the model.
        known: Vec<String>,
    },
    /// An input does not fit its declaration.
    #[error("input `{name}`: expected {expected}, found {found}")]
    WrongInput {
        /// The input.
        name: String,
        /// What the model declares.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A value is read that nothing writes.
    #[error("`{name}` is read but neither written, fed nor stored")]
    UndefinedValue {
        /// The value.
        name: String,
    },
    /// The model has no value of this name.
    #[error("the model has no value `{name}`")]
    UnknownValue {
        /// The name.
        name: String,
    },
    /// An output is a sequence or an optional value where a tensor was asked for.
    #[error("output `{name}` is a {kind}, not a tensor")]
    NotATensor {
        /// The output.
        name: String,
        /// What it is.
        kind: &'static str,
    },
}

/// Why one step failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// An operator refused its inputs.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A kernel refused its operands.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A tensor could not be made or read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A value is read before it is there.
    #[error("`{name}` is read but neither written, fed nor stored")]
    UndefinedValue {
        /// The value.
        name: String,
    },
    /// The step gave fewer outputs than the node names.
    #[error("output {index} was asked for, the operator gives {given}")]
    TooFewOutputs {
        /// The output.
        index: usize,
        /// How many there are.
        given: usize,
    },
}
