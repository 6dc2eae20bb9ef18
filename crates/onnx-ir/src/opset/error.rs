//! Why a model cannot be converted.

use crate::graph::GraphError;

/// Why a model cannot be converted to another opset.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A version outside of what is known.
    #[error("opset {version} is outside of {least}..={newest}, between which models are converted")]
    Version {
        /// The version.
        version: i64,
        /// The oldest.
        least: i64,
        /// The newest.
        newest: i64,
    },
    /// A node that the target version cannot express.
    #[error("node {node} cannot be expressed in opset {target}: {reason}")]
    Node {
        /// The node, as [`crate::graph::Graph::describe`] names it.
        node: String,
        /// The version.
        target: i64,
        /// The reason.
        reason: String,
    },
    /// The graph refused a change.
    #[error(transparent)]
    Graph(#[from] GraphError),
}
