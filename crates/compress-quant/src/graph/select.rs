//! Which nodes are quantized.
//!
//! *Cores* are the weighted operators and products of activations. *Bridges* are operators between cores
//! that work on integers as well (`Add`, pooling, `Concat`, reshapes): one is taken where all its data
//! comes from quantized nodes and a core or another bridge reads its result. So a value is quantized
//! where an integer operator reads it and nowhere else.

use super::config::QuantizeConfig;
use super::error::QuantizeError;
use super::names::Names;
use super::operators::RECURRENT;
use super::patterns::{check_patterns, is_named, matches_pattern};
use super::report::SkippedNode;
use super::target::TargetRules;
use compress_tensor::DType;
use onnx_ir::operator::QuantRule;
use onnx_ir::{Attribute, Catalog, Graph, Model, Node, NodeId, ValueId};
use std::collections::HashMap;

/// The part that a node plays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Role {
    /// A weighted operator with a constant weight, or a product of activations (`weight` is `None`).
    Core {
        weight: Option<Weight>,
        bias: Option<usize>,
    },
    /// Works on integers between cores.
    Bridge(Bridge),
}

/// The constant weight of a core.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weight {
    /// Which input.
    pub input: usize,
    /// The channel axis.
    pub axis: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bridge {
    /// The output has a scale of its own.
    OwnScale,
    /// Data inputs and outputs share one scale.
    SameScale,
    /// The output has a range that the operator bounds.
    Fixed,
}

/// The nodes that are quantized, and why others are not.
pub(super) struct Selection {
    pub roles: HashMap<NodeId, Role>,
    /// Of a core or a bridge with a scale of its own: the activation behind it that its output range takes in.
    pub fused: HashMap<NodeId, NodeId>,
    /// In topological order.
    pub order: Vec<NodeId>,
    pub skipped: Vec<SkippedNode>,
}

impl Selection {
    /// The value that holds a node's result, behind the activation that it takes in.
    pub(super) fn result(&self, graph: &Graph, node: NodeId) -> Option<ValueId> {
        let last = self.fused.get(&node).copied().unwrap_or(node);
        graph.node(last).output(0)
    }

    /// The inputs of a node that hold activations: not constants, not shapes or indices.
    pub(super) fn data_inputs(&self, graph: &Graph, node: NodeId) -> Vec<usize> {
        data_inputs(graph, node, self.roles.get(&node))
    }
}

/// Selects nodes of the main graph; an error where there are none.
pub(super) fn select(model: &Model, config: &QuantizeConfig) -> Result<Selection, QuantizeError> {
    check_patterns(&model.graph, config)?;
    let selection = select_in(model, config, Bias::Integer)?;
    if selection.roles.is_empty() {
        return Err(nothing(&selection.skipped));
    }
    Ok(selection)
}

/// Reasons in one message.
const REASONS: usize = 3;

/// The error of a request that leaves the model as it is, with some of the reasons.
pub(super) fn nothing(skipped: &[SkippedNode]) -> QuantizeError {
    let said = skipped.iter().map(|s| ((&s.op, &s.reason), &s.node));
    let groups = Names::group(said).into_iter().take(REASONS);
    let mut reasons: Vec<String> = groups
        .map(|((op, reason), nodes)| format!("{op} {nodes}: {reason}"))
        .collect();
    if reasons.is_empty() {
        let none = "the model has no convolution or matrix product with a constant weight";
        reasons.push(none.to_owned());
    }
    QuantizeError::NothingToQuantize { reasons }
}

/// What becomes of a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bias {
    /// It may become int32 and take up errors: one value per channel.
    Integer,
    /// It is added as it is.
    Float,
}

/// Selects nodes of one graph; names are not checked.
pub(super) fn select_in(
    model: &Model,
    config: &QuantizeConfig,
    bias: Bias,
) -> Result<Selection, QuantizeError> {
    let graph = &model.graph;
    let rules = config.target.rules();
    let mut selection = Selection {
        roles: HashMap::new(),
        fused: HashMap::new(),
        order: graph.topological_order()?,
        skipped: Vec::new(),
    };
    for id in selection.order.clone() {
        match core(model, id, config, bias) {
            Verdict::Core(role) => {
                selection.roles.insert(id, role);
                match fused_activation(model, id) {
                    Some(activation) if is_excluded(graph, activation, config) => {
                        let reason = EXCLUDED.to_owned();
                        selection.skipped.push(skipped(graph, activation, reason));
                    }
                    Some(activation) => {
                        selection.fused.insert(id, activation);
                    }
                    None => {}
                }
            }
            Verdict::Skip(reason) => selection.skipped.push(skipped(graph, id, reason)),
            Verdict::Other => {}
        }
    }
    add_bridges(model, config, &rules, &mut selection);
    Ok(selection)
}

