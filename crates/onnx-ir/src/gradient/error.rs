//! Why a gradient cannot be built.

use crate::functions::InlineError;
use crate::graph::GraphError;
use crate::infer::NodeInferError;
use crate::opset::ConvertError;

fn blocked(by: Option<&str>) -> String {
    by.map_or(String::new(), |node| {
        format!(" by way of real numbers: no gradient passes node {node}")
    })
}

/// Why there is no gradient.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GradientError {
    /// The graph has no value of this name.
    #[error("the model has no value `{name}`")]
    NoSuchValue {
        /// The name.
        name: String,
    },
    /// No loss was named.
    #[error("a gradient needs a loss")]
    NoLoss,
    /// A loss is not made of real numbers, or its type is not known.
    #[error("the loss `{name}` must be a float tensor, found {found}")]
    LossType {
        /// The loss.
        name: String,
        /// What is known of it.
        found: String,
    },
    /// No loss depends on the value by way of real numbers.
    #[error("no loss depends on `{name}`{}", blocked(by.as_deref()))]
    Unreached {
        /// The value.
        name: String,
        /// The first node on the way to a loss that no gradient passes, as [`crate::Graph::describe`] names it; none where no way
        /// leads there.
        by: Option<String>,
    },
    /// An operator between a value and a loss is not differentiable.
    #[error("node {node} is not differentiable: {reason}")]
    NotDifferentiable {
        /// The node, as [`crate::Graph::describe`] names it.
        node: String,
        /// The reason.
        reason: String,
    },
    /// A node that an operator's gradient adds breaks a rule.
    #[error("gradient of node {node}: new node {op}: {error}")]
    NewNode {
        /// The node whose gradient it is.
        node: String,
        /// The operator of the new node.
        op: String,
        /// The rule.
        error: Box<NodeInferError>,
    },
    /// An adjoint has another shape than its value.
    #[error("gradient of node {node}: the adjoint of `{value}` is {found}, the value {expected}")]
    AdjointShape {
        /// The node whose gradient it is.
        node: String,
        /// The value.
        value: String,
        /// What is known of the adjoint.
        found: String,
        /// What is known of the value.
        expected: String,
    },
    /// The model is of an opset that is too old, and cannot be converted.
    #[error("gradients need opset {least}, to which the model cannot be converted: {error}")]
    Opset {
        /// The oldest opset.
        least: i64,
        /// The reason.
        error: Box<ConvertError>,
    },
    /// Activations take more memory than they may, however much of them is computed anew.
    #[error(
        "activations may take {bytes} bytes, and the least that they can be brought to is about {least}"
    )]
    Memory {
        /// The bytes that they may take.
        bytes: u64,
        /// The least estimate.
        least: u64,
    },
    /// A function of the model cannot be expanded.
    #[error(transparent)]
    Function(#[from] InlineError),
    /// The graph refused a change.
    #[error(transparent)]
    Graph(#[from] GraphError),
}
