//! What can be wrong with a model, with the facts of each case.

use crate::infer::{Conflict, NodeInferError};
use crate::schema::AttributeType;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the message of each variant says what its fields are"
)]
pub enum Problem {
    // The model.
    #[error("IR version {found} is not known: versions 1 to {newest} are")]
    IrVersion { found: i64, newest: i64 },
    #[error("no operator set is imported")]
    NoOpset,
    #[error("an operator set is imported, which IR version {ir_version} does not know")]
    OpsetBeforeItsTime { ir_version: i64 },
    #[error(
        "opset version {version} of domain `{}` does not exist: versions 1 to {newest} do",
        shown(.domain)
    )]
    OpsetVersion {
        domain: String,
        version: i64,
        newest: i64,
    },
    #[error("metadata key `{key}` is there twice")]
    DuplicateMetadata { key: String },

    // Graphs.
    #[error("the graph has no name")]
    UnnamedGraph,
    #[error("initializer `{value}` is there twice, once as a sparse one at least")]
    DuplicateInitializer { value: String },
    #[error("sparse tensor `{value}`: {reason}")]
    SparseTensor { value: String, reason: &'static str },
    #[error("`{value}` is listed twice among the inputs")]
    DuplicateInput { value: String },
    #[error("an input, output or initializer has no name")]
    UnnamedValue,
    #[error(
        "`{value}` has no type, or one without element type, which inputs and outputs of the main graph must have"
    )]
    UntypedValue { value: String },
    #[error("`{value}` has a type without a shape, not even a rank")]
    UnshapedValue { value: String },
    #[error("output `{value}` is written by no node, and is neither an input nor an initializer")]
    UndefinedOutput { value: String },
    #[error("initializer `{value}` is no graph input, as IR version {ir_version} demands")]
    InitializerNotInput { value: String, ir_version: i64 },
    #[error("initializer `{value}` is declared as {}, and is {}", .conflict.declared, .conflict.inferred)]
    InitializerType { value: String, conflict: Conflict },
    #[error("`{value}` is written here and also stands for a value of the graph around")]
    Shadowed { value: String },
    #[error("it reads `{value}`, which a later node writes")]
    NotSorted { value: String },
    #[error("the nodes form a cycle: {}", .nodes.join(", "))]
    Cycle { nodes: Vec<String> },
    #[error("subgraphs nest deeper than {limit}")]
    TooDeep { limit: usize },

    // Functions.
    #[error("function `{name}` is defined twice")]
    DuplicateFunction { name: String },
    #[error("`{parameter}` is there twice among the function's inputs, outputs or attributes")]
    DuplicateParameter { parameter: String },
    #[error(
        "the function imports `{}` at version {function}, the model at {model}, and `{op}` changed between them",
        shown(.domain)
    )]
    FunctionOpset {
        domain: String,
        function: i64,
        model: i64,
        op: String,
    },
    #[error("the function calls itself: {}", .calls.join(" -> "))]
    RecursiveFunction { calls: Vec<String> },
    #[error(
        "attribute `{attribute}` refers to attribute `{target}` of the function, which it does not have"
    )]
    DanglingReference { attribute: String, target: String },

    #[error("calls of functions cannot be expanded: {reason}")]
    NotExpandable { reason: String },

    // Nodes.
    #[error("the node has no operator")]
    NoOperator,
    #[error("the node has neither inputs nor outputs")]
    NoEdges,
    #[error("input {index} reads `{value}`, which nothing defines")]
    UndefinedInput { index: usize, value: String },
    #[error("domain `{}` is not imported", shown(.domain))]
    DomainNotImported { domain: String },
    #[error("domain `{}` has no operator `{op}` in version {version}", shown(.domain))]
    UnknownOperator {
        domain: String,
        op: String,
        version: i64,
    },
    #[error("`{op}` of domain `{domain}` is not known here and was not checked")]
    ForeignOperator { domain: String, op: String },
    #[error("`{op}` must no longer be used in version {version}")]
    DeprecatedOperator { op: String, version: i64 },
    #[error("{found} inputs, expected {}", range(*.least, *.most))]
    InputCount {
        found: usize,
        least: usize,
        most: Option<usize>,
    },
    #[error("{found} outputs, expected {}", range(*.least, *.most))]
    OutputCount {
        found: usize,
        least: usize,
        most: Option<usize>,
    },
    #[error("input {index} (`{parameter}`) must not be left out")]
    MissingInput {
        index: usize,
        parameter: &'static str,
    },
    #[error("output {index} (`{parameter}`) must not be left out")]
    MissingOutput {
        index: usize,
        parameter: &'static str,
    },
    #[error("there is no attribute `{attribute}` in version {version}")]
    UnknownAttribute { attribute: String, version: i64 },
    #[error("attribute `{attribute}` is of type {found}, expected {}", .expected.as_str_name())]
    AttributeKind {
        attribute: String,
        expected: AttributeType,
        found: &'static str,
    },
    #[error("a constant has its value in one attribute, found {found}")]
    ConstantValues { found: usize },
    #[error("attribute `{attribute}` is missing")]
    MissingAttribute { attribute: &'static str },
    #[error("attribute `{attribute}` refers to an attribute of a function, outside of any")]
    ReferenceOutsideFunction { attribute: String },
    #[error("{port} {index} (`{parameter}`) is of type {found}, allowed are {}", .allowed.join(" "))]
    TypeNotAllowed {
        port: Port,
        index: usize,
        parameter: &'static str,
        found: String,
        allowed: Vec<&'static str>,
    },
    #[error("type variable `{variable}` stands for {first} and for {second}")]
    TypeMismatch {
        variable: &'static str,
        first: String,
        second: String,
    },
    #[error(transparent)]
    Inference { error: NodeInferError },
}

