//! Upwards from opsets before 7, in which operators said how they broadcast.
//!
//! | operator | version | change |
//! |---|---|---|
//! | `Pad` | 2 | `paddings` is called `pads` |
//! | `Reshape` | 5 | the shape is an input |
//! | `Cast` | 6 | the type is a number, not a name |
//! | all | 6 | `consumed_inputs` has no meaning any more |
//! | `Add`, `Mul`, … | 7 | `broadcast`, `axis`: `B` was laid along the axes of `A` from `axis` on |
//! | `PRelu` | 7 | a slope for each channel is `[C, 1, …]` |
//! | `BatchNormalization`, `Dropout` | 7 | `is_test`: outside of training |
//! | `Gemm` | 7 | `broadcast` of `C` is always on |
//! | `RNN`, `GRU`, `LSTM` | 7 | outputs are there where they are named |
//! | `Upsample` | 7 | one list of scales |

use super::inputs_to_attributes::refuse;
use super::{ConvertError, Step, base_name, int, ints, rank, set_input};
use crate::fact::Fact;
use crate::graph::{Attribute, Graph, Node, NodeId, ValueId};
use crate::proto::tensor_proto::DataType;

pub(super) fn adapt(graph: &mut Graph, id: NodeId, step: Step) -> Result<(), ConvertError> {
    let Step::Up(version @ 2..=7) = step else {
        return Ok(());
    };
    graph.edit_node(id, |n| n.attributes.remove("consumed_inputs"));
    let op = graph.node(id).op_type.clone();
    match (op.as_str(), version) {
        ("Pad", 2) => {
            if let Some(pads) = graph.edit_node(id, |n| n.attributes.remove("paddings")) {
                graph.edit_node(id, |n| n.attributes.set("pads", pads));
            }
            Ok(())
        }
        ("Reshape", 5) => {
            let Some(Attribute::Ints(shape)) =
                graph.edit_node(id, |n| n.attributes.remove("shape"))
            else {
                return Err(refuse(graph, id, 5, "it has no shape"));
            };
            let base = format!("{}_shape", base_name(graph, id));
            let shape = ints(graph, &base, shape)?;
            set_input(graph, id, 1, shape)
        }
        ("Cast", 6) => {
            let code = match graph.node(id).attributes.get("to") {
                Some(Attribute::String(name)) => std::str::from_utf8(name)
                    .ok()
                    .and_then(DataType::from_str_name),
                _ => return Ok(()),
            };
            let Some(code) = code else {
                return Err(refuse(graph, id, 6, "it names a type that is none"));
            };
            graph.edit_node(id, |n| n.attributes.set("to", code as i64));
            Ok(())
        }
        ("Tile", 6) => Err(refuse(graph, id, 6, "it repeats one axis")),
        (
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "And" | "Or" | "Xor" | "Equal" | "Greater"
            | "Less",
            7,
        ) => broadcast(graph, id),
        ("PRelu", 7) => slope_by_channel(graph, id),
        ("BatchNormalization" | "Dropout", 7) => {
            let is_test = graph.edit_node(id, |n| n.attributes.remove("is_test"));
            match is_test {
                Some(Attribute::Int(1)) => Ok(()),
                _ => Err(refuse(graph, id, 7, "it is in training mode")),
            }
        }
        ("Gemm", 7) => {
            graph.edit_node(id, |n| n.attributes.remove("broadcast"));
            Ok(())
        }
        ("RNN" | "GRU" | "LSTM", 7) => {
            graph.edit_node(id, |n| n.attributes.remove("output_sequence"));
            Ok(())
        }
        ("Upsample", 7) => {
            let mut scales = vec![1f32, 1.0];
            for name in ["height_scale", "width_scale"] {
                match graph.edit_node(id, |n| n.attributes.remove(name)) {
                    Some(Attribute::Float(scale)) => scales.push(scale),
                    _ => return Err(refuse(graph, id, 7, "it has no scales")),
                }
            }
            graph.edit_node(id, |n| n.attributes.set("scales", scales));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `B` is laid along the axes of `A` from `axis` on: axes of size 1 behind it say the same.
fn broadcast(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let axis = int(graph, id, "axis");
    graph.edit_node(id, |n| n.attributes.remove("axis"));
    let is_broadcast = matches!(
        graph.edit_node(id, |n| n.attributes.remove("broadcast")),
        Some(Attribute::Int(1))
    );
    let (Some(axis), true, Some(b)) = (axis, is_broadcast, graph.node(id).input(1)) else {
        return Ok(());
    };
    let shape = sizes(graph, b);
    let behind = rank(graph, id)
        .zip(shape.as_ref())
        .and_then(|(rank, shape)| {
            let axis = if axis < 0 { axis + rank as i64 } else { axis };
            rank.checked_sub(usize::try_from(axis).ok()? + shape.len())
        });
    match (behind, shape) {
        (Some(0), _) => Ok(()),
        (Some(behind), Some(mut shape)) => {
            shape.extend(vec![1; behind]);
            reshape_input(graph, id, b, shape)
        }
        _ => Err(refuse(
            graph,
            id,
            7,
            "it broadcasts along axes that are not known",
        )),
    }
}

fn slope_by_channel(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let Some(slope) = graph.node(id).input(1) else {
        return Ok(());
    };
    match (sizes(graph, slope), rank(graph, id)) {
        (Some(shape), _) if shape == [1] || shape.len() > 1 => Ok(()),
        (Some(shape), Some(rank)) if shape.len() == 1 => {
            let mut shape = shape;
            shape.extend(vec![1; rank.saturating_sub(2)]);
            reshape_input(graph, id, slope, shape)
        }
        _ => Err(refuse(
            graph,
            id,
            7,
            "the shape of its slope or the rank of its input is not known",
        )),
    }
}

fn sizes(graph: &Graph, value: ValueId) -> Option<Vec<i64>> {
    if let Some(tensor) = graph.constant(value) {
        return Some(tensor.shape().iter().map(|&size| size as i64).collect());
    }
    let sizes = graph.value(value).fact.as_tensor()?.sizes()?;
    Some(sizes.into_iter().map(|size| size as i64).collect())
}

/// Has input 1, which is `value`, reshaped.
fn reshape_input(
    graph: &mut Graph,
    id: NodeId,
    value: ValueId,
    shape: Vec<i64>,
) -> Result<(), ConvertError> {
    let base = base_name(graph, id);
    let shape = ints(graph, &format!("{base}_shape"), shape)?;
    let reshaped = graph.fresh_value(&format!("{base}_reshaped"), Fact::Unknown)?;
    graph.add_node(Node::new("Reshape", [value, shape], [reshaped]))?;
    set_input(graph, id, 1, reshaped)
}
