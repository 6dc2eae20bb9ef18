//! Upwards: attributes that became inputs.
//!
//! | operator | version | attribute |
//! |---|---|---|
//! | `Slice` | 10 | `starts`, `ends`, `axes` |
//! | `TopK` | 10 | `k` |
//! | `Clip`, `Pad` | 11 | `min`, `max`; `pads`, `value` |
//! | `Dropout` | 12 | `ratio` |
//! | `Squeeze`, `Unsqueeze`, `ReduceSum`, `Split` | 13 | `axes`; `split` |
//! | other reductions | 18 | `axes` |
//! | `DFT` | 20 | `axis` |

use super::{ConvertError, Step, base_name, dtype, ints, set_input};
use crate::graph::{Attribute, Graph, NodeId};
use compress_tensor::{DType, Tensor};

pub(super) fn adapt(graph: &mut Graph, id: NodeId, step: Step) -> Result<(), ConvertError> {
    let Step::Up(version) = step else {
        return Ok(());
    };
    let op = graph.node(id).op_type.clone();
    match (op.as_str(), version) {
        ("Slice", 10) => slice(graph, id),
        ("TopK", 10) => {
            let k = take_int(graph, id, "k");
            append(graph, id, 1, k.map(|k| ("k", vec![k])))
        }
        ("Clip", 11) => {
            let (min, max) = (take_float(graph, id, "min"), take_float(graph, id, "max"));
            float_input(graph, id, 1, "min", min)?;
            float_input(graph, id, 2, "max", max)
        }
        ("Pad", 11) => {
            let pads = take_ints(graph, id, "pads");
            append(graph, id, 1, pads.map(|p| ("pads", p)))?;
            let value = take_float(graph, id, "value").filter(|&v| v != 0.0);
            float_input(graph, id, 2, "value", value)
        }
        ("Dropout", 12) => {
            let ratio = take_float(graph, id, "ratio");
            float_input(graph, id, 1, "ratio", ratio)
        }
        ("Squeeze" | "Unsqueeze" | "ReduceSum", 13) | ("Split", 13) => {
            let name = if op == "Split" { "split" } else { "axes" };
            let values = take_ints(graph, id, name);
            append(graph, id, 1, values.map(|v| (name, v)))
        }
        (reduction, 18) if reduction.starts_with("Reduce") && reduction != "ReduceSum" => {
            let axes = take_ints(graph, id, "axes");
            append(graph, id, 1, axes.map(|a| ("axes", a)))
        }
        ("DFT", 20) => {
            let axis = take_int(graph, id, "axis").unwrap_or(1);
            let base = format!("{}_axis", base_name(graph, id));
            let axis = graph.add_initializer(&base, Tensor::scalar(axis))?;
            set_input(graph, id, 2, axis)
        }
        _ => Ok(()),
    }
}

fn slice(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    for (index, name) in ["starts", "ends", "axes"].into_iter().enumerate() {
        let values = take_ints(graph, id, name);
        append(graph, id, index + 1, values.map(|v| (name, v)))?;
    }
    Ok(())
}

/// Gives a node an i64 vector as input `index`.
fn append(
    graph: &mut Graph,
    id: NodeId,
    index: usize,
    values: Option<(&str, Vec<i64>)>,
) -> Result<(), ConvertError> {
    let Some((name, values)) = values else {
        return Ok(());
    };
    let base = format!("{}_{name}", base_name(graph, id));
    let value = ints(graph, &base, values)?;
    set_input(graph, id, index, value)
}

/// Gives a node a scalar of its own float type as input `index`.
fn float_input(
    graph: &mut Graph,
    id: NodeId,
    index: usize,
    name: &str,
    value: Option<f32>,
) -> Result<(), ConvertError> {
    let Some(value) = value else { return Ok(()) };
    let tensor = match dtype(graph, id, 0) {
        Some(DType::F64) => Tensor::scalar(f64::from(value)),
        Some(DType::F16) => Tensor::scalar(half::f16::from_f32(value)),
        _ => Tensor::scalar(value),
    };
    let base = format!("{}_{name}", base_name(graph, id));
    let value = graph.add_initializer(&base, tensor)?;
    set_input(graph, id, index, value)
}

fn take(graph: &mut Graph, id: NodeId, name: &str) -> Option<Attribute> {
    graph.edit_node(id, |node| node.attributes.remove(name))
}

fn take_ints(graph: &mut Graph, id: NodeId, name: &str) -> Option<Vec<i64>> {
    match take(graph, id, name) {
        Some(Attribute::Ints(values)) => Some(values),
        _ => None,
    }
}

fn take_int(graph: &mut Graph, id: NodeId, name: &str) -> Option<i64> {
    match take(graph, id, name) {
        Some(Attribute::Int(value)) => Some(value),
        _ => None,
    }
}

fn take_float(graph: &mut Graph, id: NodeId, name: &str) -> Option<f32> {
    match take(graph, id, name) {
        Some(Attribute::Float(value)) => Some(value),
        _ => None,
    }
}