/// An input or an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// What a node reads.
    Input,
    /// What a node writes.
    Output,
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

impl Problem {
    /// The rule's name: stable, for machines.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::IrVersion { .. } => "ir-version",
            Self::NoOpset => "no-opset",
            Self::OpsetBeforeItsTime { .. } => "opset-before-its-time",
            Self::OpsetVersion { .. } => "opset-version",
            Self::DuplicateMetadata { .. } => "duplicate-metadata",
            Self::UnnamedGraph => "unnamed-graph",
            Self::DuplicateInput { .. } => "duplicate-input",
            Self::DuplicateInitializer { .. } => "duplicate-initializer",
            Self::SparseTensor { .. } => "sparse-tensor",
            Self::UnnamedValue => "unnamed-value",
            Self::UntypedValue { .. } => "untyped-value",
            Self::UnshapedValue { .. } => "unshaped-value",
            Self::UndefinedOutput { .. } => "undefined-output",
            Self::InitializerNotInput { .. } => "initializer-not-input",
            Self::InitializerType { .. } => "initializer-type",
            Self::Shadowed { .. } => "shadowed",
            Self::NotSorted { .. } => "not-sorted",
            Self::Cycle { .. } => "cycle",
            Self::TooDeep { .. } => "too-deep",
            Self::DuplicateFunction { .. } => "duplicate-function",
            Self::FunctionOpset { .. } => "function-opset",
            Self::DuplicateParameter { .. } => "duplicate-parameter",
            Self::RecursiveFunction { .. } => "recursive-function",
            Self::DanglingReference { .. } => "dangling-reference",
            Self::NoOperator => "no-operator",
            Self::NoEdges => "no-edges",
            Self::UndefinedInput { .. } => "undefined-input",
            Self::DomainNotImported { .. } => "domain-not-imported",
            Self::UnknownOperator { .. } => "unknown-operator",
            Self::ForeignOperator { .. } => "foreign-operator",
            Self::DeprecatedOperator { .. } => "deprecated-operator",
            Self::InputCount { .. } => "input-count",
            Self::OutputCount { .. } => "output-count",
            Self::MissingInput { .. } => "missing-input",
            Self::MissingOutput { .. } => "missing-output",
            Self::UnknownAttribute { .. } => "unknown-attribute",
            Self::AttributeKind { .. } => "attribute-type",
            Self::MissingAttribute { .. } => "missing-attribute",
            Self::ConstantValues { .. } => "constant-values",
            Self::ReferenceOutsideFunction { .. } => "reference-outside-function",
            Self::TypeNotAllowed { .. } => "type-not-allowed",
            Self::TypeMismatch { .. } => "type-mismatch",
            Self::NotExpandable { .. } => "not-expandable",
            Self::Inference { error } => match error {
                NodeInferError::Conflict { .. } => "contradicts-declared",
                NodeInferError::Parse(_) => "attribute-value",
                NodeInferError::Rule(_) => "broken-rule",
            },
        }
    }
}

/// The default domain by its long name.
fn shown(domain: &str) -> &str {
    if domain.is_empty() { "ai.onnx" } else { domain }
}

fn range(least: usize, most: Option<usize>) -> String {
    match most {
        Some(most) if most == least => format!("{least}"),
        Some(most) => format!("{least} to {most}"),
        None => format!("at least {least}"),
    }
}
