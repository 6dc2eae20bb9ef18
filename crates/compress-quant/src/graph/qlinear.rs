//! From Q/DQ pairs to integer operators: `DQ, op, Q` becomes one `QLinear…` node.
//!
//! `Conv`, `MatMul` → `QLinearConv`, `QLinearMatMul` (ONNX); `Add`, `Mul`, `Sigmoid`, `LeakyRelu`, `AveragePool`,
//! `GlobalAveragePool`, `Concat`, `Gemm` → `com.microsoft`. `MaxPool`, `Reshape`, `Transpose` and the like, whose input
//! and output share a scale, work on the integers as they are. What has no integer form stays with its Q/DQ.

use super::error::QuantizeError;
use onnx_ir::{Attribute, Fact, Graph, Model, Node, NodeId, ValueId};

/// Values of a Q/DQ pair: integers, scale, zero point.
type Quantized = [ValueId; 3];

/// Replaces float operators between Q/DQ pairs by integer operators, where there are such.
pub(super) fn convert(model: &mut Model) -> Result<(), QuantizeError> {
    let graph = &mut model.graph;
    let mut microsoft = false;
    for id in graph.topological_order()? {
        let Some(node) = graph.get_node(id).cloned() else {
            continue;
        };
        if !node.domain.is_empty() && node.domain != "ai.onnx" {
            continue;
        }
        let Some(form) = integer_form(graph, &node) else {
            continue;
        };
        microsoft |= form.domain == "com.microsoft";
        replace(graph, id, form)?;
    }
    if microsoft {
        model.opsets.set("com.microsoft", 1);
    }
    Ok(())
}

/// The node that takes the place of a float node and the Q behind it.
struct IntegerForm {
    op: &'static str,
    domain: &'static str,
    inputs: Vec<Option<ValueId>>,
    keeps_attributes: bool,
    /// The `QuantizeLinear` behind the node, and its integers.
    quantize: NodeId,
    output: ValueId,
}

fn integer_form(graph: &Graph, node: &Node) -> Option<IntegerForm> {
    let (quantize, [output, scale, zero]) = quantized_result(graph, node)?;
    let input = |i: usize| node.input(i).and_then(|v| dequantized_from(graph, v));
    let all = || {
        (0..node.inputs().len())
            .map(input)
            .collect::<Option<Vec<Quantized>>>()
    };
    let some = |values: &[ValueId]| values.iter().copied().map(Some).collect::<Vec<_>>();
    let triples = |parts: &[Quantized]| some(&parts.concat());
    let out = [scale, zero];
    let form = |op, domain, inputs, keeps_attributes| {
        Some(IntegerForm {
            op,
            domain,
            inputs,
            keeps_attributes,
            quantize,
            output,
        })
    };
    const MS: &str = "com.microsoft";
    match node.op_type.as_str() {
        "Conv" => {
            let mut inputs = [triples(&[input(0)?, input(1)?]), some(&out)].concat();
            if node.input(2).is_some() {
                inputs.push(Some(input(2)?[0]));
            }
            form("QLinearConv", "", inputs, true)
        }
        "MatMul" => form(
            "QLinearMatMul",
            "",
            [triples(&all()?), some(&out)].concat(),
            false,
        ),
        "Gemm" => {
            let bias = match node.input(2) {
                None => None,
                Some(_) => Some(input(2)?[0]),
            };
            let inputs = [triples(&[input(0)?, input(1)?]), vec![bias], some(&out)].concat();
            form("QGemm", MS, inputs, true)
        }
        "Add" => form(
            "QLinearAdd",
            MS,
            [triples(&all()?), some(&out)].concat(),
            false,
        ),
        "Mul" => form(
            "QLinearMul",
            MS,
            [triples(&all()?), some(&out)].concat(),
            false,
        ),
        "Sigmoid" => form(
            "QLinearSigmoid",
            MS,
            [triples(&all()?), some(&out)].concat(),
            false,
        ),
        "LeakyRelu" => form(
            "QLinearLeakyRelu",
            MS,
            [triples(&all()?), some(&out)].concat(),
            true,
        ),
        // The integer form has no dilations.
        "AveragePool" if is_dilated(node) => None,
        "AveragePool" => form(
            "QLinearAveragePool",
            MS,
            [triples(&all()?), some(&out)].concat(),
            true,
        ),
        "GlobalAveragePool" => form(
            "QLinearGlobalAveragePool",
            MS,
            [triples(&all()?), some(&out)].concat(),
            true,
        ),
        "Concat" => {
            // Output parameters come first, then each input with its own.
            form(
                "QLinearConcat",
                MS,
                [some(&out), triples(&all()?)].concat(),
                true,
            )
        }
        "MaxPool" | "Reshape" | "Transpose" | "Flatten" | "Squeeze" | "Unsqueeze" | "Slice" => {
            let [q, s, z] = input(0)?;
            let same = same_constant(graph, s, scale) && same_constant(graph, z, zero);
            let mut inputs = node.inputs().to_vec();
            *inputs.first_mut()? = Some(q);
            let op = moved_operator(&node.op_type)?;
            same.then(|| form(op, "", inputs, true)).flatten()
        }
        _ => None,
    }
}

