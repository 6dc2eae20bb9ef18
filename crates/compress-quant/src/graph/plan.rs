//! Which values hold integers, which share a scale, and which parameters they get.

use super::calibrate::Calibration;
use super::config::QuantizeConfig;
use super::error::QuantizeError;
use super::select::{Bridge, Role, Selection, select};
use crate::{QuantParams, Range, RangeRule};
use onnx_ir::{Graph, Model, NodeId, ValueId};
use std::collections::{BTreeMap, HashSet};

/// Everything that is decided before the graph is changed.
pub(super) struct Plan {
    pub selection: Selection,
    /// Values that get Q/DQ, with the representative of the group that shares their scale.
    pub quantized: BTreeMap<ValueId, ValueId>,
    /// Quantized values that come from a quantized node: every reader reads the dequantized value.
    pub for_all_readers: HashSet<ValueId>,
    /// Ranges that an operator or a target fixes, by group.
    fixed: BTreeMap<ValueId, Range>,
}

impl Plan {
    pub(super) fn of(model: &Model, config: &QuantizeConfig) -> Result<Self, QuantizeError> {
        let graph = &model.graph;
        let rules = config.target.rules();
        let selection = select(model, config)?;
        let mut groups = Groups::new(graph.value_bound());
        let mut quantized: HashSet<ValueId> = HashSet::new();
        let mut for_all_readers = HashSet::new();
        let mut fixed_outputs: Vec<(ValueId, Range)> = Vec::new();
        for &id in &selection.order {
            let Some(role) = selection.roles.get(&id) else {
                continue;
            };
            let node = graph.node(id);
            let data = selection.data_inputs(graph, id);
            let inputs = data.iter().filter_map(|&i| node.input(i));
            quantized.extend(inputs.clone().filter(|&v| {
                !skips_residual(graph, &selection, id, v, rules.float_residual_branch)
            }));
            match *role {
                Role::Core { weight, .. } => {
                    let own_output = weight.is_some() && !node.is("MatMul") && !node.is("Gemm");
                    if let Some(v) = selection.result(graph, id) {
                        if (own_output && rules.quantize_conv_output) || rules.whole_graph {
                            quantized.insert(v);
                        }
                        if !node.is("MatMul") || rules.whole_graph {
                            for_all_readers.insert(v);
                        }
                    }
                }
                Role::Bridge(bridge) => {
                    let last = selection.fused.get(&id).map_or(node, |&a| graph.node(a));
                    let outputs: Vec<ValueId> = last.outputs().iter().flatten().copied().collect();
                    if rules.quantize_conv_output || bridge == Bridge::SameScale {
                        quantized.extend(outputs.iter().copied());
                    }
                    for_all_readers.extend(outputs.iter().copied());
                    if let Some(f) = rules.fixed_outputs.iter().find(|f| node.is(f.op)) {
                        let (min, max) = (f.min, f.max);
                        fixed_outputs.extend(outputs.iter().map(|&v| (v, Range { min, max })));
                    }
                    match bridge {
                        Bridge::OwnScale => {}
                        Bridge::SameScale => {
                            for v in inputs.chain(outputs) {
                                groups.join(
                                    v,
                                    data.first().and_then(|&i| node.input(i)).unwrap_or(v),
                                );
                            }
                        }
                        Bridge::Fixed => {}
                    }
                }
            }
        }
        for_all_readers.retain(|v| quantized.contains(v));
        let fixed = fixed_outputs
            .into_iter()
            .map(|(v, r)| (groups.root(v), r))
            .collect();
        let quantized = quantized.into_iter().map(|v| (v, groups.root(v))).collect();
        Ok(Self {
            selection,
            quantized,
            for_all_readers,
            fixed,
        })
    }

    /// The parameters of every quantized value.
    pub(super) fn params(
        &self,
        graph: &Graph,
        calibration: &Calibration,
        config: &QuantizeConfig,
    ) -> Result<BTreeMap<ValueId, QuantParams>, QuantizeError> {
        let (dtype, rule) = (config.activation_dtype(), config.range_rule());
        let mut ranges: BTreeMap<ValueId, Range> = BTreeMap::new();
        for (&value, &root) in &self.quantized {
            let name = graph.name_of(value);
            let stats = calibration
                .get(name)
                .ok_or_else(|| QuantizeError::NotCalibrated {
                    tensor: name.to_owned(),
                })?;
            let values = |error| QuantizeError::Values {
                tensor: name.to_owned(),
                error,
            };
            // A model's input that was 8-bit once stays exact.
            let grid = match graph.is_input(value) && rule == RangeRule::Asymmetric {
                true => stats.grid(255),
                false => None,
            };
            let range = match grid {
                Some(range) => range,
                None => config.method.range(stats, dtype, rule).map_err(values)?,
            };
            ranges
                .entry(root)
                .and_modify(|r| *r = r.union(range))
                .or_insert(range);
        }
        for (root, range) in &self.fixed {
            ranges.insert(*root, *range);
        }
        self.quantized
            .iter()
            .map(|(&value, root)| {
                let params =
                    ranges[root]
                        .params(dtype, rule)
                        .map_err(|error| QuantizeError::Values {
                            tensor: graph.name_of(value).to_owned(),
                            error,
                        })?;
                Ok((value, params))
            })
            .collect()
    }
}

/// Whether `value` is the convolution branch of a residual `Add` whose sum belongs to that convolution.
fn skips_residual(
    graph: &Graph,
    selection: &Selection,
    add: NodeId,
    value: ValueId,
    rule: bool,
) -> bool {
    if !rule || !graph.node(add).is("Add") || graph.sole_use(value).is_none() {
        return false;
    }
    let produced_by_core = |v: ValueId| {
        graph
            .producer(v)
            .is_some_and(|p| matches!(selection.roles.get(&p), Some(Role::Core { .. })))
    };
    // Of two convolution branches the later one takes in the sum; the other is the skip input.
    let position = |v: ValueId| {
        graph
            .producer(v)
            .and_then(|p| selection.order.iter().position(|&o| o == p))
    };
    let latest = graph
        .node(add)
        .inputs()
        .iter()
        .flatten()
        .copied()
        .filter(|&v| produced_by_core(v))
        .max_by_key(|&v| position(v));
    latest == Some(value)
}

/// Disjoint sets of values that share a scale.
struct Groups(Vec<u32>);

impl Groups {
    fn new(values: usize) -> Self {
        Self((0..values as u32).collect())
    }

    fn root(&mut self, v: ValueId) -> ValueId {
        let mut at = v.index();
        while self.0[at] as usize != at {
            self.0[at] = self.0[self.0[at] as usize];
            at = self.0[at] as usize;
        }
        ValueId::from_index(at)
    }

    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.root(a), self.root(b));
        let (low, high) = (a.min(b), a.max(b));
        self.0[high.index()] = low.index() as u32;
    }
}
