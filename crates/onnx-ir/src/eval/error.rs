//! Why a model did not run.

use crate::functions::InlineError;
use crate::graph::GraphError;
use crate::operator::{EvalError, ParseError};

/// Why a model did not run, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}{kind}", .node.as_ref().map(|n| format!("node {n}: ")).unwrap_or_default())]
pub struct RunError {
    /// The node, as [`crate::graph::Graph::describe`] names it.
    pub node: Option<String>,
    /// The reason.
    pub kind: RunErrorKind,
}

/// Why a model did not run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunErrorKind {
    /// The catalog cannot give an operator.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// An operator cannot be evaluated on its inputs.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The graph has a cycle.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A function cannot be expanded.
    #[error(transparent)]
    Function(#[from] InlineError),
    /// An input was not fed.
    #[error("input `{name}` was not given")]
    MissingInput {
        /// The input.
        name: String,
    },
    /// A value was fed that the graph does not take.
    #[error("the model has no input `{name}`; it takes {}", .known.join(", "))]
    UnknownInput {
        /// The name.
        name: String,
        /// The inputs of the graph.
        known: Vec<String>,
    },
    /// A value is read that nothing writes.
    #[error("`{name}` is read but neither written, fed nor stored")]
    UndefinedValue {
        /// The value.
        name: String,
    },
    /// An operator gave fewer outputs than the node names.
    #[error("output {index} was asked for, the operator gives {given}")]
    TooFewOutputs {
        /// The output.
        index: usize,
        /// How many there are.
        given: usize,
    },
    /// Subgraphs within subgraphs beyond the limit.
    #[error("subgraphs are nested more than {limit} deep")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
}

impl From<RunErrorKind> for RunError {
    fn from(kind: RunErrorKind) -> Self {
        RunError { node: None, kind }
    }
}
