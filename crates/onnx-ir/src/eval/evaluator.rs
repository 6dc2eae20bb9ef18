//! Running whole graphs.

use super::{RunError, RunErrorKind, eval_operator};
use crate::functions::inline_functions;
use crate::graph::{Graph, NodeId, ValueId};
use crate::model::{Model, OpsetImports};
use crate::operator::{Catalog, DynOperator, EvalError, Limits, SubgraphRunner};
use crate::value::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Depth of subgraphs beyond which a run stops.
const MAX_DEPTH: usize = 64;

/// Runs a model by reference evaluation.
#[derive(Debug)]
pub struct Evaluator<'m> {
    model: Cow<'m, Model>,
    catalog: &'m Catalog,
    limits: Limits,
}

impl<'m> Evaluator<'m> {
    /// An evaluator with the standard catalog and default limits; functions are expanded.
    ///
    /// # Errors
    /// [`RunErrorKind::Function`] for a function that calls itself or cannot be expanded.
    pub fn new(model: &'m Model) -> Result<Self, RunError> {
        let model = if model.functions.is_empty() {
            Cow::Borrowed(model)
        } else {
            let mut copy = model.clone();
            inline_functions(&mut copy).map_err(RunErrorKind::from)?;
            Cow::Owned(copy)
        };
        Ok(Self {
            model,
            catalog: Catalog::standard(),
            limits: Limits::default(),
        })
    }

    /// The same evaluator with another catalog.
    #[must_use]
    pub fn with_catalog(mut self, catalog: &'m Catalog) -> Self {
        self.catalog = catalog;
        self
    }

    /// The same evaluator with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The graph's outputs, in order, for inputs by name.
    ///
    /// # Errors
    /// [`RunError`] names the node.
    pub fn run(
        &self,
        inputs: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<Vec<Value>, RunError> {
        let graph = &self.model.graph;
        let mut feeds: HashMap<ValueId, Value> = HashMap::new();
        for (name, value) in inputs {
            match graph.value_by_name(&name).filter(|&id| graph.is_input(id)) {
                Some(id) => drop(feeds.insert(id, value)),
                None => {
                    let known = graph
                        .inputs()
                        .iter()
                        .map(|&id| graph.name_of(id).to_owned())
                        .collect();
                    return Err(RunErrorKind::UnknownInput { name, known }.into());
                }
            }
        }
        let mut run = Run {
            catalog: self.catalog,
            opsets: &self.model.opsets,
            limits: self.limits,
            steps: 0,
            depth: 0,
            prepared: HashMap::new(),
        };
        run.graph(graph, feeds, None)
    }
}

/// A graph with its operators parsed, its order and its last uses known.
struct Prepared {
    order: Vec<(NodeId, Arc<dyn DynOperator>, u32)>,
    /// Position in `order` after which a value is not read any more, by value index.
    last_use: Vec<usize>,
}

struct Run<'a> {
    catalog: &'a Catalog,
    opsets: &'a OpsetImports,
    limits: Limits,
    steps: u64,
    depth: usize,
    /// By address: the operators in it keep their subgraphs alive for the whole run.
    prepared: HashMap<*const Graph, Arc<Prepared>>,
}

/// The values of a running graph and of those around it.
struct Frame<'a> {
    graph: &'a Graph,
    values: &'a [Option<Value>],
    parent: Option<&'a Frame<'a>>,
}

impl Frame<'_> {
    fn lookup(&self, name: &str) -> Option<Value> {
        let here = self.graph.value_by_name(name);
        match here.and_then(|id| self.values[id.index()].as_ref()) {
            Some(value) => Some(value.clone()),
            None => self.parent?.lookup(name),
        }
    }
}

