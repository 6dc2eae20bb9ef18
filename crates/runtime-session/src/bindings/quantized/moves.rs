//! Operators that only move, select or compare values: between a `DequantizeLinear` and a `QuantizeLinear` of the
//! same scale they run on the 8-bit values. `Concat` and `Softmax` run as the operators that ONNX Runtime has.

use super::params::{self, Quantized};
use crate::bindings::{self, reference};
use crate::error::SessionError;
use crate::plan::{Bound, Selector};
use onnx_ir::{Attribute, Node, NodeId, ValueId};

/// Binds the node `inner` between `DequantizeLinear` inputs and the quantizer `y`, whose node is `root`.
///
/// # Errors
/// Those of binding the node by itself.
pub(crate) fn bind_region(
    selector: &mut Selector<'_>,
    root: NodeId,
    inner: NodeId,
    y: &Quantized,
) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(inner);
    if !node.is(&node.op_type) || node.outputs().iter().flatten().count() != 1 {
        return Ok(None);
    }
    match node.op_type.as_str() {
        "Softmax" => softmax(selector, root, node),
        "Concat" => concat(selector, root, inner, y),
        _ if moves(node) => {
            let Some(real) = node.input(0) else {
                return Ok(None);
            };
            on_bytes(selector, root, inner, &[real], y)
        }
        _ => Ok(None),
    }
}

/// Whether the elements of the result are elements of input 0.
fn moves(node: &Node) -> bool {
    match node.op_type.as_str() {
        "MaxPool" | "GlobalMaxPool" | "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze"
        | "Flatten" | "Slice" | "Gather" | "Identity" | "Expand" | "Tile" | "DepthToSpace"
        | "SpaceToDepth" => true,
        "Resize" => match node.attributes.get("mode") {
            None => true,
            Some(Attribute::String(mode)) => mode.as_slice() == b"nearest",
            Some(_) => false,
        },
        _ => false,
    }
}

/// Binds a node as it is, its dequantized inputs `reals` replaced by their 8-bit sources; all must have the scale of
/// `y`.
fn on_bytes(
    selector: &mut Selector<'_>,
    root: NodeId,
    inner: NodeId,
    reals: &[ValueId],
    y: &Quantized,
) -> Result<Option<Bound>, SessionError> {
    let mut sources = Vec::with_capacity(reals.len());
    for &real in reals {
        match params::dequantized(selector, real) {
            Some(x) if x.params == y.params && x.byte == y.byte => sources.push((real, x.value)),
            _ => return Ok(None),
        }
    }
    let mut bound = bindings::bind(selector, inner)?;
    for input in bound.inputs.iter_mut().flatten() {
        if let Some((_, source)) = sources.iter().find(|(real, _)| real == input) {
            *input = *source;
        }
    }
    bound.outputs = selector.graph.node(root).outputs().to_vec();
    Ok(Some(bound))
}

/// `Concat` of values of other scales is `QLinearConcat`.
fn concat(
    selector: &mut Selector<'_>,
    root: NodeId,
    inner: NodeId,
    y: &Quantized,
) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(inner);
    let reals: Vec<ValueId> = node.inputs().iter().flatten().copied().collect();
    if let Some(bound) = on_bytes(selector, root, inner, &reals, y)? {
        return Ok(Some(bound));
    }
    let quantizer = selector.graph.node(root);
    let mut inputs = vec![quantizer.input(1), quantizer.input(2)];
    for real in reals {
        if params::dequantized(selector, real).is_none_or(|x| x.byte != y.byte) {
            return Ok(None);
        }
        let Some((_, dequantizer)) = selector.producer(real) else {
            return Ok(None);
        };
        inputs.extend([0, 1, 2].map(|i| dequantizer.input(i)));
    }
    instead(selector, root, "QLinearConcat", node, inputs, &[])
}

fn softmax(
    selector: &mut Selector<'_>,
    root: NodeId,
    node: &Node,
) -> Result<Option<Bound>, SessionError> {
    let opset = selector.opset(node);
    let Some(real) = node.input(0) else {
        return Ok(None);
    };
    let Some((_, dequantizer)) = selector
        .producer(real)
        .filter(|_| params::dequantized(selector, real).is_some())
    else {
        return Ok(None);
    };
    let quantizer = selector.graph.node(root);
    let inputs = [0, 1, 2].map(|i| dequantizer.input(i));
    let inputs = inputs
        .into_iter()
        .chain([quantizer.input(1), quantizer.input(2)])
        .collect();
    instead(
        selector,
        root,
        "QLinearSoftmax",
        node,
        inputs,
        &[("opset", opset)],
    )
}

/// Binds an operator of ONNX Runtime's that does the work of the whole region; every scale needs its zero point.
fn instead(
    selector: &mut Selector<'_>,
    root: NodeId,
    op_type: &str,
    node: &Node,
    inputs: Vec<Option<ValueId>>,
    attributes: &[(&str, i64)],
) -> Result<Option<Bound>, SessionError> {
    if inputs.iter().any(Option::is_none) {
        return Ok(None);
    }
    let outputs = selector.graph.node(root).outputs().to_vec();
    let mut fused = Node::new(op_type, inputs.clone(), outputs).in_domain("com.microsoft");
    fused.attributes = node.attributes.clone();
    for (name, value) in attributes {
        fused.attributes.set(*name, *value);
    }
    reference::bind_instead(selector, root, fused, inputs).map(Some)
}
