//! Activations computed again: less memory for more work.
//!
//! A backward pass reads what the forward pass computed; all of that lies in memory when the one meets the other. [`recompute`] cuts the
//! forward pass into segments. Between segments it keeps what the next ones read; what the backward pass reads from within a segment is dropped, and
//! the segment's nodes are computed once more, just before the first backward node that reads from it: checkpoints as in Chen et al.
//! 2016, arXiv:1604.06174, sec. 4. The nodes are the same on the same inputs, and so are the gradients.
//!
//! Memory is estimated: the sizes of all values between their first and their last use, where symbolic sizes count as a given number. Inputs,
//! initializers and what kernels work in are not among them, and a result that takes the place of an input counts twice.

use super::error::GradientError;
use crate::graph::{Graph, Node, NodeId, Use, ValueId};
use crate::model::Model;
use crate::operator::Catalog;
use crate::symbolic::Dim;
use std::collections::{HashMap, HashSet};

/// How much memory activations may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivationBudget {
    /// Bytes at most.
    pub bytes: u64,
    /// What symbolic sizes count as: the samples of a batch.
    pub symbol: usize,
}

/// What was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecomputeReport {
    /// The estimate before and after, in bytes.
    pub bytes_before: u64,
    /// See `bytes_before`.
    pub bytes: u64,
    /// Segments of the forward pass; 1 where nothing was to be done.
    pub segments: usize,
    /// Nodes that are computed twice.
    pub recomputed: usize,
}

/// Segments at most.
const MOST_SEGMENTS: usize = 64;

/// Lets a backward pass compute anew what it reads of a forward pass, as little as fits a budget.
///
/// `forward` and `backward` are all nodes of the graph, each in an order in which they can run, the backward ones as late as they can. They run in
/// this order afterwards.
///
/// # Errors
/// [`GradientError::Memory`] with the least estimate where the budget is below it; the model is then as it was. [`GradientError::Graph`].
pub fn recompute(
    model: &mut Model,
    forward: &[NodeId],
    backward: &[NodeId],
    budget: ActivationBudget,
    catalog: &Catalog,
) -> Result<RecomputeReport, GradientError> {
    let passes = Passes::new(model, forward, backward, budget.symbol, catalog);
    let mut report = RecomputeReport {
        segments: 1,
        ..RecomputeReport::default()
    };
    report.bytes_before = passes.peak(&Cut::default());
    report.bytes = report.bytes_before;
    if report.bytes <= budget.bytes {
        return Ok(report);
    }
    let mut least = report.bytes;
    for segments in 2..=MOST_SEGMENTS.min(forward.len()) {
        let cut = passes.cut(segments);
        let bytes = passes.peak(&cut);
        least = least.min(bytes);
        if bytes <= budget.bytes {
            (report.bytes, report.segments) = (bytes, segments);
            report.recomputed = cut.nodes.iter().map(Vec::len).sum();
            let order = passes.order(&cut);
            apply(&mut model.graph, forward.len(), &order, &cut)?;
            return Ok(report);
        }
    }
    Err(GradientError::Memory {
        bytes: budget.bytes,
        least,
    })
}

/// What is computed anew.
#[derive(Default)]
struct Cut {
    /// The values that are dropped, with their segments.
    dropped: HashMap<ValueId, usize>,
    /// By segment the nodes that are computed again, in order.
    nodes: Vec<Vec<NodeId>>,
}

/// A node in the order in which all run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// A node of the graph.
    Once(NodeId),
    /// A forward node again.
    Again(NodeId),
}

/// Both passes and what their values weigh.
struct Passes<'g> {
    graph: &'g Graph,
    forward: &'g [NodeId],
    backward: &'g [NodeId],
    /// The place of each forward node, by its index.
    place: HashMap<NodeId, usize>,
    /// Bytes of each value that a node writes, by index.
    bytes: Vec<u64>,
    /// Whether each forward node gives the same when it runs again.
    repeats: Vec<bool>,
    /// What the backward nodes read.
    wanted: HashSet<ValueId>,
}

