//! Downwards: constant inputs that were attributes once; the inverse of [`super::attributes_to_inputs`].

use super::{ConvertError, Step};
use crate::graph::{Attribute, Graph, NodeId};
use compress_tensor::DType;

pub(super) fn adapt(graph: &mut Graph, id: NodeId, step: Step) -> Result<(), ConvertError> {
    let Step::Down(version) = step else {
        return Ok(());
    };
    let op = graph.node(id).op_type.clone();
    let target = version - 1;
    match (op.as_str(), version) {
        ("Slice", 10) => {
            if let Some(steps) = constant_ints(graph, id, 4, target)?
                && steps.iter().any(|&s| s != 1)
            {
                return Err(refuse(
                    graph,
                    id,
                    target,
                    "a slice with a step other than 1",
                ));
            }
            for (index, name) in [(3, "axes"), (2, "ends"), (1, "starts")] {
                move_ints(graph, id, index, name, target)?;
            }
            truncate(graph, id, 1)
        }
        ("TopK", 10) => {
            if let Some(k) = constant_ints(graph, id, 1, target)? {
                let k = k.first().copied().unwrap_or(0);
                graph.edit_node(id, |n| n.attributes.set("k", k));
            }
            truncate(graph, id, 1)
        }
        ("Clip", 11) => {
            move_float(graph, id, 1, "min", target)?;
            move_float(graph, id, 2, "max", target)?;
            truncate(graph, id, 1)
        }
        ("Pad", 11) => {
            move_ints(graph, id, 1, "pads", target)?;
            move_float(graph, id, 2, "value", target)?;
            truncate(graph, id, 1)
        }
        ("Dropout", 12) => {
            move_float(graph, id, 1, "ratio", target)?;
            truncate(graph, id, 1)
        }
        ("Squeeze" | "Unsqueeze" | "ReduceSum", 13) => {
            move_ints(graph, id, 1, "axes", target)?;
            if matches!(
                graph.node(id).attributes.get("noop_with_empty_axes"),
                Some(Attribute::Int(1))
            ) {
                return Err(refuse(
                    graph,
                    id,
                    target,
                    "an empty list of axes that means no axis",
                ));
            }
            graph.edit_node(id, |n| n.attributes.remove("noop_with_empty_axes"));
            truncate(graph, id, 1)
        }
        ("Split", 13) => {
            move_ints(graph, id, 1, "split", target)?;
            truncate(graph, id, 1)
        }
        (reduction, 18) if reduction.starts_with("Reduce") && reduction != "ReduceSum" => {
            move_ints(graph, id, 1, "axes", target)?;
            if matches!(
                graph.node(id).attributes.get("noop_with_empty_axes"),
                Some(Attribute::Int(1))
            ) {
                return Err(refuse(
                    graph,
                    id,
                    target,
                    "an empty list of axes that means no axis",
                ));
            }
            graph.edit_node(id, |n| n.attributes.remove("noop_with_empty_axes"));
            truncate(graph, id, 1)
        }
        ("Split", 18) => {
            graph.edit_node(id, |n| n.attributes.remove("num_outputs"));
            Ok(())
        }
        _ => Ok(()),
    }
}

pub(super) fn refuse(graph: &Graph, id: NodeId, target: i64, reason: &str) -> ConvertError {
    ConvertError::Node {
        node: graph.describe(id),
        target,
        reason: reason.to_owned(),
    }
}

fn move_ints(
    graph: &mut Graph,
    id: NodeId,
    index: usize,
    name: &str,
    target: i64,
) -> Result<(), ConvertError> {
    if let Some(values) = constant_ints(graph, id, index, target)? {
        graph.edit_node(id, |n| n.attributes.set(name, values));
    }
    Ok(())
}

fn move_float(
    graph: &mut Graph,
    id: NodeId,
    index: usize,
    name: &str,
    target: i64,
) -> Result<(), ConvertError> {
    let Some(value) = graph.node(id).input(index) else {
        return Ok(());
    };
    let number = graph
        .constant(value)
        .filter(|t| t.dtype().is_float() && t.len() == 1)
        .and_then(crate::ops::elementwise::unary::first_as_f64);
    match number {
        Some(number) => {
            graph.edit_node(id, |n| n.attributes.set(name, number as f32));
            Ok(())
        }
        None => Err(refuse(
            graph,
            id,
            target,
            "an input that was an attribute is not a constant float",
        )),
    }
}

/// Input `index` as integers; an error where it is there but not constant.
fn constant_ints(
    graph: &Graph,
    id: NodeId,
    index: usize,
    target: i64,
) -> Result<Option<Vec<i64>>, ConvertError> {
    let Some(value) = graph.node(id).input(index) else {
        return Ok(None);
    };
    let ints = graph
        .constant(value)
        .filter(|t| matches!(t.dtype(), DType::I64 | DType::I32));
    match ints.and_then(|t| t.to_i64_vec().ok()) {
        Some(ints) => Ok(Some(ints)),
        None => Err(refuse(
            graph,
            id,
            target,
            "an input that was an attribute is not constant",
        )),
    }
}

fn truncate(graph: &mut Graph, id: NodeId, inputs: usize) -> Result<(), ConvertError> {
    let node = graph.node(id).clone();
    let dropped: Vec<_> = node
        .inputs()
        .iter()
        .skip(inputs)
        .flatten()
        .copied()
        .collect();
    let kept = node.inputs().iter().copied().take(inputs).collect();
    graph.replace_node(id, node.with_inputs(kept))?;
    for value in dropped {
        match graph.producer(value) {
            Some(producer) => drop(graph.remove_dead([producer])),
            None => drop(graph.remove_value_if_unused(value)),
        }
    }
    Ok(())
}
