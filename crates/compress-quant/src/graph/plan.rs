//! Which values hold integers, which share a scale, and which parameters they get.

use super::calibrate::Calibration;
use super::config::QuantizeConfig;
use super::error::QuantizeError;
use super::report::Note;
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
    /// Inputs that need the scale of another value where the range of what they read is prescribed: node, input and
    /// that other value.
    pub requantized: Vec<(NodeId, usize, ValueId)>,
    /// Ranges that the target prescribes, by group.
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
        let mut requantized = Vec::new();
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
                        for &v in &outputs {
                            groups.prescribe(v, Range { min, max });
                        }
                    }
                    match bridge {
                        Bridge::OwnScale => {}
                        Bridge::SameScale => {
                            let read = data.iter().filter_map(|&i| Some((i, node.input(i)?)));
                            let apart = groups.share(&read.collect::<Vec<_>>(), &outputs);
                            let apart = apart.into_iter().map(|(i, v)| (id, i, v));
                            requantized.extend(apart);
                        }
                        Bridge::Fixed => {}
                    }
                }
            }
        }
        for_all_readers.retain(|v| quantized.contains(v));
        let quantized = quantized.into_iter().map(|v| (v, groups.root(v))).collect();
        Ok(Self {
            selection,
            quantized,
            for_all_readers,
            requantized,
            fixed: groups.fixed,
        })
    }

    /// Whether the target prescribes the range of a group.
    pub(super) fn is_prescribed(&self, root: ValueId) -> bool {
        self.fixed.contains_key(&root)
    }

    /// The parameters of every quantized value.
    pub(super) fn params(
        &self,
        graph: &Graph,
        calibration: &Calibration,
        config: &QuantizeConfig,
        notes: &mut Vec<Note>,
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
            if graph.is_input(value)
                && let Some(Range { min, max }) = stats.min_max()
                && min == max
            {
                let text = format!("it was {min} in all samples: real ones need another range");
                notes.push(Note::new(name, text));
            }
            // A model's input that was 8-bit once stays exact.
            let grid = match graph.is_input(value) && rule == RangeRule::Asymmetric {
                true => stats.grid(255),
                false => None,
            };
            let range = match grid {
                Some(range) => {
                    let text = format!(
                        "its values lie on an 8-bit grid, whose range is taken instead of what {} gives",
                        config.method.name()
                    );
                    notes.push(Note::new(name, text));
                    range
                }
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
struct Groups {
    parents: Vec<u32>,
    /// Prescribed ranges, by root.
    fixed: BTreeMap<ValueId, Range>,
}

impl Groups {
    fn new(values: usize) -> Self {
        Self {
            parents: (0..values as u32).collect(),
            fixed: BTreeMap::new(),
        }
    }

    fn root(&mut self, v: ValueId) -> ValueId {
        let parents = &mut self.parents;
        let mut at = v.index();
        while parents[at] as usize != at {
            parents[at] = parents[parents[at] as usize];
            at = parents[at] as usize;
        }
        ValueId::from_index(at)
    }

    fn prescribe(&mut self, v: ValueId, range: Range) {
        let root = self.root(v);
        self.fixed.insert(root, range);
    }

    fn prescribed(&mut self, v: ValueId) -> Option<Range> {
        let root = self.root(v);
        self.fixed.get(&root).copied()
    }

    /// Makes all that a node reads and writes share one scale. A prescribed scale goes on to the results only where
    /// everything has it; else its inputs stay out, and are given with the value whose scale they need.
    fn share(&mut self, inputs: &[(usize, ValueId)], outputs: &[ValueId]) -> Vec<(usize, ValueId)> {
        let Some(&result) = outputs.first() else {
            return Vec::new();
        };
        let prescribed: Vec<Option<Range>> =
            inputs.iter().map(|&(_, v)| self.prescribed(v)).collect();
        let alike = prescribed.windows(2).all(|w| w[0] == w[1]);
        let mut apart = Vec::new();
        for (&(index, v), prescribed) in inputs.iter().zip(prescribed) {
            if alike || prescribed.is_none() {
                self.join(v, result);
            } else {
                apart.push((index, result));
            }
        }
        for &v in outputs {
            self.join(v, result);
        }
        apart
    }

    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.root(a), self.root(b));
        let (low, high) = (a.min(b), a.max(b));
        self.parents[high.index()] = low.index() as u32;
        if let Some(range) = self.fixed.remove(&high) {
            self.fixed.insert(low, range);
        }
    }
}