impl<'g> Passes<'g> {
    fn new(
        model: &'g Model,
        forward: &'g [NodeId],
        backward: &'g [NodeId],
        symbol: usize,
        catalog: &Catalog,
    ) -> Self {
        let graph = &model.graph;
        let mut bytes = vec![0; graph.value_bound()];
        for (id, value) in graph
            .values()
            .filter(|(id, _)| graph.producer(*id).is_some())
        {
            let tensor = value.fact.as_tensor();
            let dims = tensor.and_then(|t| t.shape.as_deref()).unwrap_or_default();
            let size = |dim: &Dim| {
                let size = dim.eval(&|_| i64::try_from(symbol).ok());
                size.map_or(symbol as u64, |size| size.max(0) as u64)
            };
            let elements = dims.iter().map(size).fold(1u64, u64::saturating_mul);
            let bits = tensor.and_then(|t| t.dtype).and_then(|d| d.bits());
            bytes[id.index()] = elements.saturating_mul(bits.unwrap_or(32) as u64) / 8;
        }
        let repeats = forward.iter().map(|&id| {
            let node = graph.node(id);
            let is_plain = node.attributes.graphs().next().is_none();
            let operator = catalog.parse(node, &model.opsets);
            is_plain && operator.is_ok_and(|operator| !operator.is_random())
        });
        let wanted = backward.iter().flat_map(|&id| graph.node(id).inputs());
        Self {
            place: forward
                .iter()
                .enumerate()
                .map(|(at, &id)| (id, at))
                .collect(),
            repeats: repeats.collect(),
            wanted: wanted.flatten().copied().collect(),
            graph,
            forward,
            backward,
            bytes,
        }
    }

    /// Cuts the forward pass so that the backward pass reads about as many bytes from each segment.
    fn cut(&self, segments: usize) -> Cut {
        let stored = |id: NodeId| -> u64 {
            let written = self.graph.node(id).outputs().iter().flatten();
            let wanted = written.filter(|v| self.wanted.contains(v));
            wanted.map(|v| self.bytes[v.index()]).sum()
        };
        let all: u64 = self.forward.iter().map(|&id| stored(id)).sum();
        let mut segment_of = Vec::with_capacity(self.forward.len());
        let mut before = 0u64;
        for &id in self.forward {
            let share = u128::from(before) * segments as u128 / u128::from(all.max(1));
            segment_of.push((share as usize).min(segments - 1));
            before += stored(id);
        }
        let mut cut = Cut {
            dropped: HashMap::new(),
            nodes: vec![Vec::new(); segments],
        };
        for (at, &id) in self.forward.iter().enumerate() {
            // What the backward pass begins with is still there.
            if segment_of[at] + 1 == segments || !self.repeats[at] {
                continue;
            }
            for &value in self.graph.node(id).outputs().iter().flatten() {
                if self.wanted.contains(&value) && self.stays_within(value, &segment_of, at) {
                    cut.dropped.insert(value, segment_of[at]);
                }
            }
        }
        self.close(&mut cut, &segment_of);
        cut
    }

    /// Whether no other segment, subgraph or caller reads a value.
    fn stays_within(&self, value: ValueId, segment_of: &[usize], at: usize) -> bool {
        !self.graph.is_output(value)
            && self.graph.uses(value).iter().all(|usage| match usage {
                Use::Captured { .. } => false,
                Use::Input { node, .. } => {
                    let place = self.place.get(node);
                    place.is_none_or(|&place| segment_of[place] == segment_of[at])
                }
            })
    }

    /// The nodes that compute what is dropped, from what is kept. Where one of them cannot run again, what hangs on it is kept.
    fn close(&self, cut: &mut Cut, segment_of: &[usize]) {
        let mut again: HashSet<usize> = HashSet::new();
        // Values within a segment that nobody keeps are computed again on the way.
        let mut open: Vec<(ValueId, usize)> = cut.dropped.iter().map(|(&v, &s)| (v, s)).collect();
        while let Some((value, segment)) = open.pop() {
            let Some(&at) = self
                .graph
                .producer(value)
                .and_then(|id| self.place.get(&id))
            else {
                continue;
            };
            let is_kept = !cut.dropped.contains_key(&value)
                && (segment_of[at] != segment
                    || !self.repeats[at]
                    || !self.stays_within(value, segment_of, at));
            if is_kept || !again.insert(at) {
                continue;
            }
            cut.dropped.entry(value).or_insert(segment);
            let inputs = self.graph.node(self.forward[at]).inputs().iter().flatten();
            open.extend(inputs.map(|&input| (input, segment)));
        }
        let mut places: Vec<usize> = again.into_iter().collect();
        places.sort_unstable();
        for at in places {
            cut.nodes[segment_of[at]].push(self.forward[at]);
            // The other results of a node that runs again are at hand too.
            for &value in self.graph.node(self.forward[at]).outputs().iter().flatten() {
                if self.wanted.contains(&value) && self.stays_within(value, segment_of, at) {
                    cut.dropped.entry(value).or_insert(segment_of[at]);
                }
            }
        }
    }

