//! How many bits each weight and each activation has.

use super::config::{LayerBits, QatConfig};
use crate::graph::error::QuantizeError;
use crate::graph::patterns::is_named;
use crate::graph::plan::Plan;
use crate::graph::select::Role;
use onnx_ir::{Graph, NodeId, ValueId};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Bits of activations that no weighted layer reads, and of the model's inputs.
const WIDE: u32 = 8;

/// Bits of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    pub weights: u32,
    pub activations: u32,
    /// Whether the bits of what it reads were given by its name.
    named: bool,
}

/// Bits of every layer and of every group of activations that share a scale.
pub(super) struct AllBits {
    pub layers: HashMap<NodeId, Bits>,
    /// By the representative of the group.
    pub groups: BTreeMap<ValueId, u32>,
}

impl AllBits {
    /// Chooses bits before the graph is changed.
    ///
    /// # Errors
    /// [`QuantizeError::NoSuchNode`] for a name that is no layer's.
    pub(super) fn of(
        graph: &Graph,
        plan: &Plan,
        config: &QatConfig,
    ) -> Result<Self, QuantizeError> {
        let selection = &plan.selection;
        let is_core = |id: &NodeId| matches!(selection.roles.get(id), Some(Role::Core { .. }));
        let cores: Vec<NodeId> = selection.order.iter().copied().filter(is_core).collect();
        check_names(graph, &cores, &config.layers)?;
        let ends = ends(graph, &selection.order, &cores);
        let layers: HashMap<NodeId, Bits> = cores
            .iter()
            .map(|&id| (id, bits_of(graph, id, ends.contains(&id), config)))
            .collect();
        let mut groups: BTreeMap<ValueId, u32> = BTreeMap::new();
        for &id in &cores {
            let bits = layers[&id];
            for value in selection.data_inputs(graph, id) {
                let value = graph.node(id).input(value);
                let Some((value, &root)) = value.and_then(|v| Some((v, plan.quantized.get(&v)?)))
                else {
                    continue;
                };
                let wide = graph.is_input(value) && !bits.named || plan.is_prescribed(root);
                let bits = if wide { WIDE } else { bits.activations };
                let most = groups.entry(root).or_insert(bits);
                *most = (*most).max(bits);
            }
        }
        for &root in plan.quantized.values() {
            groups.entry(root).or_insert(WIDE);
        }
        Ok(Self { layers, groups })
    }
}

fn check_names(graph: &Graph, cores: &[NodeId], layers: &[LayerBits]) -> Result<(), QuantizeError> {
    for pattern in layers.iter().flat_map(|layer| &layer.nodes) {
        if !cores.iter().any(|&id| is_named(graph, id, pattern)) {
            return Err(QuantizeError::NoSuchLayer {
                pattern: pattern.clone(),
                examples: cores
                    .iter()
                    .take(5)
                    .map(|&id| graph.label(id).to_owned())
                    .collect(),
            });
        }
    }
    Ok(())
}

fn bits_of(graph: &Graph, id: NodeId, is_end: bool, config: &QatConfig) -> Bits {
    let names = |layer: &&LayerBits| layer.nodes.iter().any(|p| is_named(graph, id, p));
    let named = config.layers.iter().find(names);
    let of_end = config.end_bits.filter(|_| is_end);
    let activations = named.and_then(|layer| layer.activation_bits);
    Bits {
        weights: named
            .and_then(|layer| layer.weight_bits)
            .or(of_end)
            .unwrap_or(config.weight_bits),
        activations: activations.or(of_end).unwrap_or(config.activation_bits),
        named: activations.is_some(),
    }
}

/// Weighted layers that no other comes before, and those that no other comes behind.
fn ends(graph: &Graph, order: &[NodeId], cores: &[NodeId]) -> HashSet<NodeId> {
    let cores: HashSet<NodeId> = cores.iter().copied().collect();
    let reads = |id: NodeId| graph.node(id).inputs().iter().flatten().copied();
    let writes = |id: NodeId| graph.node(id).outputs().iter().flatten().copied();
    let mut found = HashSet::new();
    // Values behind a layer, then values before one.
    let mut behind: HashSet<ValueId> = HashSet::new();
    for &id in order {
        let follows = reads(id).any(|v| behind.contains(&v));
        if cores.contains(&id) && !follows {
            found.insert(id);
        }
        if follows || cores.contains(&id) {
            behind.extend(writes(id));
        }
    }
    let mut before: HashSet<ValueId> = HashSet::new();
    for &id in order.iter().rev() {
        let leads = writes(id).any(|v| before.contains(&v));
        if cores.contains(&id) && !leads {
            found.insert(id);
        }
        if leads || cores.contains(&id) {
            before.extend(reads(id));
        }
    }
    found
}
