//! What can go wrong with one operator. The driver adds the node's name.

use compress_tensor::{DType, TensorError};

/// Why a node's attributes cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttrError {
    /// A required attribute is not there.
    #[error("attribute `{name}` is required")]
    Missing {
        /// The attribute.
        name: &'static str,
    },
    /// The attribute is of another kind.
    #[error("attribute `{name}` must be {expected}, found {found}")]
    WrongKind {
        /// The attribute.
        name: &'static str,
        /// The kind the operator takes.
        expected: &'static str,
        /// The kind in the file.
        found: &'static str,
    },
    /// The value breaks a rule.
    #[error("attribute `{name}`: {found} is not valid, {rule}")]
    Invalid {
        /// The attribute.
        name: &'static str,
        /// The value in the file.
        found: String,
        /// The rule, as in `must be positive`.
        rule: &'static str,
    },
    /// The operator does not know the attribute.
    #[error("attribute `{name}` is not known to this version of the operator")]
    Unknown {
        /// The attribute.
        name: String,
    },
}

/// Why the facts of a node's outputs cannot be inferred: its inputs break the operator's rules.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// A required input is left out.
    #[error("input {index} is required")]
    MissingInput {
        /// The input.
        index: usize,
    },
    /// An input is not of the kind it must be.
    #[error("input {index} must be {expected}, found {found}")]
    WrongInput {
        /// The input.
        index: usize,
        /// What the operator takes.
        expected: &'static str,
        /// What is known of the input.
        found: String,
    },
    /// Shapes, axes or attributes contradict each other.
    #[error("{rule}: {found}")]
    Rule {
        /// The rule, as in `inner dimensions must be equal`.
        rule: &'static str,
        /// The values that break it.
        found: String,
    },
    /// In a subgraph.
    #[error("in attribute `{attribute}`: {message}")]
    Subgraph {
        /// The attribute that holds the subgraph.
        attribute: &'static str,
        /// The inner error, which names the inner node.
        message: String,
    },
}

/// Why an operator cannot be evaluated on its inputs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A required input is left out.
    #[error("input {index} is required")]
    MissingInput {
        /// The input.
        index: usize,
    },
    /// An input is not of the kind it must be.
    #[error("input {index} must be {expected}, found {found}")]
    WrongInput {
        /// The input.
        index: usize,
        /// What the operator takes.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The element type is not supported.
    #[error("{dtype} is not supported here")]
    DType {
        /// The element type.
        dtype: DType,
    },
    /// Shapes, axes, values or attributes break a rule.
    #[error("{rule}: {found}")]
    Rule {
        /// The rule, as in `indices must lie within the axis`.
        rule: &'static str,
        /// The values that break it.
        found: String,
    },
    /// The result would be larger than the limit.
    #[error("the result of shape {shape:?} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The shape of the result.
        shape: Vec<usize>,
        /// The limit.
        limit: usize,
    },
    /// A loop did not end within the limit.
    #[error("stopped after {limit} node evaluations")]
    StepLimit {
        /// The limit.
        limit: u64,
    },
    /// A single loop without a trip count did not end within the limit.
    #[error(
        "stopped after {limit} iterations: the loop has no trip count within the limit on steps, and its condition is still true"
    )]
    IterationLimit {
        /// The limit.
        limit: u64,
    },
    /// A tensor could not be made or read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// In a subgraph.
    #[error("in attribute `{attribute}`: {message}")]
    Subgraph {
        /// The attribute that holds the subgraph.
        attribute: &'static str,
        /// The inner error, which names the inner node.
        message: String,
    },
    /// This form of the operator is not there.
    #[error("not supported: {what}")]
    NotSupported {
        /// The form.
        what: &'static str,
    },
}

impl EvalError {
    /// A broken rule with the values that break it.
    pub fn rule(rule: &'static str, found: impl std::fmt::Display) -> Self {
        EvalError::Rule {
            rule,
            found: found.to_string(),
        }
    }
}

impl InferError {
    /// A broken rule with the values that break it.
    pub fn rule(rule: &'static str, found: impl std::fmt::Display) -> Self {
        InferError::Rule {
            rule,
            found: found.to_string(),
        }
    }
}

/// Why the catalog cannot give the operator of a node.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The catalog has no such operator.
    #[error("operator {op} is not in the catalog")]
    UnknownOperator {
        /// Domain and name.
        op: String,
    },
    /// The operator came with a later opset, or its domain is not imported.
    #[error("operator {op} is not part of opset {opset}")]
    NotInOpset {
        /// Domain and name.
        op: String,
        /// The version that the model imports.
        opset: i64,
    },
    /// The attributes cannot be read.
    #[error(transparent)]
    Attribute(#[from] AttrError),
}
