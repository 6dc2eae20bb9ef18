//! `remove-unused`: nodes of which nobody reads an output, initializers that nobody reads.
//!
//! Keeps: graph outputs, and inputs that must be fed. An input with a default that nobody reads goes: old files list all
//! weights as inputs.

use super::pipeline::{Pass, PassContext, PassError, PassRecord};
use crate::graph::{Graph, NodeId, ValueId};
use crate::model::Model;
use std::sync::Arc;

/// Removes what no graph output depends on.
pub struct RemoveUnused;

impl Pass for RemoveUnused {
    fn name(&self) -> &'static str {
        "remove-unused"
    }
    fn run(&self, model: &mut Model, _: &PassContext<'_>) -> Result<PassRecord, PassError> {
        let changes = clean(&mut model.graph, true).map_err(|error| PassError {
            pass: self.name(),
            error,
        })?;
        Ok(PassRecord {
            pass: self.name(),
            version: 1,
            changes,
            skipped: Vec::new(),
        })
    }
}

fn clean(graph: &mut Graph, top: bool) -> Result<usize, crate::graph::GraphError> {
    let holders: Vec<NodeId> = graph
        .nodes()
        .filter(|(_, n)| n.attributes.graphs().next().is_some())
        .map(|(id, _)| id)
        .collect();
    let mut changes = 0;
    for id in holders {
        let mut node = graph.node(id).clone();
        let mut inner = 0;
        for attribute in node.attributes.values_mut() {
            for subgraph in attribute.graphs_mut() {
                inner += clean(Arc::make_mut(subgraph), false)?;
            }
        }
        if inner > 0 {
            graph.replace_node(id, node)?;
            changes += inner;
        }
    }
    let all: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    changes += graph.remove_dead(all);
    // Old files list initializers as inputs: an unused one goes from both, an input to be fed stays.
    let unused: Vec<ValueId> = graph
        .values()
        .filter(|(id, v)| {
            v.uses.is_empty()
                && v.producer.is_none()
                && !graph.is_output(*id)
                && (v.initializer.is_some() || !graph.is_input(*id))
        })
        .map(|(id, _)| id)
        .collect();
    for id in unused {
        if top && graph.initializer(id).is_some() {
            graph.remove_initializer(id);
            let inputs = graph
                .inputs()
                .iter()
                .copied()
                .filter(|&i| i != id)
                .collect();
            graph.set_inputs(inputs);
        }
        changes += usize::from(graph.remove_value_if_unused(id));
    }
    Ok(changes)
}