/// Whether the taps of a window lie apart.
fn is_dilated(node: &Node) -> bool {
    let apart = |list: &[i64]| list.iter().any(|&d| d != 1);
    matches!(node.attributes.get("dilations"), Some(Attribute::Ints(list)) if apart(list))
}

fn moved_operator(op: &str) -> Option<&'static str> {
    [
        "MaxPool",
        "Reshape",
        "Transpose",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Slice",
    ]
    .into_iter()
    .find(|o| *o == op)
}

fn same_constant(graph: &Graph, a: ValueId, b: ValueId) -> bool {
    match (graph.constant(a), graph.constant(b)) {
        (Some(x), Some(y)) => a == b || (x.dtype() == y.dtype() && x.bytes() == y.bytes()),
        _ => false,
    }
}

/// The Q/DQ pair that a value comes out of.
fn dequantized_from(graph: &Graph, value: ValueId) -> Option<Quantized> {
    let node = graph.node(graph.producer(value)?);
    match (node.is("DequantizeLinear"), node.inputs()) {
        (true, &[Some(q), Some(scale), Some(zero)]) => Some([q, scale, zero]),
        _ => None,
    }
}

/// The `QuantizeLinear` that alone reads a node's result.
fn quantized_result(graph: &Graph, node: &Node) -> Option<(NodeId, Quantized)> {
    if node.outputs().iter().flatten().count() != 1 {
        return None;
    }
    let (id, index) = graph.sole_use(node.output(0)?)?;
    let reader = graph.node(id);
    match (
        reader.is("QuantizeLinear") && index == 0,
        reader.inputs(),
        reader.output(0),
    ) {
        (true, &[_, Some(scale), Some(zero)], Some(q)) => Some((id, [q, scale, zero])),
        _ => None,
    }
}

fn replace(graph: &mut Graph, id: NodeId, form: IntegerForm) -> Result<(), QuantizeError> {
    let old = graph.remove_node(id);
    let read: Vec<NodeId> = old
        .inputs()
        .iter()
        .flatten()
        .filter_map(|&v| graph.producer(v))
        .collect();
    graph.remove_node(form.quantize);
    if let Some(result) = old.output(0) {
        graph.remove_value_if_unused(result);
    }
    let mut node = Node::new(form.op, form.inputs, [form.output])
        .in_domain(form.domain)
        .named(old.name.clone());
    if form.keeps_attributes {
        node.attributes = old.attributes.clone();
    }
    if matches!(form.op, "QLinearAveragePool" | "QLinearGlobalAveragePool") {
        node.attributes.set("channels_last", Attribute::Int(0));
    }
    if form.op == "QGemm" {
        node.attributes.remove("beta");
    }
    graph.add_node(node)?;
    graph.value_mut(form.output).fact = Fact::Unknown;
    graph.remove_dead(read);
    Ok(())
}