enum Verdict {
    Core(Role),
    Skip(String),
    Other,
}

fn core(model: &Model, id: NodeId, config: &QuantizeConfig, form: Bias) -> Verdict {
    let graph = &model.graph;
    let node = graph.node(id);
    if node.attributes.graphs().next().is_some() {
        let holds_cores = node.attributes.graphs().any(|g| holds_core(g));
        return if holds_cores {
            Verdict::Skip(IN_SUBGRAPHS.to_owned())
        } else {
            Verdict::Other
        };
    }
    let Ok(operator) = Catalog::standard().parse(node, &model.opsets) else {
        return Verdict::Other;
    };
    let rule = operator.quantization();
    if let QuantRule::FloatOnly(reason) = rule
        && is_recurrent(node)
    {
        return Verdict::Skip(reason.to_owned());
    }
    let QuantRule::Weighted {
        weight,
        channel_axis,
        bias,
    } = rule
    else {
        return Verdict::Other;
    };
    if let Err(reason) = wanted(graph, id, config) {
        return Verdict::Skip(reason);
    }
    let Some(weight_value) = node.input(weight) else {
        return Verdict::Other;
    };
    let dtype = |v: ValueId| graph.value(v).fact.as_tensor().and_then(|f| f.dtype);
    let constant = graph.constant(weight_value);
    let element = constant.map(|t| t.dtype()).or_else(|| dtype(weight_value));
    if element.is_some_and(|d| d != DType::F32) {
        return Verdict::Skip(format!(
            "its weight is {}, only f32 is quantized: export the model in float32",
            element.map_or("?", |d| d.name())
        ));
    }
    if node
        .inputs()
        .iter()
        .flatten()
        .filter(|&&v| v != weight_value)
        .any(|&v| graph.constant(v).is_some() && Some(v) == node.input(0))
    {
        return Verdict::Skip("its data input is constant".to_owned());
    }
    let Some(tensor) = constant else {
        return match node.op_type.as_str() {
            "MatMul" => Verdict::Core(Role::Core {
                weight: None,
                bias: None,
            }),
            _ => Verdict::Skip("its weight is not constant".to_owned()),
        };
    };
    let rank = tensor.rank();
    let axis = if channel_axis < 0 {
        rank.checked_add_signed(channel_axis)
    } else {
        Some(channel_axis as usize)
    };
    let Some(axis) = axis.filter(|&a| a < rank) else {
        return Verdict::Skip(format!(
            "its weight of rank {rank} has no channel axis {channel_axis}"
        ));
    };
    let bias = bias.filter(|&b| node.input(b).is_some());
    if let Some(b) = bias
        && node.input(b).is_some_and(|v| graph.constant(v).is_none())
    {
        return Verdict::Skip("its bias is not constant".to_owned());
    }
    if let Some(reason) = unusual_gemm(node) {
        return Verdict::Skip(reason.to_owned());
    }
    if let (Bias::Integer, Some(b)) = (form, bias)
        && let Some(shape) = node.input(b).and_then(|v| graph.constant(v))
        && !is_per_channel_bias(shape.shape(), channels(node, tensor.shape(), axis))
    {
        return Verdict::Skip(format!(
            "its bias of shape {:?} is not one value per channel",
            shape.shape()
        ));
    }
    Verdict::Core(Role::Core {
        weight: Some(Weight {
            input: weight,
            axis,
        }),
        bias,
    })
}

/// The number of output channels.
pub(super) fn channels(node: &Node, weight: &[usize], axis: usize) -> usize {
    weight[axis] * groups_of_transposed(node)
}

/// Whether output channels lie along one axis of the weight: not those of a grouped transposed convolution, nor of a
/// product with a vector, which has but one.
pub(super) fn is_per_channel(node: &Node, rank: usize) -> bool {
    groups_of_transposed(node) == 1 && (rank > 1 || !node.is("MatMul"))
}

fn groups_of_transposed(node: &Node) -> usize {
    match node.attributes.get("group") {
        Some(Attribute::Int(n)) if node.is("ConvTranspose") => usize::try_from(*n).unwrap_or(1),
        _ => 1,
    }
}

/// Whether a bias of this shape, spread over `[rows, channels]`, differs between channels only.
pub(super) fn is_per_channel_bias(shape: &[usize], channels: usize) -> bool {
    let (last, before) = shape.split_last().unwrap_or((&1, &[]));
    (*last == channels || *last == 1) && before.iter().all(|&n| n == 1)
}

/// Whether a node is the product of its data input and a weight as it stands, with or without a bias.
pub(super) fn is_product(node: &Node) -> bool {
    let turned = matches!(node.attributes.get("transB"), Some(Attribute::Int(1)));
    node.is("MatMul") || (node.is("Gemm") && !turned && unusual_gemm(node).is_none())
}

