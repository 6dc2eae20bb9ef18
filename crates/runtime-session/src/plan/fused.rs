//! What a step computes: the nodes of the graph that it does together, and the weights that it holds.

use super::Plan;
use compress_tensor::Tensor;
use onnx_ir::cost;
use onnx_ir::{Graph, NodeId, ValueId};
use std::collections::HashSet;
use std::sync::Arc;

/// The nodes that one step computes.
#[derive(Debug, Default)]
pub(crate) struct Fused {
    /// The nodes, from the last to the first.
    pub(crate) nodes: Vec<NodeId>,
    /// Bytes of the constants that they read and the step does not: weights that were packed, as the file holds them.
    pub(crate) weight_bytes: u64,
}

impl Fused {
    /// Of a step that ends in the node `root` and reads `inputs`. From the root backwards, what lies in between is what no
    /// other step writes; a `DequantizeLinear` may be read by several steps, each of which dequantizes for itself. `known`
    /// are the constants that were computed.
    pub(crate) fn of<'t>(
        graph: &Graph,
        root: NodeId,
        inputs: &[Option<ValueId>],
        is_wanted: &dyn Fn(ValueId) -> bool,
        known: &dyn Fn(ValueId) -> Option<&'t Tensor>,
    ) -> Self {
        let mut seen: HashSet<ValueId> = inputs.iter().copied().flatten().collect();
        let mut fused = Self {
            nodes: vec![root],
            weight_bytes: 0,
        };
        let mut next = 0;
        while let Some(&id) = fused.nodes.get(next) {
            next += 1;
            for &v in graph.node(id).inputs().iter().flatten() {
                if !seen.insert(v) {
                    continue;
                }
                let producer = graph.producer(v);
                let dequantizes = producer.is_some_and(|p| graph.node(p).is("DequantizeLinear"));
                let constant = graph.constant(v);
                let widened = producer.map(|p| graph.node(p)).filter(|n| n.is("Cast"));
                let widened = widened.and_then(|n| graph.constant(n.input(0)?));
                let constant = constant
                    .or(widened)
                    .or_else(|| known(v).filter(|_| !dequantizes));
                if let Some(tensor) = constant {
                    fused.weight_bytes =
                        fused.weight_bytes.saturating_add(tensor.byte_len() as u64);
                } else if let Some(producer) = producer.filter(|_| dequantizes || !is_wanted(v))
                    && !fused.nodes.contains(&producer)
                {
                    fused.nodes.push(producer);
                }
            }
        }
        fused
    }

    /// The multiply-accumulates of the nodes; the shapes of the graph are known as far as they can be.
    pub(crate) fn macs(&self, graph: &Graph) -> Option<u64> {
        let mut macs = self
            .nodes
            .iter()
            .map(|&id| cost::macs(graph, id, &|_| None));
        macs.try_fold(0u64, |sum, macs| sum.checked_add(macs?))
    }
}

/// The multiply-accumulates of the steps of a plan by row of the profile, given the shapes of its values; those of
/// subgraphs are of one run.
pub(crate) fn macs_by_row(plan: &Plan, graph: &Graph) -> Arc<[Option<u64>]> {
    let mut rows = Vec::new();
    // Subgraphs are not nested deeper than a session allows.
    let mut pending = vec![(plan, graph)];
    while let Some((plan, graph)) = pending.pop() {
        for step in &plan.steps {
            if rows.len() <= step.row {
                rows.resize(step.row + 1, None);
            }
            rows[step.row] = step.fused.macs(graph);
            let Some(&root) = step.fused.nodes.first() else {
                continue;
            };
            let graphs = graph.node(root).attributes.graphs();
            let bodies = step.step.bodies().iter().zip(graphs);
            pending.extend(bodies.map(|(body, graph)| (&body.plan, graph.as_ref())));
        }
    }
    rows.into()
}
