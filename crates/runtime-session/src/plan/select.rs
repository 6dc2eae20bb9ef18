//! Selection: which steps compute a graph.
//!
//! From the last node to the first, each node whose result is wanted is bound to a step. A binding may take the
//! nodes before it along (the `Conv` before a `Relu`, the whole region from `DequantizeLinear` to
//! `QuantizeLinear`); what nobody wants afterwards is never bound: maximal munch, as in instruction selection.

use super::{Constants, Draft, DraftStep, Fused, Layouts, Tapped};
use crate::bindings;
use crate::error::SessionError;
use crate::profile::Profiler;
use crate::step::Step;
use crate::weights::Weights;
use crate::{OptimizationLevel, SessionOptions, TapOrder};
use compress_tensor::{DType, Tensor};
use onnx_ir::graph::Use;
use onnx_ir::operator::Catalog;
use onnx_ir::passes::WidenHalf;
use onnx_ir::{Graph, Node, NodeId, OpsetImports, ValueId};
use runtime_kernels::Isa;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Depth of subgraphs beyond which a model is refused.
const MAX_DEPTH: usize = 64;

/// What the graphs of one model have in common while they are compiled.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) opsets: &'a OpsetImports,
    pub(crate) options: &'a SessionOptions,
    pub(crate) profiler: &'a Profiler,
    pub(crate) weights: &'a Weights,
    pub(crate) isa: Isa,
    /// Convolutions that stay in the model's order of axes, though they might be faster with channels last.
    pub(crate) planes: Option<&'a HashSet<NodeId>>,
    pub(crate) depth: usize,
}

/// A step and the graph values that it reads and writes.
pub(crate) struct Bound {
    pub(crate) step: Arc<dyn Step>,
    pub(crate) inputs: Vec<Option<ValueId>>,
    pub(crate) outputs: Vec<Option<ValueId>>,
}

/// The weights of a product in f32, as the model stores them.
#[derive(Clone)]
pub(crate) struct Weight {
    /// The value that holds them.
    pub(crate) value: ValueId,
    pub(crate) tensor: Tensor,
    /// Whether the model has halves on the other side of the product too.
    pub(crate) meets_halves: bool,
}

/// A graph while its nodes are bound.
pub(crate) struct Selector<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) scope: Scope<'a>,
    constants: Constants<'a>,
    /// Values that must exist, by value index.
    kept: Vec<bool>,
}

impl<'a> Selector<'a> {
    /// Binds the nodes of `graph`. `captured` are constants of the graphs around it, `tapped` values that must exist.
    ///
    /// # Errors
    /// [`SessionError`] for an operator without meaning here, a cycle, or subgraphs nested too deep.
    pub(crate) fn draft(
        graph: &'a Graph,
        scope: Scope<'a>,
        captured: HashMap<ValueId, Tensor>,
        tapped: &[ValueId],
    ) -> Result<Draft, SessionError> {
        if scope.depth > MAX_DEPTH {
            return Err(SessionError::TooDeep { limit: MAX_DEPTH });
        }
        let mut captured = captured;
        for sparse in &graph.sparse_initializers {
            let Some(id) = graph.value_by_name(&sparse.name) else {
                continue;
            };
            let dense = sparse.to_dense(scope.options.limits.max_tensor_bytes);
            let dense = dense.map_err(|error| SessionError::Sparse {
                name: sparse.name.clone(),
                error,
            })?;
            captured.insert(id, dense);
        }
        let mut kept = vec![false; graph.value_bound()];
        for v in graph.outputs().iter().chain(tapped) {
            kept[v.index()] = true;
        }
        let mut inputs = graph.inputs().to_vec();
        inputs.extend(
            graph
                .captured()
                .map(|(v, _)| v)
                .filter(|v| !captured.contains_key(v)),
        );
        let folds = scope.options.optimize >= OptimizationLevel::Basic;
        let constants = Constants::new(graph, scope.catalog, scope.opsets, captured, folds);
        let selector = Self {
            graph,
            scope,
            constants,
            kept,
        };
        selector.select(inputs, tapped)
    }

    fn select(mut self, inputs: Vec<ValueId>, tapped: &[ValueId]) -> Result<Draft, SessionError> {
        let graph = self.graph;
        let mut wanted = vec![false; graph.value_bound()];
        let mut constants = HashMap::new();
        let (mut steps, mut roots) = (Vec::new(), Vec::new());
        for &v in graph.outputs().iter().chain(tapped) {
            self.want(v, &mut wanted, &mut constants);
        }
        for id in graph.topological_order()?.into_iter().rev() {
            let mut outputs = graph.node(id).outputs().iter().flatten();
            if !outputs.any(|v| wanted[v.index()]) {
                continue;
            }
            let bound = bindings::bind(&mut self, id)?;
            for v in bound.inputs.iter().flatten() {
                self.want(*v, &mut wanted, &mut constants);
            }
            let node: Arc<str> = graph.describe(id).into();
            let profiler = self.scope.profiler;
            let row = profiler.row(&node, graph.node(id), bound.step.kernel());
            profiler.set_variant(row, bound.step.variant());
            steps.push(DraftStep {
                row,
                step: bound.step,
                inputs: bound.inputs,
                outputs: bound.outputs,
                node,
                fused: Arc::default(),
            });
            roots.push(id);
        }
        for (step, &root) in steps.iter_mut().zip(&roots) {
            if step.step.looks_up() {
                continue;
            }
            let stored = |v| self.constants.known(v);
            let fused = Fused::of(graph, root, &step.inputs, &|v| wanted[v.index()], &stored);
            step.fused = Arc::new(fused);
        }
        steps.reverse();
        let mut names = vec![String::new(); graph.value_bound()];
        for (id, info) in graph.values() {
            names[id.index()].clone_from(&info.name);
        }
        let mut origins: Vec<ValueId> = (0..names.len()).map(ValueId::from_index).collect();
        let layouts = Layouts {
            is_image: &|v| self.rank(v) == Some(4),
            dtype: &|v| self.dtype(v),
            is_kept: &|v| match self.scope.options.tap_order {
                TapOrder::Model => self.is_kept(v),
                TapOrder::Memory => graph.outputs().contains(&v),
            },
            row: &|name| {
                let node = Node::new("Transpose", [None::<ValueId>; 0], [None::<ValueId>; 0]);
                let profiler = self.scope.profiler;
                profiler.row(&format!("layout of `{name}`"), &node, "permute")
            },
            constants: &mut constants,
            names: &mut names,
            origins: &mut origins,
        };
        let (steps, elsewhere) = layouts.assign(steps);
        self.align(&steps, &mut constants);
        let shown = |&named: &ValueId| Tapped {
            named,
            shown: elsewhere.get(&named).copied().unwrap_or(named),
        };
        Ok(Draft {
            steps,
            inputs,
            outputs: graph.outputs().to_vec(),
            tapped: tapped.iter().map(shown).collect(),
            constants,
            names: Arc::new(names),
            origins: Arc::new(origins),
        })
    }

