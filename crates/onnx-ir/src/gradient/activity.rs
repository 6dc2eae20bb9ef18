//! Which values depend on what gradients are asked of, by way of real numbers.

use crate::graph::{Graph, Node, NodeId, Use, ValueId};
use crate::operator::{DynOperator, GradientKind};
use std::sync::Arc;

/// A node with its operator, where the catalog has it.
pub(super) struct Step {
    pub(super) id: NodeId,
    pub(super) operator: Result<Arc<dyn DynOperator>, String>,
    pub(super) version: u32,
}

/// For every value by index, whether it depends on one of `sources`.
pub(super) fn active(graph: &Graph, steps: &[Step], sources: &[ValueId]) -> Vec<bool> {
    let mut active = vec![false; graph.value_bound()];
    for source in sources {
        active[source.index()] = true;
    }
    for step in steps {
        let node = graph.node(step.id);
        let reads: Vec<ValueId> = reads(graph, step.id, node);
        if !reads.iter().any(|v| active[v.index()]) {
            continue;
        }
        let kind = match &step.operator {
            Ok(operator) => operator.gradient_kind(),
            Err(_) => GradientKind::Undefined(""),
        };
        // Integers carry on what came from a quantizer.
        let from_integers = reads
            .iter()
            .any(|&v| active[v.index()] && is_integer(graph, v));
        for &output in node.outputs().iter().flatten() {
            let carries = match kind {
                GradientKind::Zero => false,
                GradientKind::Quantizer => true,
                GradientKind::Graph => !is_discrete(graph, output) || from_integers,
                // Integers may stand for real numbers here too: an error is raised where an adjoint arrives.
                GradientKind::Undefined(_) => true,
            };
            active[output.index()] |= carries;
        }
    }
    active
}

/// The first node on a way from a value to a loss that lets no gradient pass; none where no way leads there.
pub(super) fn blocking(
    graph: &Graph,
    steps: &[Step],
    source: ValueId,
    losses: &[ValueId],
) -> Option<NodeId> {
    let active = active(graph, steps, &[source]);
    let mut leads = vec![false; graph.value_bound()];
    for loss in losses {
        leads[loss.index()] = true;
    }
    let writes = |id: NodeId| graph.node(id).outputs().iter().flatten();
    for step in steps.iter().rev() {
        if writes(step.id).any(|v| leads[v.index()]) {
            for value in reads(graph, step.id, graph.node(step.id)) {
                leads[value.index()] = true;
            }
        }
    }
    let stops = |step: &&Step| {
        writes(step.id).any(|v| leads[v.index()])
            && !writes(step.id).any(|v| active[v.index()])
            && reads(graph, step.id, graph.node(step.id))
                .iter()
                .any(|v| active[v.index()])
    };
    steps.iter().find(stops).map(|step| step.id)
}

/// What a node reads, in its subgraphs too.
pub(super) fn reads(graph: &Graph, id: NodeId, node: &Node) -> Vec<ValueId> {
    let mut reads: Vec<ValueId> = node.inputs().iter().flatten().copied().collect();
    if node.attributes.graphs().next().is_some() {
        let captured = graph.values().filter(|(_, value)| {
            value
                .uses
                .iter()
                .any(|u| matches!(u, Use::Captured { node } if *node == id))
        });
        reads.extend(captured.map(|(id, _)| id));
    }
    reads
}

fn is_integer(graph: &Graph, id: ValueId) -> bool {
    let fact = graph.value(id).fact.as_tensor();
    fact.and_then(|f| f.dtype).is_some_and(|d| d.is_integer())
}

/// Whether a value is known not to be made of real numbers.
fn is_discrete(graph: &Graph, id: ValueId) -> bool {
    let fact = graph.value(id).fact.as_tensor();
    fact.and_then(|f| f.dtype).is_some_and(|d| !d.is_float())
}
