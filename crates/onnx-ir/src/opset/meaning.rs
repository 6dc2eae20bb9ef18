//! Operators whose meaning or attributes changed otherwise; those of images are in [`super::image`].
//!
//! * `Softmax`, `LogSoftmax`, `Hardmax` 13: axes from `axis` on were flattened into one before, only
//!   `axis` counts since; the default moved from 1 to -1.
//! * `BatchNormalization` 9 and 14: `spatial` went, `training_mode` came.
//! * `Sum`, `Mean`, `Max`, `Min` 8: took inputs of one shape before.
//! * `Scan` 9: lost its batch axis.
//! * `Gemm` 11: may do without `C`. `Constant` 9: of any type; 12: in other attributes than `value`, too.
//! * `Scatter` 11 is called `ScatterElements`; 18 can also take the larger and the smaller.
//! * `QuantizeLinear`, `DequantizeLinear` 13: one scale for each slice; 21, 23: the type of the output.
//! * `Shape` 15: of some axes. `Split` 18: without sizes the number of outputs must be told; the last may be smaller.
//! * `GroupNormalization` 21: scale and bias by channel, by group before.

use super::inputs_to_attributes::refuse;
use super::{ConvertError, Step, base_name, dtype, int, ints, rank, set_input, set_op_type};
use crate::fact::Fact;
use crate::graph::{Attribute, Graph, Node, NodeId, ValueId};
use compress_tensor::{DType, Tensor};

pub(super) fn adapt(graph: &mut Graph, id: NodeId, step: Step) -> Result<(), ConvertError> {
    let node = graph.node(id);
    match (node.op_type.as_str(), step) {
        ("Softmax" | "LogSoftmax" | "Hardmax", Step::Up(13)) => coerced_softmax_up(graph, id),
        ("Softmax" | "LogSoftmax" | "Hardmax", Step::Down(13)) => softmax_down(graph, id),
        ("BatchNormalization", Step::Up(9)) => {
            let spatial = graph.edit_node(id, |n| n.attributes.remove("spatial"));
            match spatial {
                Some(Attribute::Int(0)) => {
                    let reason = "statistics per activation (spatial = 0)";
                    Err(refuse(graph, id, 9, reason))
                }
                _ => Ok(()),
            }
        }
        ("BatchNormalization", Step::Up(14)) if node.outputs().iter().flatten().count() > 1 => {
            Err(refuse(graph, id, 14, "it is in training mode"))
        }
        ("BatchNormalization", Step::Down(14)) if int(graph, id, "training_mode") == Some(1) => {
            Err(refuse(graph, id, 13, "it is in training mode"))
        }
        ("Sum" | "Mean" | "Max" | "Min", Step::Down(8)) => same_shapes(graph, id),
        ("Scan", Step::Up(9) | Step::Down(9)) => Err(refuse(
            graph,
            id,
            8,
            "a scan had a batch axis before opset 9",
        )),
        ("Gemm", Step::Down(11)) if node.input(2).is_none() => zero_bias(graph, id),
        ("Constant", Step::Down(12)) => constant_down(graph, id),
        ("Constant", Step::Down(9)) => constant_to_initializer(graph, id),
        ("Scatter", Step::Up(11)) => set_op_type(graph, id, "ScatterElements"),
        ("ScatterElements", Step::Down(11)) => set_op_type(graph, id, "Scatter"),
        ("ScatterElements" | "ScatterND", Step::Down(18)) => {
            match graph.node(id).attributes.get("reduction") {
                Some(Attribute::String(r)) if r == b"max" || r == b"min" => {
                    Err(refuse(graph, id, 17, "it takes the larger or the smaller"))
                }
                _ => Ok(()),
            }
        }
        ("QuantizeLinear" | "DequantizeLinear", Step::Down(13)) => one_scale(graph, id),
        ("QuantizeLinear", Step::Down(21)) => output_type_by_zero_point(graph, id),
        ("DequantizeLinear", Step::Down(23)) => {
            let scale = dtype(graph, id, 1).and_then(crate::io::code_of_dtype);
            if scale.map(i64::from) == int(graph, id, "output_dtype") {
                graph.edit_node(id, |n| n.attributes.remove("output_dtype"));
            }
            Ok(())
        }
        ("Shape", Step::Down(15)) => shape_of_some_axes(graph, id),
        ("Split", Step::Up(18)) if node.input(1).is_none() => {
            let count = node.outputs().len() as i64;
            graph.edit_node(id, |n| n.attributes.set("num_outputs", count));
            Ok(())
        }
        ("Split", Step::Down(18)) => split_down(graph, id),
        ("GroupNormalization", Step::Up(21)) => scale_by_channel(graph, id),
        ("GroupNormalization", Step::Down(21)) => {
            Err(refuse(graph, id, 20, "scale and bias were by group before"))
        }
        _ => Ok(()),
    }
}