    /// Copies the constants that some step cannot read where they lie in their file, once for all plans.
    fn align(&self, steps: &[DraftStep], constants: &mut HashMap<ValueId, Tensor>) {
        for step in steps {
            for (index, v) in step.inputs.iter().enumerate() {
                let Some(v) = *v else { continue };
                if step.step.reads_misaligned(index) {
                    continue;
                }
                let Some(tensor) = constants.get_mut(&v).filter(|t| t.is_mapped()) else {
                    continue;
                };
                let Ok(copy) = self
                    .scope
                    .weights
                    .get(self.graph, v, tensor, "aligned", || {
                        Ok::<_, std::convert::Infallible>(tensor.to_aligned())
                    });
                *tensor = copy.as_ref().clone();
            }
        }
    }

    fn want(&mut self, v: ValueId, wanted: &mut [bool], constants: &mut HashMap<ValueId, Tensor>) {
        if wanted[v.index()] || constants.contains_key(&v) {
            return;
        }
        match self.constants.get(v) {
            Some(tensor) => drop(constants.insert(v, tensor)),
            None => wanted[v.index()] = true,
        }
    }

    /// The instruction set that weights are packed for.
    pub(crate) fn isa(&self) -> Isa {
        self.scope.isa
    }

    /// Whether the images of a node are to stay in the model's order of axes.
    pub(crate) fn stays_in_planes(&self, id: NodeId) -> bool {
        self.scope.planes.is_some_and(|nodes| nodes.contains(&id))
    }

    /// Whether nodes may be fused.
    pub(crate) fn fuses(&self) -> bool {
        self.scope.options.optimize >= OptimizationLevel::Full
    }

    /// The value, where it is the same in every run.
    pub(crate) fn constant(&mut self, v: ValueId) -> Option<Tensor> {
        self.constants.get(v)
    }

    /// Constant input `index` of a node.
    pub(crate) fn constant_input(&mut self, id: NodeId, index: usize) -> Option<Tensor> {
        let v = self.graph.node(id).input(index)?;
        self.constants.get(v)
    }

    /// Weights that are multiplied in f32, where they are the same in every run: as halves where they are stored so and
    /// widened on the way.
    pub(crate) fn weight(&mut self, v: ValueId) -> Option<Weight> {
        let widened = self.graph.producer(v).map(|id| self.graph.node(id));
        let stored = widened.filter(|n| n.is("Cast") && self.dtype(v) == Some(DType::F32));
        if let Some(cast) = stored.filter(|_| self.constants.folds())
            && let Some(value) = cast.input(0)
            && let Some(tensor) = self.graph.constant(value)
            && matches!(tensor.dtype(), DType::F16 | DType::BF16)
        {
            return Some(Weight {
                value,
                tensor: tensor.clone(),
                meets_halves: WidenHalf::added(cast),
            });
        }
        let tensor = self.constants.get(v)?;
        (tensor.dtype() == DType::F32).then_some(Weight {
            value: v,
            tensor,
            meets_halves: false,
        })
    }

    /// The element type of a value, where it is known.
    pub(crate) fn dtype(&self, v: ValueId) -> Option<DType> {
        self.graph.value(v).fact.as_tensor()?.dtype
    }

    /// The number of axes of a value, where it is known.
    pub(crate) fn rank(&self, v: ValueId) -> Option<usize> {
        self.graph.value(v).fact.as_tensor()?.rank()
    }

    /// The node that writes a value, where a fused step may take it along: the value is read once, by a node, and
    /// need not exist.
    pub(crate) fn interior(&self, v: ValueId) -> Option<(NodeId, &'a Node)> {
        let single = matches!(self.graph.uses(v), [Use::Input { .. }]);
        if !single || self.kept[v.index()] {
            return None;
        }
        let id = self.graph.producer(v)?;
        Some((id, self.graph.node(id)))
    }

    /// Whether a value must exist: it is an output or tapped.
    pub(crate) fn is_kept(&self, v: ValueId) -> bool {
        self.kept[v.index()]
    }

    /// The node that writes a value, whoever else reads it.
    pub(crate) fn producer(&self, v: ValueId) -> Option<(NodeId, &'a Node)> {
        let id = self.graph.producer(v)?;
        Some((id, self.graph.node(id)))
    }

    /// The version of a node's operator: of the domain's import.
    pub(crate) fn opset(&self, node: &Node) -> i64 {
        self.scope.opsets.get(&node.domain).unwrap_or(1)
    }
}