impl Run<'_> {
    fn graph(
        &mut self,
        graph: &Graph,
        mut feeds: HashMap<ValueId, Value>,
        parent: Option<&Frame<'_>>,
    ) -> Result<Vec<Value>, RunError> {
        let prepared = self.prepare(graph)?;
        let mut values: Vec<Option<Value>> = vec![None; graph.value_bound()];
        for (id, tensor) in graph.initializers() {
            values[id.index()] = Some(Value::Tensor(tensor.clone()));
        }
        for sparse in &graph.sparse_initializers {
            if let Some(id) = graph.value_by_name(&sparse.name) {
                let dense = sparse
                    .to_dense(self.limits.max_tensor_bytes)
                    .map_err(RunErrorKind::Eval)?;
                values[id.index()] = Some(Value::Tensor(dense));
            }
        }
        for &id in graph.inputs() {
            match feeds.remove(&id) {
                Some(value) => values[id.index()] = Some(value),
                None if values[id.index()].is_some() => {}
                None => {
                    return Err(RunErrorKind::MissingInput {
                        name: graph.name_of(id).to_owned(),
                    }
                    .into());
                }
            }
        }
        for (id, name) in graph.captured() {
            values[id.index()] = parent.and_then(|p| p.lookup(name));
        }
        for (position, (id, operator, version)) in prepared.order.iter().enumerate() {
            let at = |kind: RunErrorKind| RunError {
                node: Some(graph.describe(*id)),
                kind,
            };
            let node = graph.node(*id);
            self.steps += 1;
            if self.steps > self.limits.max_steps {
                return Err(at(EvalError::StepLimit {
                    limit: self.limits.max_steps,
                }
                .into()));
            }
            let mut inputs = Vec::with_capacity(node.inputs().len());
            for input in node.inputs() {
                inputs.push(match input {
                    None => None,
                    Some(v) => Some(values[v.index()].as_ref().ok_or_else(|| {
                        at(RunErrorKind::UndefinedValue {
                            name: graph.name_of(*v).to_owned(),
                        })
                    })?),
                });
            }
            let frame = Frame {
                graph,
                values: &values,
                parent,
            };
            let limits = self.limits;
            let mut nested = Nested {
                run: self,
                frame: &frame,
            };
            let outputs = eval_operator(
                operator.as_ref(),
                node,
                *version,
                &inputs,
                limits,
                &mut nested,
            )
            .map_err(|e| at(e.into()))?;
            let given = outputs.len();
            for (index, value) in outputs.into_iter().enumerate() {
                if let Some(output) = node.output(index) {
                    values[output.index()] = Some(value);
                }
            }
            if let Some(index) = (given..node.outputs().len()).find(|&i| node.output(i).is_some()) {
                return Err(at(RunErrorKind::TooFewOutputs { index, given }));
            }
            for v in node.inputs().iter().chain(node.outputs()).flatten() {
                if prepared.last_use[v.index()] <= position {
                    values[v.index()] = None;
                }
            }
        }
        let output = |&id: &ValueId| {
            let name = || graph.name_of(id).to_owned();
            values[id.index()]
                .clone()
                .ok_or_else(|| RunErrorKind::UndefinedValue { name: name() }.into())
        };
        graph.outputs().iter().map(output).collect()
    }

    fn prepare(&mut self, graph: &Graph) -> Result<Arc<Prepared>, RunError> {
        let key: *const Graph = graph;
        if let Some(prepared) = self.prepared.get(&key) {
            return Ok(prepared.clone());
        }
        let mut order = Vec::new();
        let mut last_use = vec![0; graph.value_bound()];
        for (position, id) in graph
            .topological_order()
            .map_err(RunErrorKind::from)?
            .into_iter()
            .enumerate()
        {
            let node = graph.node(id);
            let operator = self
                .catalog
                .parse(node, self.opsets)
                .map_err(|e| RunError {
                    node: Some(graph.describe(id)),
                    kind: e.into(),
                })?;
            let opset = self.opsets.get(&node.domain).unwrap_or(1);
            let version = operator.signature().since(opset).unwrap_or(1);
            order.push((id, operator, version));
            for v in node.inputs().iter().chain(node.outputs()).flatten() {
                last_use[v.index()] = position;
            }
            if node.attributes.graphs().next().is_some() {
                for (id, value) in graph.values() {
                    if value.uses.iter().any(|u| u.node() == order[position].0) {
                        last_use[id.index()] = position;
                    }
                }
            }
        }
        for &output in graph.outputs() {
            last_use[output.index()] = usize::MAX;
        }
        let prepared = Arc::new(Prepared { order, last_use });
        self.prepared.insert(key, prepared.clone());
        Ok(prepared)
    }
}

/// Evaluation in a subgraph of the node at hand.
struct Nested<'b, 'a, 'f> {
    run: &'b mut Run<'a>,
    frame: &'f Frame<'f>,
}

impl SubgraphRunner for Nested<'_, '_, '_> {
    fn run_subgraph(&mut self, graph: &Graph, inputs: Vec<Value>) -> Result<Vec<Value>, String> {
        if self.run.depth >= MAX_DEPTH {
            return Err(RunErrorKind::TooDeep { limit: MAX_DEPTH }.to_string());
        }
        let feeds = graph.inputs().iter().copied().zip(inputs).collect();
        self.run.depth += 1;
        let outputs = self.run.graph(graph, feeds, Some(self.frame));
        self.run.depth -= 1;
        outputs.map_err(|e| e.to_string())
    }
}