/// Old softmax over `[d0..da) x [da..)`: over the last axis it is the new one; else by way of a matrix.
fn coerced_softmax_up(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let axis = int(graph, id, "axis").unwrap_or(1);
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

/// Over an axis that is not the last: that axis is swapped with the last one, and back.
fn softmax_down(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let Some(rank) = rank(graph, id) else {
        return Err(refuse(graph, id, 12, "its rank is not known"));
    };
    let axis = crate::ops::axis::resolve(int(graph, id, "axis").unwrap_or(-1), rank);
    let Some(axis) = axis else {
        return Err(refuse(graph, id, 12, "its axis lies outside of the input"));
    };
    let last = rank - 1;
    let node = graph.node(id).clone();
    let (Some(x), Some(y)) = (node.input(0), node.output(0)) else {
        return Ok(());
    };
    graph.edit_node(id, |n| n.attributes.set("axis", last as i64));
    if axis == last {
        return Ok(());
    }
    let mut order: Vec<i64> = (0..rank as i64).collect();
    order.swap(axis, last);
    let base = base_name(graph, id);
    let swapped = graph.fresh_value(&format!("{base}_swapped"), Fact::Unknown)?;
    let soft = graph.fresh_value(&format!("{base}_soft"), Fact::Unknown)?;
    let inner = graph.remove_node(id);
    let inner = inner
        .with_inputs(vec![Some(swapped)])
        .with_outputs(vec![Some(soft)]);
    let swap = |from, to| Node::new("Transpose", [from], [to]).with("perm", order.clone());
    graph.add_node(swap(x, swapped))?;
    graph.add_node(inner)?;
    graph.add_node(swap(soft, y))?;
    Ok(())
}

fn same_shapes(graph: &Graph, id: NodeId) -> Result<(), ConvertError> {
    let shape = |value: &ValueId| {
        let shape = graph.value(*value).fact.as_tensor()?.shape.clone()?;
        shape.iter().all(|dim| !dim.is_unknown()).then_some(shape)
    };
    let shapes: Option<Vec<_>> = graph
        .node(id)
        .inputs()
        .iter()
        .flatten()
        .map(shape)
        .collect();
    let are_same = shapes.is_some_and(|shapes| {
        shapes.windows(2).all(|pair| {
            pair[0].len() == pair[1].len()
                && pair[0].iter().zip(&pair[1]).all(|(a, b)| a.is_same(b))
        })
    });
    match are_same {
        true => Ok(()),
        false => Err(refuse(graph, id, 7, "its inputs must have one shape")),
    }
}

fn zero_bias(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let zero = dtype(graph, id, 0).and_then(|dtype| zeros(dtype, &[1]));
    let Some(zero) = zero else {
        return Err(refuse(
            graph,
            id,
            10,
            "it has no `C`, and its type is not known",
        ));
    };
    let base = format!("{}_c", base_name(graph, id));
    let zero = graph.add_initializer(&base, zero)?;
    set_input(graph, id, 2, zero)
}

fn constant_down(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let strings = |texts: &[Vec<u8>]| {
        let texts = texts.iter().map(|text| String::from_utf8(text.clone()));
        texts.collect::<Result<Vec<String>, _>>().ok()
    };
    let found = graph.node(id).attributes.iter().next();
    let found = found.map(|(name, value)| (name.to_owned(), value.clone()));
    let (name, tensor) = match found {
        Some((name, Attribute::Int(value))) => (name, Some(Tensor::scalar(value))),
        Some((name, Attribute::Float(value))) => (name, Some(Tensor::scalar(value))),
        Some((name, Attribute::Ints(values))) => (name, Some(Tensor::vector(values))),
        Some((name, Attribute::Floats(values))) => (name, Some(Tensor::vector(values))),
        Some((name, Attribute::String(text))) => {
            let text = strings(&[text]);
            (
                name,
                text.and_then(|text| Tensor::from_strings(&[], text).ok()),
            )
        }
        Some((name, Attribute::Strings(texts))) => {
            let texts = strings(&texts);
            let shape = [texts.as_ref().map_or(0, Vec::len)];
            (
                name,
                texts.and_then(|texts| Tensor::from_strings(&shape, texts).ok()),
            )
        }
        _ => return Ok(()),
    };
    if let Some(tensor) = tensor {
        graph.edit_node(id, |n| {
            n.attributes.remove(&name);
            n.attributes.set("value", tensor)
        });
    }
    Ok(())
}

/// Constants were of floating-point types only; initializers are of any.
fn constant_to_initializer(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let node = graph.node(id);
    let (Some(Attribute::Tensor(tensor)), Some(output)) =
        (node.attributes.get("value"), node.output(0))
    else {
        return Ok(());
    };
    if !matches!(tensor.dtype(), DType::F16 | DType::F32 | DType::F64) {
        let tensor = tensor.clone();
        graph.remove_node(id);
        graph.set_initializer(output, tensor);
    }
    Ok(())
}

fn one_scale(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let scale = graph.node(id).input(1);
    let scale = scale.and_then(|scale| graph.value(scale).fact.as_tensor()?.sizes());
    if scale.is_some_and(|sizes| sizes.iter().product::<usize>() == 1) {
        graph.edit_node(id, |n| n.attributes.remove("axis"));
        return Ok(());
    }
    Err(refuse(
        graph,
        id,
        12,
        "one scale for each slice, or perhaps so",
    ))
}

/// An output type that is told becomes a zero point of that type.
fn output_type_by_zero_point(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let code = int(graph, id, "output_dtype").filter(|&code| code != 0);
    let Some(code) = code else { return Ok(()) };
    let dtype = i32::try_from(code).ok().and_then(crate::io::dtype_of_code);
    if graph.node(id).input(2).is_none() {
        let scale = graph.node(id).input(1);
        let scale = scale.and_then(|scale| graph.value(scale).fact.as_tensor()?.sizes());
        let zero = scale
            .zip(dtype)
            .and_then(|(shape, dtype)| zeros(dtype, &shape));
        let Some(zero) = zero else {
            return Err(refuse(
                graph,
                id,
                20,
                "it has no zero point of its output's type",
            ));
        };
        let base = format!("{}_zero_point", base_name(graph, id));
        let zero = graph.add_initializer(&base, zero)?;
        set_input(graph, id, 2, zero)?;
    }
    graph.edit_node(id, |n| n.attributes.remove("output_dtype"));
    Ok(())
}

fn zeros(dtype: DType, shape: &[usize]) -> Option<Tensor> {
    let bytes = dtype.byte_len(compress_tensor::element_count(shape)?)?;
    Tensor::from_bytes(dtype, shape, vec![0u8; bytes].into()).ok()
}

/// `Shape` of some axes becomes a slice of the shape.
fn shape_of_some_axes(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let (start, end) = (int(graph, id, "start"), int(graph, id, "end"));
    if start.unwrap_or(0) == 0 && end.is_none() {
        return Ok(());
    }
    let Some(output) = graph.node(id).output(0) else {
        return Ok(());
    };
    let base = base_name(graph, id);
    let bounds = [
        ("start", start.unwrap_or(0)),
        ("end", end.unwrap_or(i64::MAX)),
    ];
    let mut inputs = vec![graph.fresh_value(&format!("{base}_whole"), Fact::Unknown)?];
    for (name, bound) in bounds {
        inputs.push(ints(graph, &format!("{base}_{name}"), vec![bound])?);
    }
    let mut whole = graph.remove_node(id).with_outputs(vec![Some(inputs[0])]);
    whole.attributes.remove("start");
    whole.attributes.remove("end");
    graph.add_node(whole)?;
    graph.add_node(Node::new("Slice", inputs, [output]))?;
    Ok(())
}

/// Before, parts were of one size unless sizes were given: they are, where the last part is smaller.
fn split_down(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let Some(count) = int(graph, id, "num_outputs") else {
        return Ok(());
    };
    graph.edit_node(id, |n| n.attributes.remove("num_outputs"));
    let size = rank(graph, id).and_then(|rank| {
        let axis = crate::ops::axis::resolve(int(graph, id, "axis").unwrap_or(0), rank)?;
        let input = graph.value(graph.node(id).input(0)?).fact.as_tensor()?;
        input.shape.as_ref()?[axis].as_known()
    });
    let Some(size) = size.filter(|_| count > 0) else {
        return Err(refuse(
            graph,
            id,
            17,
            "whether its parts are of one size is not known",
        ));
    };
    if size % count == 0 {
        return Ok(());
    }
    let part = (size + count - 1) / count;
    let parts: Vec<i64> = (0..count)
        .map(|i| part.min(size - i * part).max(0))
        .collect();
    let base = format!("{}_split", base_name(graph, id));
    let parts = ints(graph, &base, parts)?;
    set_input(graph, id, 1, parts)
}

/// Each value of a group is repeated for its channels: `[groups] -> [groups, 1] -> [groups, c / groups] -> [c]`.
fn scale_by_channel(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let groups = int(graph, id, "num_groups").filter(|&groups| groups > 0);
    let channels = graph.node(id).input(0).and_then(|x| {
        graph
            .value(x)
            .fact
            .as_tensor()?
            .shape
            .as_ref()?
            .get(1)?
            .as_known()
    });
    let (Some(groups), Some(channels)) = (groups, channels) else {
        return Err(refuse(graph, id, 21, "its number of channels is not known"));
    };
    let base = base_name(graph, id);
    let column = ints(graph, &format!("{base}_column"), vec![groups, 1])?;
    let repeated = ints(
        graph,
        &format!("{base}_repeated"),
        vec![groups, channels / groups],
    )?;
    let flat = ints(graph, &format!("{base}_flat"), vec![-1])?;
    for index in [1, 2] {
        let Some(mut value) = graph.node(id).input(index) else {
            continue;
        };
        for (op, shape) in [("Reshape", column), ("Expand", repeated), ("Reshape", flat)] {
            let next = graph.fresh_value(&format!("{base}_by_channel"), Fact::Unknown)?;
            graph.add_node(Node::new(op, [value, shape], [next]))?;
            value = next;
        }
        set_input(graph, id, index, value)?;
    }
    Ok(())
}
