//! The stream of a model: the values that everything goes through, one after the other, and what lies between two of them.
//!
//! A node *post-dominates* another if every path of floats from that one to an output goes through it. The nodes that
//! post-dominate the first node (of those that read inputs the one farthest from the outputs) are the stream: in a transformer the residual sums and normalisations, in a
//! residual network the sums and activations. Integers are left out of account: the shape that a layer reads of another's result
//! is no path of what the network computes.

use onnx_ir::{Attribute, Graph, NodeId, ValueId};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};

/// A part of the stream: what lies between the value before and its own.
pub(super) struct Segment {
    /// The value that it ends with.
    pub(super) value: ValueId,
    /// Equal for segments of the same operators, attributes and weight shapes, joined in the same way.
    pub(super) signature: u64,
    /// The nodes between, in the order of computation.
    pub(super) nodes: Vec<NodeId>,
    /// Elements of the float initializers that they read.
    pub(super) parameters: usize,
}

/// The stream of a graph whose facts are known, from the inputs to the outputs. The first segment is what leads to it.
pub(super) fn stream(graph: &Graph, order: &[NodeId]) -> Vec<Segment> {
    let nodes = dominators(graph, order);
    let fed = nodes.first().and_then(|&first| sole_input(graph, first));
    let computed = nodes.into_iter().filter_map(|id| sole_output(graph, id));
    let values: Vec<ValueId> = fed.into_iter().chain(computed).collect();
    segments(graph, order, &values)
}

/// The only input of the model that a node reads, where it holds floats: the stream begins with it.
fn sole_input(graph: &Graph, id: NodeId) -> Option<ValueId> {
    let inputs = graph.node(id).inputs().iter().flatten().copied();
    let mut fed = inputs.filter(|&v| graph.is_input(v) && graph.initializer(v).is_none());
    let first = fed.next().filter(|&v| !is_whole(graph, v))?;
    fed.next().is_none().then_some(first)
}

/// Where a node stands in the tree of post-dominators, whose root is the end of the graph.
#[derive(Clone, Copy)]
struct Place {
    /// The next node through which all goes; none for the root.
    next: Option<NodeId>,
    depth: usize,
}

/// The stream's nodes, in order.
fn dominators(graph: &Graph, order: &[NodeId]) -> Vec<NodeId> {
    let mut places: Vec<Option<Place>> = vec![None; graph.node_bound()];
    let depth = |places: &[Option<Place>], node: Option<NodeId>| {
        node.and_then(|n| places[n.index()]).map_or(0, |p| p.depth)
    };
    for &id in order.iter().rev() {
        // The next common node of all readers; `None` inside is the root.
        let mut next: Option<Option<NodeId>> = None;
        let mut meet = |places: &[Option<Place>], reader: Option<NodeId>| {
            let Some(mut a) = next else {
                next = Some(reader);
                return;
            };
            let mut b = reader;
            while a != b {
                let further = if depth(places, a) >= depth(places, b) {
                    &mut a
                } else {
                    &mut b
                };
                *further = further.and_then(|n| places[n.index()]).and_then(|p| p.next);
            }
            next = Some(a);
        };
        for &output in graph.node(id).outputs().iter().flatten() {
            if graph.is_output(output) {
                meet(&places, None);
            }
            if is_whole(graph, output) {
                continue;
            }
            for usage in graph.uses(output) {
                if places[usage.node().index()].is_some() {
                    meet(&places, Some(usage.node()));
                }
            }
        }
        if let Some(next) = next {
            let depth = depth(&places, next) + 1;
            places[id.index()] = Some(Place { next, depth });
        }
    }
    let entries = entries(graph, order);
    let first = entries
        .into_iter()
        .rev()
        .max_by_key(|id| places[id.index()].map_or(0, |p| p.depth));
    let mut nodes = Vec::new();
    let mut at = first.filter(|id| places[id.index()].is_some());
    while let Some(id) = at {
        nodes.push(id);
        at = places[id.index()].and_then(|p| p.next);
    }
    nodes
}

/// Nodes with which the computation on floats begins: what they read of the inputs are integers or inputs themselves.
fn entries(graph: &Graph, order: &[NodeId]) -> Vec<NodeId> {
    let mut is_computed = vec![false; graph.node_bound()];
    let mut entries = Vec::new();
    for &id in order {
        let inputs = || graph.node(id).inputs().iter().flatten().copied();
        let computed = |v: ValueId| graph.producer(v).is_some_and(|p| is_computed[p.index()]);
        let is_fed = |v: ValueId| graph.is_input(v) && graph.initializer(v).is_none();
        let depends = inputs().any(|v| computed(v) || is_fed(v));
        if depends && !inputs().any(|v| computed(v) && !is_whole(graph, v)) {
            entries.push(id);
        }
        is_computed[id.index()] = depends;
    }
    entries
}

