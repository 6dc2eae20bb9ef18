//! Conversion between opsets of the default domain, up and down.
//!
//! Where an operator changed between the two versions, an adapter rewrites its nodes; where it only
//! came to take more types, nothing has to be done. What an absent attribute stands for is taken from the
//! schemas of both versions. The result is checked at the end, so a file is either right for the target
//! or the conversion is refused with the node's name.

mod attributes_to_inputs;
mod axes;
mod before_seven;
mod defaults;
mod error;
mod image;
mod inputs_to_attributes;
mod meaning;
mod verify;

pub use error::ConvertError;

use crate::graph::{Attribute, Graph, NodeId, ValueId};
use crate::infer::infer_shapes_within;
use crate::model::Model;
use crate::operator::Catalog;
use crate::schema;
use compress_tensor::{DType, Tensor};
use std::sync::Arc;

/// The oldest opset that files are converted to; upwards they are converted from any.
pub const MIN_OPSET: i64 = 7;

/// Before this IR version, initializers had to be graph inputs as well.
const FIRST_IR_WITH_PLAIN_INITIALIZERS: i64 = 4;

/// Converts a model to another opset of the default domain. The model is unchanged on failure.
///
/// # Errors
/// [`ConvertError`] names the node that cannot be expressed in the target version.
pub fn convert(model: &mut Model, target: i64, catalog: &Catalog) -> Result<(), ConvertError> {
    let from = model.opset();
    let newest = schema::registry().newest_opset("").unwrap_or(MIN_OPSET);
    for (version, least) in [(from, 1), (target, MIN_OPSET)] {
        if !(least..=newest).contains(&version) {
            return Err(ConvertError::Version {
                version,
                least,
                newest,
            });
        }
    }
    if from == target {
        return Ok(());
    }
    let mut converted = model.clone();
    infer_shapes_within(&mut converted, catalog)?;
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
    let lists_all = |graph: &Graph| graph.initializers().all(|(id, _)| graph.is_input(id));
    if lists_all(&model.graph) && !lists_all(&converted.graph) {
        converted.ir_version = converted.ir_version.max(FIRST_IR_WITH_PLAIN_INITIALIZERS);
    }
    verify::is_valid(&converted, target)?;
    restore_declared(&mut converted.graph, &model.graph);
    *model = converted;
    Ok(())
}

/// Gives values the facts that the file declared, and no others: the target's rules may infer less, or otherwise.
fn restore_declared(converted: &mut Graph, original: &Graph) {
    let values: Vec<ValueId> = converted.values().map(|(id, _)| id).collect();
    for id in values {
        let declared = original.value_by_name(converted.name_of(id));
        let declared = declared.map(|id| original.value(id).fact.clone());
        converted.value_mut(id).fact = declared.unwrap_or_default();
    }
    let holders = converted
        .nodes()
        .filter(|(_, node)| node.attributes.graphs().next().is_some());
    let holders: Vec<NodeId> = holders.map(|(id, _)| id).collect();
    for id in holders {
        // A node that holds graphs is converted in its place.
        let Some(before) = original.get_node(id) else {
            continue;
        };
        let graphs: Vec<Arc<Graph>> = before.attributes.graphs().cloned().collect();
        converted.edit_node(id, |node| {
            let nested = node.attributes.values_mut().flat_map(|a| a.graphs_mut());
            for (nested, before) in nested.zip(&graphs) {
                restore_declared(Arc::make_mut(nested), before);
            }
        });
    }
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
        for version in versions_between(from, target) {
            // A node may be replaced by others; those are of the target's version.
            let Some(node) = graph.get_node(id) else {
                break;
            };
            let versions = schema::registry().versions("", &node.op_type);
            if versions
                .iter()
                .any(|schema| schema.since_version == version)
            {
                let step = if from < target {
                    Step::Up(version)
                } else {
                    Step::Down(version)
                };
                adapt(graph, id, step)?;
            }
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

/// The versions whose beginnings lie between two opsets, in the order in which they are crossed.
fn versions_between(from: i64, target: i64) -> Box<dyn Iterator<Item = i64>> {
    if from < target {
        Box::new(from + 1..=target)
    } else {
        Box::new((target + 1..=from).rev())
    }
}

fn adapt(graph: &mut Graph, id: NodeId, step: Step) -> Result<(), ConvertError> {
    defaults::spell_out(graph, id, step);
    for adapter in [
        before_seven::adapt,
        attributes_to_inputs::adapt,
        inputs_to_attributes::adapt,
        axes::adapt,
        image::adapt,
        meaning::adapt,
    ] {
        if graph.get_node(id).is_some() {
            adapter(graph, id, step)?;
        }
    }
    if graph.get_node(id).is_some() {
        defaults::drop_new(graph, id, step);
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

/// The rank of input 0, where it is known.
fn rank(graph: &Graph, id: NodeId) -> Option<usize> {
    let input = graph.node(id).input(0)?;
    graph.value(input).fact.as_tensor()?.rank()
}

/// The element type of an input, where it is known.
fn dtype(graph: &Graph, id: NodeId, input: usize) -> Option<DType> {
    let input = graph.node(id).input(input)?;
    graph.value(input).fact.as_tensor()?.dtype
}

/// An attribute of type INT.
fn int(graph: &Graph, id: NodeId, name: &str) -> Option<i64> {
    match graph.node(id).attributes.get(name) {
        Some(Attribute::Int(value)) => Some(*value),
        _ => None,
    }
}

fn set_input(
    graph: &mut Graph,
    id: NodeId,
    index: usize,
    value: ValueId,
) -> Result<(), ConvertError> {
    let node = graph.node(id).clone();
    let mut inputs = node.inputs().to_vec();
    if inputs.len() <= index {
        inputs.resize(index + 1, None);
    }
    inputs[index] = Some(value);
    graph.replace_node(id, node.with_inputs(inputs))?;
    Ok(())
}

fn set_op_type(graph: &mut Graph, id: NodeId, op_type: &str) -> Result<(), ConvertError> {
    let mut node = graph.node(id).clone();
    node.op_type = op_type.to_owned();
    graph.replace_node(id, node)?;
    Ok(())
}
