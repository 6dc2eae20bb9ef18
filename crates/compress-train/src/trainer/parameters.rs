//! Which initializers of a model are trained.

use super::error::TrainError;
use crate::optimizer::glob;
use compress_tensor::DType;
use onnx_ir::graph::Use;
use onnx_ir::{Graph, Node, ValueId};
use std::collections::HashSet;

/// Inputs of an operator that hold weights.
enum Ports {
    All,
    Some(&'static [usize]),
}

/// Operators with weights. `Sub` and `Div` are not among them: what they read is most often a normalisation of inputs.
fn ports(node: &Node) -> Option<Ports> {
    Some(match node.op_type.as_str() {
        "MatMul" | "Gemm" | "Einsum" | "FusedMatMul" => Ports::All,
        "Conv" | "ConvTranspose" | "DeformConv" | "FusedConv" | "FusedGemm" => Ports::Some(&[1, 2]),
        "BatchNormalization"
        | "LayerNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "RMSNormalization"
        | "SimplifiedLayerNormalization" => Ports::Some(&[1, 2]),
        "LSTM" | "GRU" | "RNN" => Ports::Some(&[1, 2, 3]),
        "Gather" => Ports::Some(&[0]),
        "PRelu" => Ports::Some(&[1]),
        "Add" | "Sum" | "Mul" => Ports::All,
        _ => return None,
    })
}

/// Nodes that only say how the elements of their first input lie.
const VIEWS: [&str; 6] = [
    "Identity",
    "Transpose",
    "Reshape",
    "Unsqueeze",
    "Squeeze",
    "Flatten",
];

/// The names of the initializers to train, in the order of the graph.
///
/// Without patterns: those of f32 at the weight ports of operators that lead to `observed`. With `wanted` patterns: all of f32 that match
/// one. Those that match one of `frozen` are left out.
pub(super) fn choose(
    graph: &Graph,
    observed: &[ValueId],
    wanted: &[String],
    frozen: &[String],
) -> Result<Vec<String>, TrainError> {
    let names: Vec<&str> = graph
        .initializers()
        .map(|(id, _)| graph.name_of(id))
        .collect();
    for pattern in wanted.iter().chain(frozen) {
        if !names.iter().any(|name| glob::matches(pattern, name)) {
            return Err(TrainError::NoSuchWeight {
                pattern: pattern.clone(),
                examples: names.iter().take(5).map(ToString::to_string).collect(),
            });
        }
    }
    let matches = |patterns: &[String], name: &str| patterns.iter().any(|p| glob::matches(p, name));
    let ancestors = ancestors(graph, observed);
    let mut chosen = Vec::new();
    for (id, tensor) in graph.initializers() {
        let name = graph.name_of(id);
        if tensor.dtype() != DType::F32 || tensor.is_empty() || matches(frozen, name) {
            continue;
        }
        let is_wanted = if wanted.is_empty() {
            ancestors.contains(&id) && is_weight(graph, id, tensor.rank())
        } else {
            matches(wanted, name)
        };
        if is_wanted {
            chosen.push(name.to_owned());
        }
    }
    if chosen.is_empty() {
        return Err(TrainError::NothingToTrain);
    }
    Ok(chosen)
}

/// Whether an initializer, or a view of it, stands at a weight port.
fn is_weight(graph: &Graph, id: ValueId, rank: usize) -> bool {
    graph.uses(id).iter().any(|usage| {
        let &Use::Input { node, index } = usage else {
            return false;
        };
        let reader = graph.node(node);
        if reader.domain.is_empty() && VIEWS.contains(&reader.op_type.as_str()) {
            let view = reader.output(0).filter(|_| index == 0);
            return view.is_some_and(|view| is_weight(graph, view, rank));
        }
        let is_elementwise = matches!(reader.op_type.as_str(), "Add" | "Sum" | "Mul");
        match ports(reader) {
            // A number alone is a constant of the formula.
            Some(Ports::All) => !is_elementwise || rank > 0,
            Some(Ports::Some(ports)) => ports.contains(&index),
            None => false,
        }
    })
}

/// All values that lead to some.
fn ancestors(graph: &Graph, observed: &[ValueId]) -> HashSet<ValueId> {
    let mut found: HashSet<ValueId> = HashSet::new();
    let mut open: Vec<ValueId> = observed.to_vec();
    while let Some(id) = open.pop() {
        if found.insert(id)
            && let Some(node) = graph.producer(id)
        {
            let node = graph.node(node);
            open.extend(node.inputs().iter().flatten());
            for body in node.attributes.graphs() {
                let captured = body.captured();
                open.extend(captured.filter_map(|(_, name)| graph.value_by_name(name)));
            }
        }
    }
    found
}