/// Whether a value is known to hold no floats.
fn is_whole(graph: &Graph, id: ValueId) -> bool {
    let fact = graph.value(id).fact.as_tensor();
    fact.and_then(|f| f.dtype).is_some_and(|d| !d.is_float())
}

/// The only output of a node that somebody reads.
fn sole_output(graph: &Graph, id: NodeId) -> Option<ValueId> {
    let outputs = graph.node(id).outputs().iter().flatten().copied();
    let mut read = outputs.filter(|&v| !graph.uses(v).is_empty() || graph.is_output(v));
    let first = read.next()?;
    read.next().is_none().then_some(first)
}

/// What a node is made of, and from which value of the stream on.
#[derive(Clone, Copy, Default)]
struct Made {
    hash: u64,
    /// The last value of the stream that it depends on, by its place from 1; 0 for none.
    after: usize,
}

fn segments(graph: &Graph, order: &[NodeId], values: &[ValueId]) -> Vec<Segment> {
    let places: HashMap<ValueId, usize> = values
        .iter()
        .enumerate()
        .map(|(i, &v)| (v, i + 1))
        .collect();
    let mut made = vec![Made::default(); graph.node_bound()];
    let mut between: Vec<Vec<NodeId>> = vec![Vec::new(); values.len() + 1];
    for &id in order {
        let after = |value: ValueId| {
            let of_producer = graph.producer(value).map_or(0, |p| made[p.index()].after);
            places.get(&value).copied().unwrap_or(of_producer)
        };
        let inputs = graph.node(id).inputs();
        let last = inputs
            .iter()
            .flatten()
            .map(|&v| after(v))
            .max()
            .unwrap_or(0);
        let mut hasher = DefaultHasher::new();
        hash_operator(graph, id, &mut hasher);
        for input in inputs {
            match input {
                None => 0u8.hash(&mut hasher),
                Some(value) => hash_input(graph, *value, last, &places, &made, &mut hasher),
            }
        }
        made[id.index()] = Made {
            hash: hasher.finish(),
            after: last,
        };
        between[last].push(id);
    }
    let segment = |(place, &value): (usize, &ValueId)| {
        let nodes = std::mem::take(&mut between[place]);
        let end = graph.producer(value).map_or(0, |p| made[p.index()].hash);
        Segment {
            value,
            signature: end,
            parameters: parameters(graph, &nodes),
            nodes,
        }
    };
    values.iter().enumerate().map(segment).collect()
}

fn hash_operator(graph: &Graph, id: NodeId, hasher: &mut DefaultHasher) {
    let node = graph.node(id);
    (&node.domain, &node.op_type, node.outputs().len()).hash(hasher);
    for (name, attribute) in node.attributes.iter() {
        name.hash(hasher);
        match attribute {
            Attribute::Float(_)
            | Attribute::Int(_)
            | Attribute::String(_)
            | Attribute::Floats(_)
            | Attribute::Ints(_)
            | Attribute::Strings(_) => format!("{attribute:?}").hash(hasher),
            Attribute::Tensor(tensor) => hash_constant(tensor, hasher),
            // A subgraph is like no other.
            _ => id.index().hash(hasher),
        }
    }
}

fn hash_input(
    graph: &Graph,
    value: ValueId,
    last: usize,
    places: &HashMap<ValueId, usize>,
    made: &[Made],
    hasher: &mut DefaultHasher,
) {
    match (
        places.get(&value),
        graph.constant(value),
        graph.producer(value),
    ) {
        (Some(&place), ..) if place == last => 1u8.hash(hasher),
        (_, Some(tensor), _) => {
            2u8.hash(hasher);
            hash_constant(tensor, hasher);
        }
        (_, None, Some(producer)) => (3u8, made[producer.index()].hash).hash(hasher),
        (_, None, None) => (4u8, graph.name_of(value)).hash(hasher),
    }
}

/// Constants of which single elements say what is computed, not what was learned.
const FEW_ELEMENTS: usize = 64;

/// Weights by type and shape; numbers of a formula and shapes by what they hold.
fn hash_constant(tensor: &compress_tensor::Tensor, hasher: &mut DefaultHasher) {
    (format!("{:?}", tensor.dtype()), tensor.shape()).hash(hasher);
    let floats = tensor.dtype().is_float();
    if (floats && tensor.len() == 1) || (!floats && tensor.len() <= FEW_ELEMENTS) {
        tensor.bytes().hash(hasher);
    }
}

/// The elements of the float initializers that nodes read.
fn parameters(graph: &Graph, nodes: &[NodeId]) -> usize {
    let inputs = nodes.iter().flat_map(|&id| graph.node(id).inputs());
    let read: BTreeSet<ValueId> = inputs.flatten().copied().collect();
    let weights = read.into_iter().filter_map(|id| graph.constant(id));
    weights
        .filter(|t| t.dtype().is_float() && t.len() > 1)
        .map(compress_tensor::Tensor::len)
        .sum()
}
