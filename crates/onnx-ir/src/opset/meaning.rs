//! Operators whose meaning or attributes changed otherwise.
//!
//! * `Softmax`, `LogSoftmax`, `Hardmax` 13: axes from `axis` on were flattened into one before, only
//!   `axis` counts since; the default moved from 1 to -1.
//! * `BatchNormalization` 9 and 14: `spatial` went, `training_mode` came.
//! * `Upsample` 10: replaced by `Resize`, whose coordinates are told by an attribute since 11.
//! * `Split` 18: without sizes the number of outputs must be told.
//! * `Dropout` 7..12: no change outside of training.

use super::inputs_to_attributes::refuse;
use super::{ConvertError, Step, base_name};
use crate::fact::Fact;
use crate::graph::{Attribute, Graph, Node, NodeId};

pub(super) fn adapt(graph: &mut Graph, id: NodeId, step: Step) -> Result<(), ConvertError> {
    let node = graph.node(id);
    match (node.op_type.as_str(), step) {
        ("Softmax" | "LogSoftmax" | "Hardmax", Step::Up(13)) => coerced_softmax_up(graph, id),
        ("Softmax" | "LogSoftmax" | "Hardmax", Step::Down(13)) => softmax_down(graph, id),
        ("BatchNormalization", Step::Up(9)) => {
            let spatial = graph.edit_node(id, |n| n.attributes.remove("spatial"));
            match spatial {
                Some(Attribute::Int(0)) => Err(refuse(
                    graph,
                    id,
                    9,
                    "statistics per activation (spatial = 0)",
                )),
                _ => Ok(()),
            }
        }
        ("BatchNormalization", Step::Up(14)) if node.outputs().iter().flatten().count() > 1 => {
            Err(refuse(graph, id, 14, "it is in training mode"))
        }
        ("BatchNormalization", Step::Down(14)) => {
            let training = graph.edit_node(id, |n| n.attributes.remove("training_mode"));
            match training {
                Some(Attribute::Int(1)) => Err(refuse(graph, id, 13, "it is in training mode")),
                _ => Ok(()),
            }
        }
        ("Upsample", Step::Up(9)) => upsample_scales_to_input(graph, id),
        ("Upsample", Step::Up(10)) => upsample_to_resize(graph, id),
        ("Resize", Step::Up(11)) => resize_up(graph, id),
        ("Split", Step::Up(18)) if node.input(1).is_none() => {
            let count = node.outputs().len() as i64;
            graph.edit_node(id, |n| n.attributes.set("num_outputs", count));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn rank(graph: &Graph, id: NodeId) -> Option<usize> {
    graph
        .value(graph.node(id).input(0)?)
        .fact
        .as_tensor()?
        .rank()
}

fn axis_or(graph: &Graph, id: NodeId, default: i64) -> i64 {
    match graph.node(id).attributes.get("axis") {
        Some(Attribute::Int(axis)) => *axis,
        _ => default,
    }
}

/// Old softmax over `[d0..da) x [da..)`: over the last axis it is the new one; else by way of a matrix.
fn coerced_softmax_up(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let axis = axis_or(graph, id, 1);
    let last = match rank(graph, id) {
        Some(rank) => axis == -1 || usize::try_from(axis).is_ok_and(|a| a + 1 == rank),
        None => axis == -1,
    };
    if last {
        graph.edit_node(id, |n| n.attributes.set("axis", -1i64));
        return Ok(());
    }
    let node = graph.node(id).clone();
    let (Some(x), Some(y)) = (node.input(0), node.output(0)) else {
        return Ok(());
    };
    let base = base_name(graph, id);
    let fresh =
        |graph: &mut Graph, what: &str| graph.fresh_value(&format!("{base}_{what}"), Fact::Unknown);
    let (shape, flat, soft) = (
        fresh(graph, "shape")?,
        fresh(graph, "flat")?,
        fresh(graph, "soft")?,
    );
    graph.remove_node(id);
    graph.add_node(Node::new("Shape", [x], [shape]))?;
    graph.add_node(Node::new("Flatten", [x], [flat]).with("axis", axis))?;
    let mut inner = Node::new(node.op_type.clone(), [flat], [soft]).named(node.name.clone());
    inner.attributes.set("axis", -1i64);
    graph.add_node(inner)?;
    graph.add_node(Node::new("Reshape", [soft, shape], [y]))?;
    Ok(())
}

fn softmax_down(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let axis = axis_or(graph, id, -1);
    let Some(rank) = rank(graph, id) else {
        return Err(refuse(graph, id, 12, "its rank is not known"));
    };
    let resolved = crate::ops::axis::resolve(axis, rank);
    if resolved.is_some_and(|a| a + 1 == rank) {
        graph.edit_node(id, |n| n.attributes.set("axis", rank as i64 - 1));
        return Ok(());
    }
    Err(refuse(graph, id, 12, "its axis is not the last one"))
}

fn upsample_scales_to_input(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let Some(Attribute::Floats(scales)) = graph.edit_node(id, |n| n.attributes.remove("scales"))
    else {
        return Err(refuse(graph, id, 9, "it has no scales"));
    };
    let base = format!("{}_scales", base_name(graph, id));
    let scales = graph.add_initializer(&base, compress_tensor::Tensor::vector(scales))?;
    let node = graph.node(id).clone();
    let inputs = vec![node.input(0), Some(scales)];
    graph.replace_node(id, node.with_inputs(inputs))?;
    Ok(())
}

/// `Upsample` counts source coordinates as `floor(x / scale)` (nearest) or `x / scale` (linear).
fn upsample_to_resize(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let mut node = graph.node(id).clone();
    node.op_type = "Resize".to_owned();
    graph.replace_node(id, node)?;
    resize_up(graph, id)
}

/// `Resize` 10 counts source coordinates as `x / scale`: asymmetric, nearest by floor.
fn resize_up(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let mut node = graph.node(id).clone();
    if node.inputs().len() != 2 {
        return Ok(());
    }
    node.attributes
        .set("coordinate_transformation_mode", "asymmetric");
    let linear = matches!(node.attributes.get("mode"), Some(Attribute::String(m)) if m == b"linear" || m == b"bilinear");
    node.attributes
        .set("mode", if linear { "linear" } else { "nearest" });
    if !linear {
        node.attributes.set("nearest_mode", "floor");
    }
    let base = format!("{}_roi", base_name(graph, id));
    let roi = graph.add_initializer(&base, compress_tensor::Tensor::vector(Vec::<f32>::new()))?;
    let inputs = vec![node.input(0), Some(roi), node.input(1)];
    graph.replace_node(id, node.with_inputs(inputs))?;
    Ok(())
}
