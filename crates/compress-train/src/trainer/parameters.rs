//! Which initializers of a model are trained.
//!
//! What `Add`, `Sum` and `Mul` read may be a weight (the bias of a product, the embedding of positions) or a constant of the formula. It is
//! taken for a constant where it is a single number; where one of its numbers is an infinity or −10⁴ or less, as in attention masks; and where
//! all else that the node reads comes from the inputs without having met a weight, as in `(x − mean) · 1/std`.

use super::error::TrainError;
use crate::optimizer::glob;
use compress_tensor::{DType, Tensor};
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
        // Steps and offsets of what is trained with codes.
        "LearnedFakeQuantize" => Ports::Some(&[1, 2]),
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
    let origins = origins(graph)?;
    let mut chosen = Vec::new();
    for (id, tensor) in graph.initializers() {
        let name = graph.name_of(id);
        if tensor.dtype() != DType::F32 || tensor.is_empty() || matches(frozen, name) {
            continue;
        }
        let is_wanted = if wanted.is_empty() {
            ancestors.contains(&id) && is_weight(graph, &origins, id, tensor)
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
fn is_weight(graph: &Graph, origins: &[Origin], id: ValueId, tensor: &Tensor) -> bool {
    graph.uses(id).iter().any(|usage| {
        let &Use::Input { node, index } = usage else {
            return false;
        };
        let reader = graph.node(node);
        let op = reader.op_type.as_str();
        let is_view = reader.domain.is_empty() && VIEWS.contains(&op);
        // A weight or a bias behind its quantizer.
        let is_quantizer = matches!(op, "LearnedFakeQuantize" | "FakeQuantizeBias");
        if is_view || (is_quantizer && index == 0) {
            let view = reader.output(0).filter(|_| index == 0);
            return view.is_some_and(|view| is_weight(graph, origins, view, tensor));
        }
        match ports(reader) {
            Some(Ports::All) if is_elementwise(reader) => {
                // A number alone is a constant of the formula.
                tensor.rank() > 0 && !is_mask(tensor) && !is_of_inputs(reader, index, origins)
            }
            Some(Ports::All) => true,
            Some(Ports::Some(ports)) => ports.contains(&index),
            None => false,
        }
    })
}

fn is_elementwise(node: &Node) -> bool {
    matches!(node.op_type.as_str(), "Add" | "Sum" | "Mul")
}

/// Numbers from here on down stand for minus infinity.
const MASKED: f32 = -1e4;

/// Whether numbers are infinite, or as good as.
fn is_mask(tensor: &Tensor) -> bool {
    tensor
        .data::<f32>()
        .is_ok_and(|values| values.iter().any(|&v| v.is_infinite() || v <= MASKED))
}

/// Whether all that a node reads beside one of its inputs comes from the inputs of the model and has met no weight.
fn is_of_inputs(node: &Node, index: usize, origins: &[Origin]) -> bool {
    let inputs = node.inputs().iter().enumerate();
    let mut others = inputs
        .filter(|&(at, _)| at != index)
        .filter_map(|(_, &value)| value)
        .peekable();
    others.peek().is_some() && others.all(|value| origins[value.index()] == Origin::Inputs)
}

/// What a value is computed from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// Constants alone.
    Constants,
    /// Inputs, before the first weight.
    Inputs,
    /// Inputs and weights.
    Weights,
}

/// For every value by index, what it is computed from.
fn origins(graph: &Graph) -> Result<Vec<Origin>, TrainError> {
    let mut origins = vec![Origin::Constants; graph.value_bound()];
    for id in graph.required_inputs() {
        origins[id.index()] = Origin::Inputs;
    }
    for id in graph.topological_order()? {
        let node = graph.node(id);
        let inputs = || node.inputs().iter().enumerate();
        let of = |value: &Option<ValueId>| value.map(|v| origins[v.index()]);
        let met = inputs().filter_map(|(_, value)| of(value)).max();
        let at_port = |index: usize| match ports(node) {
            Some(Ports::All) => !is_elementwise(node),
            Some(Ports::Some(ports)) => ports.contains(&index),
            None => false,
        };
        let has_weight = inputs().any(|(at, v)| at_port(at) && of(v) == Some(Origin::Constants));
        // What nodes within nodes read is not looked at.
        let origin = match met {
            _ if node.attributes.graphs().next().is_some() => Origin::Weights,
            Some(Origin::Inputs | Origin::Constants) if has_weight => Origin::Weights,
            met => met.unwrap_or(Origin::Constants),
        };
        for &output in node.outputs().iter().flatten() {
            origins[output.index()] = origin;
        }
    }
    Ok(origins)
}

/// All values that lead to some of a graph, these among them; those that the bodies of nodes capture count as what the nodes read.
pub fn ancestors(graph: &Graph, observed: &[ValueId]) -> HashSet<ValueId> {
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
