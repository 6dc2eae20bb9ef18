//! The checker: is a model what the ONNX specification calls valid?
//!
//! Judged from the [schema facts](crate::schema), so every operator in every version is checked,
//! whether it has semantics here or not: IR and opset versions, single assignment, order and
//! cycles, inputs that nothing defines, outputs that nothing writes, how many inputs and outputs,
//! attributes (name, type, presence), element types as far as they are declared, functions and
//! subgraphs. What a graph cannot hold at all (two writers of one value, data of the wrong
//! length) is refused earlier, by [`Model::load`](crate::Model::load).
//!
//! Where this differs from `onnx.checker` is measured (`docs/measurements.md`). It is stricter with outputs
//! of functions that nothing writes, with opset versions that no release has, with types that are
//! declared, and with references to attributes that no function has; it only warns of
//! nodes that stand in the wrong order but can be sorted, because saving sorts them, and of
//! inputs and outputs that have a type but no shape, because every runtime takes them. [`check_with_facts`]
//! infers types and shapes as well, as `full_check` does.
//!
//! ```
//! use onnx_ir::{Fact, Graph, Model, Node, check};
//!
//! let mut graph = Graph::new("main");
//! let x = graph.add_value("x", Fact::tensor(compress_tensor::DType::F32, [1i64]))?;
//! let y = graph.add_value("y", Fact::tensor(compress_tensor::DType::F32, [1i64]))?;
//! graph.add_input(x);
//! graph.add_node(Node::new("Relu", [x], [y]).with("slope", 0.1f32).named("act"))?;
//! graph.add_output(y);
//! let findings = check::check(&Model::new(graph, 17));
//! assert_eq!(findings.len(), 1);
//! assert_eq!(findings[0].rule(), "unknown-attribute");
//! assert_eq!(findings[0].place.node.as_deref(), Some("act"));
//! # Ok::<(), onnx_ir::graph::GraphError>(())
//! ```

mod facts;
mod function;
mod graph;
mod model;
mod node;
mod problem;
mod scope;
mod sparse;

pub use facts::check_with_facts;
pub use problem::{Port, Problem};

use std::collections::HashSet;
use std::fmt;

use crate::Model;
use crate::schema::{SchemaRegistry, registry};

/// Something that is wrong with a model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// What it is.
    pub problem: Problem,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The model is valid, but something about it could not be checked or may surprise.
    Warning,
    /// The model is not valid.
    Error,
}

/// Where a finding is; the deepest part that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The graph or function; `None` for the model as a whole.
    pub graph: Option<String>,
    /// The node, or its first output where it has no name.
    pub node: Option<String>,
    /// The node's operator.
    pub op: Option<String>,
}

impl Finding {
    /// The rule's name, such as `unknown-attribute`: stable, for machines.
    pub fn rule(&self) -> &'static str {
        self.problem.rule()
    }

    /// Whether the model is invalid because of this.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}[{}] {}{}",
            self.severity,
            self.rule(),
            self.place,
            self.problem
        )
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(graph) = &self.graph else {
            return Ok(());
        };
        write!(f, "graph `{graph}`")?;
        if let Some(node) = &self.node {
            write!(f, ", node `{node}`")?;
        }
        if let Some(op) = &self.op {
            write!(f, " ({op})")?;
        }
        f.write_str(": ")
    }
}

/// Findings beyond this number are not kept: nobody reads them, and a hostile file has millions.
pub const MAX_FINDINGS: usize = 1000;

/// What is wrong with a model, in the order of the file; empty for a valid one.
///
/// Linear in the size of the model; the first [`MAX_FINDINGS`] are returned.
pub fn check(model: &Model) -> Vec<Finding> {
    let mut checker = Checker {
        model,
        registry: registry(),
        findings: Vec::new(),
        functions: model.functions.iter().map(function::key).collect(),
        seen_foreign: HashSet::new(),
    };
    checker.model();
    checker.findings
}

/// The work in progress.
struct Checker<'m> {
    model: &'m Model,
    registry: &'static SchemaRegistry,
    findings: Vec<Finding>,
    functions: HashSet<function::Key<'m>>,
    /// Operators without a schema that were reported: once each is enough.
    seen_foreign: HashSet<String>,
}

impl Checker<'_> {
    fn error(&mut self, place: Place, problem: Problem) {
        self.report(Finding {
            severity: Severity::Error,
            place,
            problem,
        });
    }

    fn warning(&mut self, place: Place, problem: Problem) {
        self.report(Finding {
            severity: Severity::Warning,
            place,
            problem,
        });
    }

    fn report(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}
