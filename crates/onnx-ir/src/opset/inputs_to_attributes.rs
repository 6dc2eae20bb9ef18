//! Downwards: constant inputs that were attributes once; the inverse of [`super::attributes_to_inputs`].

use super::{ConvertError, Step, base_name, int, ints, rank, set_input};
use crate::graph::{Graph, NodeId};
use compress_tensor::{DType, Tensor};

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
                let reason = "a slice with a step other than 1";
                return Err(refuse(graph, id, target, reason));
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
        ("Pad", 18) => pad_of_some_axes(graph, id, target),
        ("Pad", 11) => {
            move_ints(graph, id, 1, "pads", target)?;
            move_float(graph, id, 2, "value", target)?;
            truncate(graph, id, 1)
        }
        ("Dropout", 12) => {
            if let Some(training) = graph.node(id).input(2) {
                let off = |t: &Tensor| t.data::<bool>().is_ok_and(|t| t.iter().all(|&t| !t));
                if !graph.constant(training).is_some_and(off) {
                    let reason = "it is in training mode, or may be";
                    return Err(refuse(graph, id, target, reason));
                }
            }
            if graph.node(id).output(1).is_some() {
                let reason = "what its mask holds outside of training was not said";
                return Err(refuse(graph, id, target, reason));
            }
            graph.edit_node(id, |n| n.attributes.remove("seed"));
            move_float(graph, id, 1, "ratio", target)?;
            truncate(graph, id, 1)
        }
        ("Split", 13) => {
            move_ints(graph, id, 1, "split", target)?;
            truncate(graph, id, 1)
        }
        ("Squeeze" | "Unsqueeze", 13) => {
            move_ints(graph, id, 1, "axes", target)?;
            truncate(graph, id, 1)
        }
        ("ReduceSum", 13) => axes_of_reduction(graph, id, target),
        (reduction, 18) if reduction.starts_with("Reduce") && reduction != "ReduceSum" => {
            axes_of_reduction(graph, id, target)
        }
        ("DFT", 20) => {
            let axis = constant_ints(graph, id, 2, target)?;
            let axis = axis.and_then(|axis| axis.first().copied()).unwrap_or(-2);
            graph.edit_node(id, |n| n.attributes.set("axis", axis));
            truncate(graph, id, 2)
        }
        ("Upsample", 9) => {
            let scales = graph.node(id).input(1);
            let scales = scales.and_then(|s| graph.constant(s)?.to_f32_vec().ok());
            let Some(scales) = scales else {
                return Err(refuse(graph, id, target, NOT_CONSTANT));
            };
            graph.edit_node(id, |n| n.attributes.set("scales", scales));
            truncate(graph, id, 1)
        }
        _ => Ok(()),
    }
}

const NOT_CONSTANT: &str = "an input that was an attribute is not constant";

/// Without axes all are reduced; an empty list of them, where it means none, cannot be said as an attribute.
fn axes_of_reduction(graph: &mut Graph, id: NodeId, target: i64) -> Result<(), ConvertError> {
    let axes = constant_ints(graph, id, 1, target)?.filter(|axes| !axes.is_empty());
    match axes {
        Some(axes) => {
            graph.edit_node(id, |n| n.attributes.set("axes", axes));
        }
        None if int(graph, id, "noop_with_empty_axes") == Some(1) => {
            let reason = "an empty list of axes that means no axis";
            return Err(refuse(graph, id, target, reason));
        }
        None => {}
    }
    graph.edit_node(id, |n| n.attributes.remove("noop_with_empty_axes"));
    truncate(graph, id, 1)
}

/// Pads of the listed axes become pads of all: `[begins.., ends..]`, 0 where an axis is not listed.
fn pad_of_some_axes(graph: &mut Graph, id: NodeId, target: i64) -> Result<(), ConvertError> {
    let Some(axes) = constant_ints(graph, id, 3, target)? else {
        return truncate(graph, id, 3);
    };
    let pads = constant_ints(graph, id, 1, target)?.unwrap_or_default();
    let all = rank(graph, id).and_then(|rank| {
        let mut all = vec![0; 2 * rank];
        for (i, &axis) in axes.iter().enumerate() {
            let axis = crate::ops::axis::resolve(axis, rank)?;
            all[axis] = *pads.get(i)?;
            all[rank + axis] = *pads.get(axes.len() + i)?;
        }
        Some(all)
    });
    let Some(all) = all else {
        return Err(refuse(
            graph,
            id,
            target,
            "pads of some axes of an unknown rank",
        ));
    };
    let base = format!("{}_pads", base_name(graph, id));
    let all = ints(graph, &base, all)?;
    set_input(graph, id, 1, all)?;
    truncate(graph, id, 3)
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
        None => Err(refuse(graph, id, target, NOT_CONSTANT)),
    }
}

/// Drops the inputs from position `inputs` on, and what only they needed.
pub(super) fn truncate(graph: &mut Graph, id: NodeId, inputs: usize) -> Result<(), ConvertError> {
    let node = graph.node(id).clone();
    let dropped = node.inputs().iter().skip(inputs).flatten();
    // By name: what one of them takes with it may be another one, or the same.
    let dropped: Vec<String> = dropped.map(|&v| graph.name_of(v).to_owned()).collect();
    let kept = node.inputs().iter().copied().take(inputs).collect();
    graph.replace_node(id, node.with_inputs(kept))?;
    for name in dropped {
        let Some(value) = graph.value_by_name(&name) else {
            continue;
        };
        match graph.producer(value) {
            Some(producer) => drop(graph.remove_dead([producer])),
            None => drop(graph.remove_value_if_unused(value)),
        }
    }
    Ok(())
}
