//! Graphs: what flows where.

use std::collections::HashSet;

use super::scope::Scope;
use super::{Checker, Problem};
use crate::fact::Fact;
use crate::graph::{GraphError, Use, ValueId};

/// Subgraphs nest no deeper than this; files cannot hold more than about thirty levels.
const MAX_DEPTH: usize = 64;

/// Up to this IR version, initializers had to be graph inputs as well.
const LAST_IR_WITH_INITIALIZERS_AS_INPUTS: i64 = 3;

impl Checker<'_> {
    pub(super) fn main_graph(&mut self, scope: &Scope<'_>) {
        let edges = scope.graph.inputs().iter().chain(scope.graph.outputs());
        let mut seen = HashSet::new();
        for &id in edges {
            if seen.insert(id) {
                self.declared_type(scope, id);
            }
        }
        if self.model.ir_version <= LAST_IR_WITH_INITIALIZERS_AS_INPUTS {
            for (id, _) in scope
                .graph
                .initializers()
                .filter(|(id, _)| !scope.graph.is_input(*id))
            {
                let value = scope.graph.name_of(id).to_owned();
                let ir_version = self.model.ir_version;
                self.error(
                    scope.place(),
                    Problem::InitializerNotInput { value, ir_version },
                );
            }
        }
        self.graph(scope);
    }

    /// Inputs and outputs of the main graph have a name and a type.
    fn declared_type(&mut self, scope: &Scope<'_>, id: ValueId) {
        let value = scope.graph.value(id);
        if value.name.is_empty() {
            self.error(scope.place(), Problem::UnnamedValue);
        }
        let name = value.name.clone();
        match &value.fact {
            // An opaque type is kept beside the graph: there is one, unknown here.
            Fact::Unknown if !scope.graph.preserved.is_empty() => {
                self.warning(scope.place(), Problem::UntypedValue { value: name });
            }
            Fact::Unknown => self.error(scope.place(), Problem::UntypedValue { value: name }),
            Fact::Tensor(tensor) | Fact::SparseTensor(tensor) if tensor.dtype.is_none() => {
                self.error(scope.place(), Problem::UntypedValue { value: name });
            }
            Fact::Tensor(tensor) if tensor.shape.is_none() => {
                self.warning(scope.place(), Problem::UnshapedValue { value: name });
            }
            _ => {}
        }
    }

    /// The rules for every graph: the main one, subgraphs and function bodies.
    pub(super) fn graph(&mut self, scope: &Scope<'_>) {
        if scope.depth > MAX_DEPTH {
            return self.error(scope.place(), Problem::TooDeep { limit: MAX_DEPTH });
        }
        if scope.graph.name.is_empty() {
            self.error(scope.place(), Problem::UnnamedGraph);
        }
        let mut seen = HashSet::new();
        for &id in scope.graph.inputs() {
            if !seen.insert(id) {
                let value = scope.graph.name_of(id).to_owned();
                self.error(scope.place(), Problem::DuplicateInput { value });
            }
        }
        self.sparse_initializers(scope);
        self.values(scope);
        self.order(scope);
        for (id, node) in scope.graph.nodes() {
            self.node(scope, id, node);
            self.sparse_attributes(scope, id, node);
            for graph in node.attributes.graphs() {
                self.graph(&Scope {
                    graph,
                    around: Some((scope, id)),
                    function: scope.function,
                    opsets: scope.opsets,
                    depth: scope.depth + 1,
                });
            }
        }
    }

    /// Every value that is read is defined, and nothing is written under a name from around.
    fn values(&mut self, scope: &Scope<'_>) {
        let graph = scope.graph;
        let sparse: HashSet<&str> = graph
            .sparse_initializers
            .iter()
            .map(|tensor| tensor.name.as_str())
            .collect();
        for (_, value) in graph.values() {
            if let Some((node, _)) = value.producer {
                if scope.is_taken(&value.name) {
                    let value = value.name.clone();
                    self.error(scope.place_of(node), Problem::Shadowed { value });
                }
                continue;
            }
            let is_constant = value.initializer.is_some() || sparse.contains(value.name.as_str());
            if is_constant || value.is_input || scope.outer(&value.name).is_some() {
                continue;
            }
            for read in &value.uses {
                // What a subgraph captures is reported where it is read.
                if let Use::Input { node, index } = *read {
                    let value = value.name.clone();
                    self.error(
                        scope.place_of(node),
                        Problem::UndefinedInput { index, value },
                    );
                }
            }
            if value.is_output {
                let value = value.name.clone();
                self.error(scope.place(), Problem::UndefinedOutput { value });
            }
        }
    }

    /// Each node stands behind those that it reads from, or can at least be put there.
    fn order(&mut self, scope: &Scope<'_>) {
        let graph = scope.graph;
        let wrong = graph.values().find_map(|(_, value)| {
            let (writer, _) = value.producer?;
            let early = value.uses.iter().find(|read| read.node() <= writer)?;
            Some((early.node(), value.name.clone()))
        });
        let Some((node, value)) = wrong else { return };
        match graph.topological_order() {
            Err(GraphError::Cycle { nodes }) => self.error(scope.place(), Problem::Cycle { nodes }),
            _ => self.warning(scope.place_of(node), Problem::NotSorted { value }),
        }
    }
}
