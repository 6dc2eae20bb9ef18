//! Small changes of a graph that the quantizers share.

use super::error::QuantizeError;
use compress_tensor::{Granularity, QuantParams, Tensor};
use onnx_ir::graph::Use;
use onnx_ir::{Attribute, Fact, Graph, Model, Node, NodeId, ValueId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Scale and zero point as initializers: scalars, or vectors per channel.
pub(super) fn add_params(
    graph: &mut Graph,
    base: &str,
    params: &QuantParams,
) -> Result<(ValueId, ValueId), QuantizeError> {
    let values = |e| QuantizeError::Values {
        tensor: base.to_owned(),
        error: e,
    };
    let shape: Vec<usize> = match params.granularity {
        Granularity::PerTensor => Vec::new(),
        _ => vec![params.scale.len()],
    };
    let scale = Tensor::from_vec(&shape, params.scale.clone()).map_err(|e| values(e.into()))?;
    let zero = Tensor::from_vec(&shape, params.zero_point.clone())
        .and_then(|z| z.cast(params.dtype, compress_tensor::CastOptions::default()))
        .map_err(|e| values(e.into()))?;
    Ok((
        graph.add_initializer(&format!("{base}_scale"), scale)?,
        graph.add_initializer(&format!("{base}_zero_point"), zero)?,
    ))
}

/// Adds `DequantizeLinear(x, scale, zero)`; the axis is set where scales are per channel.
pub(super) fn add_dequantize(
    graph: &mut Graph,
    base: &str,
    x: ValueId,
    (scale, zero): (ValueId, ValueId),
    granularity: Granularity,
) -> Result<ValueId, QuantizeError> {
    let fact = float_like(graph, x);
    let y = graph.fresh_value(&format!("{base}_dequantized"), fact)?;
    let mut node = Node::new("DequantizeLinear", [x, scale, zero], [y])
        .named(format!("{base}_DequantizeLinear"));
    if let Granularity::PerChannel { axis } = granularity {
        node = node.with("axis", axis as i64);
    }
    graph.add_node(node)?;
    Ok(y)
}

fn float_like(graph: &Graph, x: ValueId) -> Fact {
    match &graph.value(x).fact {
        Fact::Tensor(fact) => {
            onnx_ir::TensorFact::with_shape(Some(compress_tensor::DType::F32), fact.shape.clone())
                .into()
        }
        _ => Fact::Unknown,
    }
}

/// Makes the listed uses of `old` read `new`.
pub(super) fn redirect(
    graph: &mut Graph,
    old: ValueId,
    new: ValueId,
    which: impl Fn(NodeId, usize) -> bool,
) {
    let uses: Vec<Use> = graph.uses(old).to_vec();
    for u in uses {
        if let Use::Input { node, index } = u
            && which(node, index)
        {
            graph.set_node_input(node, index, Some(new));
        }
    }
}

/// Drops initializers and `Constant` nodes among `candidates` that nobody reads any more: no dead float weights.
pub(super) fn drop_unread(graph: &mut Graph, candidates: impl IntoIterator<Item = ValueId>) {
    for value in candidates {
        if !graph.has_value(value) || !graph.uses(value).is_empty() || graph.is_output(value) {
            continue;
        }
        match graph.producer(value) {
            Some(node) => drop(graph.remove_dead([node])),
            None => {
                // Old files list weights as inputs too.
                let inputs: Vec<ValueId> = graph
                    .inputs()
                    .iter()
                    .copied()
                    .filter(|&i| i != value)
                    .collect();
                if inputs.len() != graph.inputs().len() && graph.initializer(value).is_some() {
                    graph.set_inputs(inputs);
                }
                graph.remove_value_if_unused(value);
            }
        }
    }
}

/// Changes every subgraph of the main graph's nodes, each as the main graph of a model of its own.
pub(super) fn in_subgraphs(
    model: &mut Model,
    mut change: impl FnMut(&mut Model) -> Result<(), QuantizeError>,
) -> Result<(), QuantizeError> {
    let opset = model.opset();
    let outer: Vec<String> = model.graph.values().map(|(_, v)| v.name.clone()).collect();
    let holds = |n: &Node| n.attributes.graphs().next().is_some();
    let nodes = model.graph.nodes().filter(|(_, n)| holds(n));
    for id in nodes.map(|(id, _)| id).collect::<Vec<_>>() {
        let node = model.graph.node(id).clone();
        let mut new = node.clone();
        let opsets = &mut model.opsets;
        let mut changed = |graph: &Arc<Graph>| {
            let mut inner = Model::new((**graph).clone(), opset);
            inner.opsets = opsets.clone();
            // A name that is taken around a subgraph is not free inside, whether or not it is read there.
            let mut reserved = Vec::new();
            for name in &outer {
                if inner.graph.value_by_name(name).is_none() {
                    reserved.push(inner.graph.add_value(name, Fact::Unknown)?);
                }
            }
            change(&mut inner)?;
            for id in reserved {
                inner.graph.remove_value_if_unused(id);
            }
            *opsets = inner.opsets;
            Ok::<_, QuantizeError>(Arc::new(inner.graph))
        };
        for (name, attribute) in node.attributes.iter() {
            let attribute = match attribute {
                Attribute::Graph(graph) => Attribute::Graph(changed(graph)?),
                Attribute::Graphs(graphs) => {
                    Attribute::Graphs(graphs.iter().map(&mut changed).collect::<Result<_, _>>()?)
                }
                _ => continue,
            };
            new.attributes.set(name, attribute);
        }
        model.graph.replace_node(id, new)?;
    }
    Ok(())
}

/// Bytes of a quantized tensor with its scales and zero points.
pub(super) fn quantized_bytes(values: &Tensor, params: &QuantParams) -> usize {
    let zero_points = params.dtype.byte_len(params.zero_point.len());
    values.byte_len() + params.scale.len() * 4 + zero_points.unwrap_or(0)
}

/// Whether two initializers hold the same.
fn are_equal(graph: &Graph, a: ValueId, b: ValueId) -> bool {
    let pair = graph.initializer(a).zip(graph.initializer(b));
    pair.is_some_and(|(a, b)| {
        (a.dtype(), a.shape()) == (b.dtype(), b.shape()) && a.bytes() == b.bytes()
    })
}

/// Lets the readers of one weight share what was added for each of them: initializers from the `first` value on that
/// are equal, and whose names differ by the number at their end only.
pub(super) fn share_equal(graph: &mut Graph, first: usize) {
    let mut alike: BTreeMap<String, Vec<ValueId>> = BTreeMap::new();
    for (id, _) in graph.initializers().filter(|(id, _)| id.index() >= first) {
        let name = graph.name_of(id);
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let stem = stem.strip_suffix('_').unwrap_or(name);
        alike.entry(stem.to_owned()).or_default().push(id);
    }
    for mut ids in alike.into_values().filter(|ids| ids.len() > 1) {
        ids.sort_by_key(|id| id.index());
        let mut kept: Vec<ValueId> = Vec::new();
        for id in ids {
            let same = kept.iter().find(|&&k| are_equal(graph, k, id));
            match same.copied() {
                Some(same) => {
                    graph.replace_uses(id, same);
                    graph.remove_value_if_unused(id);
                }
                None => kept.push(id),
            }
        }
    }
}

/// Bytes of all initializers and constants, subgraphs included.
pub(super) fn stored_bytes(graph: &Graph) -> usize {
    let own: usize = graph.initializers().map(|(_, t)| t.byte_len()).sum();
    let nodes = graph.nodes().map(|(_, n)| {
        let constants = n.attributes.iter().map(|(_, a)| match a {
            onnx_ir::Attribute::Tensor(t) => t.byte_len(),
            _ => 0,
        });
        constants.sum::<usize>()
            + n.attributes
                .graphs()
                .map(|g| stored_bytes(g))
                .sum::<usize>()
    });
    own + nodes.sum::<usize>()
}

/// Records in the model's metadata how it was quantized.
pub(super) fn record(model: &mut Model, text: String) {
    model.set_metadata("modelpress.quantize", text);
}

/// The name of a node in reports: its own, or its first output's.
pub(super) fn node_name(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    if !node.name.is_empty() {
        return node.name.clone();
    }
    node.outputs()
        .iter()
        .flatten()
        .next()
        .map_or(String::new(), |&v| graph.name_of(v).to_owned())
}

/// Signal to quantization noise in dB: `10·log10(Σx² / Σ(x - x̂)²)`; infinite where they are equal.
pub(super) fn sqnr_db(signal_values: &[f32], changed: impl Iterator<Item = f32>) -> f64 {
    let (mut signal, mut noise) = (0f64, 0f64);
    for (&w, d) in signal_values.iter().zip(changed) {
        signal += f64::from(w) * f64::from(w);
        noise += (f64::from(w) - f64::from(d)).powi(2);
    }
    if noise == 0.0 {
        f64::INFINITY
    } else {
        10.0 * (signal / noise).log10()
    }
}
