//! Weights of recurrent nodes that a branch or loop body takes from the graph around it.
//!
//! Exporters leave the weights in the outer graph and reorder the gates inside: `Slice`, `Concat`, `Unsqueeze`. The
//! weight is quantized where it stands, one scale per row, and is dequantized under its own name: what captures it
//! reads the same value as before, up to rounding.

use super::select::is_recurrent;
use onnx_ir::{Graph, NodeId, ValueId};
use std::collections::{BTreeMap, HashSet};

/// Operators that only move the numbers of a weight.
const MOVING: [&str; 8] = [
    "Concat",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// A recurrent node that reads a weight of a graph around it.
pub(super) struct Reader {
    /// Its name, where it has one, and those of its outputs.
    pub names: Vec<String>,
    pub op: String,
}

impl Reader {
    fn of(graph: &Graph, id: NodeId) -> Self {
        let node = graph.node(id);
        let outputs = node.outputs().iter().flatten().map(|&v| graph.name_of(v));
        let names = std::iter::once(node.name.as_str()).chain(outputs);
        Self {
            names: names.filter(|n| !n.is_empty()).map(str::to_owned).collect(),
            op: node.qualified_op(),
        }
    }

    /// What it is called in reports.
    pub(super) fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// Names of outer values that become weights of recurrent nodes in the subgraphs of `node`, and which nodes these are.
pub(super) fn captured_weights(graph: &Graph, node: NodeId) -> BTreeMap<String, Vec<Reader>> {
    let mut found = BTreeMap::new();
    for subgraph in graph.node(node).attributes.graphs() {
        collect(subgraph, &mut found);
    }
    found
}

fn collect(graph: &Graph, found: &mut BTreeMap<String, Vec<Reader>>) {
    for (id, node) in graph.nodes() {
        if is_recurrent(node) {
            let weights = [1, 2].into_iter().filter_map(|i| node.input(i));
            for name in weights.flat_map(|w| sources(graph, w)) {
                let name = graph.name_of(name).to_owned();
                found.entry(name).or_default().push(Reader::of(graph, id));
            }
        }
        for subgraph in node.attributes.graphs() {
            let mut inner = BTreeMap::new();
            collect(subgraph, &mut inner);
            // What this graph defines itself is not taken from around it.
            let outer = |name: &String| {
                graph
                    .value_by_name(name)
                    .is_none_or(|v| is_captured(graph, v))
            };
            for (name, readers) in inner.into_iter().filter(|(name, _)| outer(name)) {
                found.entry(name).or_default().extend(readers);
            }
        }
    }
}

/// The captured values that a weight is put together from; none where anything else goes into it.
pub(super) fn sources(graph: &Graph, weight: ValueId) -> Vec<ValueId> {
    let (mut open, mut seen) = (vec![weight], HashSet::new());
    let mut captured = Vec::new();
    while let Some(value) = open.pop() {
        if !seen.insert(value) || graph.constant(value).is_some() {
            continue;
        }
        if is_captured(graph, value) {
            captured.push(value);
            continue;
        }
        let node = graph.producer(value).map(|id| graph.node(id));
        let Some(node) = node.filter(|n| MOVING.iter().any(|op| n.is(op))) else {
            return Vec::new();
        };
        // Behind the data come shapes, axes and bounds.
        let data = if node.is("Concat") {
            node.inputs().len()
        } else {
            1
        };
        open.extend(node.inputs().iter().take(data).flatten());
    }
    captured
}

fn is_captured(graph: &Graph, value: ValueId) -> bool {
    graph.producer(value).is_none() && graph.initializer(value).is_none() && !graph.is_input(value)
}