/// `Gemm` forms that no integer operator takes.
fn unusual_gemm(node: &Node) -> Option<&'static str> {
    if !node.is("Gemm") {
        return None;
    }
    let float = |name| match node.attributes.get(name) {
        Some(Attribute::Float(f)) => *f,
        _ => 1.0,
    };
    let flag = |name| matches!(node.attributes.get(name), Some(Attribute::Int(1)));
    if flag("transA") {
        return Some("its data input is transposed");
    }
    if float("alpha") != 1.0 || (node.input(2).is_some() && float("beta") != 1.0) {
        return Some("its alpha or beta is not 1");
    }
    None
}

/// Why nodes in branches and loop bodies have no ranges.
pub(super) const IN_SUBGRAPHS: &str = "its subgraphs are not calibrated, as which of them runs depends on the sample: \
     weight-only and dynamic quantization reach into them";

/// Whether a node holds weights and a state: they are quantized in weight-only mode only.
pub(super) fn is_recurrent(node: &Node) -> bool {
    RECURRENT.iter().any(|op| node.is(op))
}

fn holds_core(graph: &Graph) -> bool {
    graph.nodes().any(|(_, n)| {
        matches!(
            n.op_type.as_str(),
            "Conv" | "ConvTranspose" | "Gemm" | "MatMul" | "LSTM" | "GRU" | "RNN"
        ) || n.attributes.graphs().any(|g| holds_core(g))
    })
}

/// Whether names and operators that the user gave let this node be quantized.
pub(super) fn wanted(graph: &Graph, id: NodeId, config: &QuantizeConfig) -> Result<(), String> {
    let node = graph.node(id);
    let outputs = node.outputs().iter().flatten().map(|&v| graph.name_of(v));
    let names = outputs.chain([node.name.as_str()]).collect::<Vec<_>>();
    // What preparing made of a product and the sum behind it answers to either operator.
    let asked = config.operators.iter().flatten();
    let mut asked = asked.filter(|&op| op == "MatMul" && is_product(node));
    let op = asked.next().unwrap_or(&node.op_type);
    wanted_names(&names, op, config).map_err(str::to_owned)
}

/// As [`wanted`], of a node by its name and those of its outputs.
pub(super) fn wanted_names<S: AsRef<str>>(
    names: &[S],
    op: &str,
    config: &QuantizeConfig,
) -> Result<(), &'static str> {
    let named = |pattern: &String| names.iter().any(|n| matches_pattern(pattern, n.as_ref()));
    if let Some(operators) = &config.operators
        && !operators.iter().any(|o| o == op)
    {
        return Err("its operator was not asked for");
    }
    if config.exclude.iter().any(named) {
        return Err(EXCLUDED);
    }
    if !config.include.is_empty() && !config.include.iter().any(named) {
        return Err("not among the included nodes");
    }
    Ok(())
}

/// The activation that alone reads the result of a convolution, a linear layer or a sum.
fn fused_activation(model: &Model, id: NodeId) -> Option<NodeId> {
    let graph = &model.graph;
    let node = graph.node(id);
    if node.is("MatMul") {
        return None;
    }
    let (reader, index) = graph.sole_use(node.output(0)?)?;
    let is_activation = |id: NodeId| {
        let operator = Catalog::standard().parse(graph.node(id), &model.opsets);
        operator.is_ok_and(|o| o.quantization() == QuantRule::FusableActivation)
    };
    (index == 0 && is_activation(reader) && !is_activation(id)).then_some(reader)
}

fn add_bridges(
    model: &Model,
    config: &QuantizeConfig,
    rules: &TargetRules,
    selection: &mut Selection,
) {
    let graph = &model.graph;
    // Values that stand as integers once everything is in place.
    let mut integer = vec![false; graph.value_bound()];
    let mut candidates: Vec<(NodeId, Bridge)> = Vec::new();
    for &id in &selection.order {
        let node = graph.node(id);
        if let Some(Role::Core { .. }) = selection.roles.get(&id) {
            // A matrix product gives floats: what follows it (bias, residual) loses most by 8 bits.
            if (!node.is("MatMul") || rules.whole_graph)
                && let Some(v) = selection.result(graph, id)
            {
                integer[v.index()] = true;
            }
            continue;
        }
        if selection.fused.values().any(|&a| a == id) {
            continue;
        }
        let Some(bridge) = bridge(model, id, rules) else {
            continue;
        };
        let data = data_inputs(graph, id, Some(&Role::Bridge(bridge)));
        let from_integers = |i: &usize| {
            node.input(*i)
                .is_some_and(|v| integer[v.index()] || (rules.whole_graph && graph.is_input(v)))
        };
        if data.is_empty() || !data.iter().all(from_integers) {
            continue;
        }
        match wanted_bridge(graph, id, config) {
            Ok(()) => {
                candidates.push((id, bridge));
                node.outputs()
                    .iter()
                    .flatten()
                    .for_each(|v| integer[v.index()] = true);
                // A sum whose negative part is cut off right away needs no codes for it.
                if bridge == Bridge::OwnScale
                    && let Some(activation) = fused_activation(model, id)
                    && wanted_bridge(graph, activation, config).is_ok()
                {
                    selection.fused.insert(id, activation);
                    if let Some(v) = graph.node(activation).output(0) {
                        integer[v.index()] = true;
                    }
                }
            }
            Err(reason) => selection.skipped.push(skipped(graph, id, reason)),
        }
    }
    // Backwards: only what leads on to a core stays.
    for (id, bridge) in candidates.into_iter().rev() {
        let last = selection.fused.get(&id).copied().unwrap_or(id);
        let leads_on = graph.node(last).outputs().iter().flatten().any(|&v| {
            graph.uses(v).iter().any(|u| match *u {
                onnx_ir::graph::Use::Input { node, index } => selection
                    .roles
                    .get(&node)
                    .is_some_and(|r| data_inputs(graph, node, Some(r)).contains(&index)),
                onnx_ir::graph::Use::Captured { .. } => false,
            })
        });
        if leads_on || rules.whole_graph {
            selection.roles.insert(id, Role::Bridge(bridge));
        } else {
            selection.fused.remove(&id);
        }
    }
}