    /// All nodes in the order in which they run: a segment again before the first backward node that reads from it.
    fn order(&self, cut: &Cut) -> Vec<Turn> {
        let mut order: Vec<Turn> = self.forward.iter().map(|&id| Turn::Once(id)).collect();
        let mut is_there = vec![false; cut.nodes.len()];
        for &id in self.backward {
            let reads = self.graph.node(id).inputs().iter().flatten();
            let mut segments: Vec<usize> =
                reads.filter_map(|v| cut.dropped.get(v).copied()).collect();
            segments.sort_unstable();
            for segment in segments.into_iter().rev() {
                if !std::mem::replace(&mut is_there[segment], true) {
                    order.extend(cut.nodes[segment].iter().map(|&id| Turn::Again(id)));
                }
            }
            order.push(Turn::Once(id));
        }
        order
    }

    /// The most bytes that lie in memory at once.
    fn peak(&self, cut: &Cut) -> u64 {
        let order = self.order(cut);
        let is_late = |turn: Turn| match turn {
            Turn::Once(id) => !self.place.contains_key(&id),
            Turn::Again(_) => true,
        };
        // A dropped value is another one when it is computed again.
        let name =
            |turn: Turn, value: ValueId| (value, is_late(turn) && cut.dropped.contains_key(&value));
        let node = |turn: Turn| match turn {
            Turn::Once(id) | Turn::Again(id) => self.graph.node(id),
        };
        let mut last: HashMap<(ValueId, bool), usize> = HashMap::new();
        for (at, &turn) in order.iter().enumerate() {
            let node = node(turn);
            for &value in node.inputs().iter().chain(node.outputs()).flatten() {
                last.insert(name(turn, value), at);
            }
        }
        for &output in self.graph.outputs() {
            last.insert((output, false), order.len());
        }
        let mut ends: Vec<u64> = vec![0; order.len() + 1];
        let (mut held, mut peak) = (0u64, 0u64);
        for (at, &turn) in order.iter().enumerate() {
            for &value in node(turn).outputs().iter().flatten() {
                let bytes = self.bytes[value.index()];
                held = held.saturating_add(bytes);
                let end = last.get(&name(turn, value)).copied().unwrap_or(at);
                ends[end] = ends[end].saturating_add(bytes);
            }
            peak = peak.max(held);
            held = held.saturating_sub(ends[at]);
        }
        peak
    }
}

/// Puts the nodes into their order, behind the forward ones, which keep their places.
fn apply(
    graph: &mut Graph,
    forward: usize,
    order: &[Turn],
    cut: &Cut,
) -> Result<(), GradientError> {
    let mut copies: HashMap<ValueId, ValueId> = HashMap::new();
    for &turn in &order[forward..] {
        match turn {
            Turn::Once(id) => {
                let node = graph.remove_node(id);
                let inputs = renamed(node.inputs(), &copies);
                graph.add_node(node.with_inputs(inputs))?;
            }
            Turn::Again(id) => {
                let node = graph.node(id).clone();
                let inputs = renamed(node.inputs(), &copies);
                let mut outputs = Vec::with_capacity(node.outputs().len());
                for &output in node.outputs() {
                    outputs.push(match output {
                        Some(value) => Some(copy_of(graph, value, cut, &mut copies)?),
                        None => None,
                    });
                }
                let name = if node.name.is_empty() {
                    String::new()
                } else {
                    format!("{}/again", node.name)
                };
                let node: Node = node.named(name).with_inputs(inputs).with_outputs(outputs);
                graph.add_node(node)?;
            }
        }
    }
    Ok(())
}

fn renamed(values: &[Option<ValueId>], copies: &HashMap<ValueId, ValueId>) -> Vec<Option<ValueId>> {
    let copy = |value: ValueId| copies.get(&value).copied().unwrap_or(value);
    values.iter().map(|value| value.map(copy)).collect()
}

/// The value that a node writes when it runs again; what is kept is still read where it is.
fn copy_of(
    graph: &mut Graph,
    value: ValueId,
    cut: &Cut,
    copies: &mut HashMap<ValueId, ValueId>,
) -> Result<ValueId, GradientError> {
    let (name, fact) = (
        graph.name_of(value).to_owned(),
        graph.value(value).fact.clone(),
    );
    let copy = graph.fresh_value(&format!("{name}/again"), fact)?;
    if cut.dropped.contains_key(&value) {
        copies.insert(value, copy);
    }
    Ok(copy)
}
