//! Conversion between opsets of the default domain, up and down.
//!
//! Where an operator changed between the two versions, an adapter rewrites its nodes; where it only
//! came to take more types, nothing has to be done. Each node is held against the schema of the
//! target version at the end, so a file is either right for the target or the conversion is refused
//! with the node's name.

mod attributes_to_inputs;
mod error;
mod inputs_to_attributes;
mod meaning;
mod verify;

pub use error::ConvertError;

use crate::graph::{Graph, NodeId, ValueId};
use crate::infer::infer_shapes;
use crate::model::Model;
use crate::operator::Catalog;
use crate::schema;
use compress_tensor::Tensor;
use std::sync::Arc;

/// The oldest opset that files are converted from or to.
pub const MIN_OPSET: i64 = 7;

/// Converts a model to another opset of the default domain. The model is unchanged on failure.
///
/// # Errors
/// [`ConvertError`] names the node that cannot be expressed in the target version.
pub fn convert(model: &mut Model, target: i64, catalog: &Catalog) -> Result<(), ConvertError> {
    let from = model.opset();
    let newest = schema::registry().newest_opset("").unwrap_or(MIN_OPSET);
    for version in [from, target] {
        if !(MIN_OPSET..=newest).contains(&version) {
            return Err(ConvertError::Version {
                version,
                least: MIN_OPSET,
                newest,
            });
        }
    }
    if from == target {
        return Ok(());
    }
    let mut converted = model.clone();
    infer_shapes(&mut converted, catalog)?;
    convert_graph(&mut converted.graph, from, target)?;
    for function in &mut converted.functions {
        if function.opsets.get("").is_some() {
            convert_graph(&mut function.body, from, target)?;
            function.opsets.set("", target);
        }
    }
    converted.opsets.set("", target);
    if let Some(least) = schema::registry().least_ir_version("", target) {
        converted.ir_version = converted.ir_version.max(least);
    }
    verify::against_schema(&converted.graph, target)?;
    *model = converted;
    Ok(())
}

fn convert_graph(graph: &mut Graph, from: i64, target: i64) -> Result<(), ConvertError> {
    let ids: Vec<NodeId> = graph.topological_order()?;
    for id in ids {
        let mut node = graph.node(id).clone();
        if node.attributes.graphs().next().is_some() {
            for attribute in node.attributes.values_mut() {
                for subgraph in attribute.graphs_mut() {
                    convert_graph(Arc::make_mut(subgraph), from, target)?;
                }
            }
            graph.replace_node(id, node)?;
        }
        if !is_default_domain(graph, id) {
            continue;
        }
        for step in steps(&graph.node(id).op_type, from, target) {
            // A node may be replaced by others of another operator; those are of the new version.
            if graph.get_node(id).is_none() {
                break;
            }
            adapt(graph, id, step)?;
        }
    }
    Ok(())
}

fn is_default_domain(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).domain.as_str(), "" | "ai.onnx")
}

/// A boundary between two versions of an operator that the conversion crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To this version from the one before it.
    Up(i64),
    /// From this version to the one before it.
    Down(i64),
}

fn steps(op_type: &str, from: i64, target: i64) -> Vec<Step> {
    let versions = schema::registry()
        .versions("", op_type)
        .iter()
        .map(|s| s.since_version);
    let (low, high) = (from.min(target), from.max(target));
    let mut crossed: Vec<i64> = versions.filter(|v| (low + 1..=high).contains(v)).collect();
    crossed.sort_unstable();
    if from < target {
        crossed.into_iter().map(Step::Up).collect()
    } else {
        crossed.into_iter().rev().map(Step::Down).collect()
    }
}

fn adapt(graph: &mut Graph, id: NodeId, step: Step) -> Result<(), ConvertError> {
    attributes_to_inputs::adapt(graph, id, step)?;
    if graph.get_node(id).is_some() {
        inputs_to_attributes::adapt(graph, id, step)?;
    }
    if graph.get_node(id).is_some() {
        meaning::adapt(graph, id, step)?;
    }
    Ok(())
}

/// A new i64 vector initializer.
fn ints(graph: &mut Graph, base: &str, values: Vec<i64>) -> Result<ValueId, ConvertError> {
    Ok(graph.add_initializer(base, Tensor::vector(values))?)
}

/// What new values of a node are named after.
fn base_name(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    let output = node.outputs().iter().flatten().next();
    output.map_or_else(|| node.op_type.clone(), |&v| graph.name_of(v).to_owned())
}