/// Bridges follow `exclude` and the operator list; `include` names cores and says nothing of them.
/// Why a node that the request names is left alone.
const EXCLUDED: &str = "excluded by name";

fn is_excluded(graph: &Graph, id: NodeId, config: &QuantizeConfig) -> bool {
    config.exclude.iter().any(|p| is_named(graph, id, p))
}

fn wanted_bridge(graph: &Graph, id: NodeId, config: &QuantizeConfig) -> Result<(), String> {
    if is_excluded(graph, id, config) {
        return Err(EXCLUDED.to_owned());
    }
    match &config.operators {
        Some(operators) if !operators.iter().any(|op| op == &graph.node(id).op_type) => {
            Err("its operator was not asked for".to_owned())
        }
        _ => Ok(()),
    }
}

fn bridge(model: &Model, id: NodeId, rules: &TargetRules) -> Option<Bridge> {
    let node = model.graph.node(id);
    if !rules.bridges.iter().any(|op| node.is(op)) {
        return None;
    }
    let is_f32 = |v: &ValueId| {
        model.graph.value(*v).fact.as_tensor().and_then(|f| f.dtype) == Some(DType::F32)
    };
    if !node.output(0).as_ref().is_some_and(is_f32) {
        return None;
    }
    let operator = Catalog::standard().parse(node, &model.opsets).ok()?;
    match operator.quantization() {
        QuantRule::OwnScale { .. } if rules.same_scale.iter().any(|op| node.is(op)) => {
            Some(Bridge::SameScale)
        }
        QuantRule::OwnScale { .. } | QuantRule::FusableActivation => Some(Bridge::OwnScale),
        QuantRule::SameScale { .. } => Some(Bridge::SameScale),
        QuantRule::FixedOutput { .. } => Some(Bridge::Fixed),
        _ => None,
    }
}

fn data_inputs(graph: &Graph, id: NodeId, role: Option<&Role>) -> Vec<usize> {
    let node = graph.node(id);
    let is_data = |i: &usize| {
        let Some(v) = node.input(*i) else {
            return false;
        };
        let f32 = graph.value(v).fact.as_tensor().and_then(|f| f.dtype) == Some(DType::F32);
        f32 && graph.constant(v).is_none()
    };
    let all = 0..node.inputs().len();
    match role {
        Some(Role::Core {
            weight: Some(_), ..
        }) => vec![0],
        Some(Role::Core { weight: None, .. }) => vec![0, 1],
        // `Resize` reads scales as f32, `Clip` its bounds: constants, so left out by `is_data`.
        _ => all.filter(is_data).collect(),
    }
}

fn skipped(graph: &Graph, id: NodeId, reason: String) -> SkippedNode {
    let node = graph.node(id);
    let first = node.outputs().iter().flatten().next();
    let name = if node.name.is_empty() {
        first.map_or("", |&v| graph.name_of(v))
    } else {
        &node.name
    };
    SkippedNode {
        node: name.to_owned(),
        op: node.qualified_op(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::is_per_channel_bias;

    #[test]
    fn a_bias_is_one_value_per_channel_or_one_for_all() {
        for shape in [&[][..], &[1], &[4], &[1, 4], &[1, 1]] {
            assert!(is_per_channel_bias(shape, 4), "{shape:?}");
        }
        for shape in [&[3][..], &[2, 4], &[2, 1], &[4, 1]] {
            assert!(!is_per_channel_bias(shape, 4), "{shape:?}");
        }
    }
}
