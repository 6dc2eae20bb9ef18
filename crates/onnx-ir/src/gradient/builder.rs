//! Adding nodes to a graph whose facts are known: each new node is inferred at once, and what is constant becomes one.
//!
//! The first error is kept and reported at the end, so that the formulas in operator files stay formulas.

use super::error::GradientError;
use super::var::Var;
use crate::fact::{Fact, KnownValue, TensorFact};
use crate::graph::{Graph, GraphError, NodeId, ValueId};
use crate::infer;
use crate::model::OpsetImports;
use crate::operator::{Catalog, PRIVATE_DOMAIN, PRIVATE_DOMAIN_VERSION};
use crate::rewrite::NewNode;
use compress_tensor::{CastOptions, DType, Tensor};
use std::cell::RefCell;
use std::collections::HashMap;

/// Elements up to which a result that is known while building becomes a constant.
const MAX_FOLDED: usize = 1024;

/// A graph that is being built on.
#[derive(Debug)]
pub struct GraphBuilder<'m> {
    pub(super) catalog: &'m Catalog,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    graph: Graph,
    opsets: OpsetImports,
    /// The node whose gradient is being built, for messages and names.
    place: String,
    label: String,
    error: Option<GradientError>,
    constants: HashMap<ConstantKey, ValueId>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum ConstantKey {
    Number(DType, u64),
    Ints(Vec<i64>, bool),
}

impl<'m> GraphBuilder<'m> {
    pub(super) fn new(graph: Graph, opsets: OpsetImports, catalog: &'m Catalog) -> Self {
        Self {
            catalog,
            state: RefCell::new(State {
                graph,
                opsets,
                place: String::new(),
                label: String::new(),
                error: None,
                constants: HashMap::new(),
            }),
        }
    }

    /// The graph and the operator sets that it imports now.
    ///
    /// # Errors
    /// The first error that building met.
    pub(super) fn finish(self) -> Result<(Graph, OpsetImports), GradientError> {
        let state = self.state.into_inner();
        match state.error {
            None => Ok((state.graph, state.opsets)),
            Some(error) => Err(error),
        }
    }

    /// Says which node the next ones are the gradient of.
    pub(super) fn enter(&self, node: NodeId) {
        let mut state = self.state.borrow_mut();
        state.place = state.graph.describe(node);
        state.label = state.graph.label(node).to_owned();
    }

    /// Whether `Reshape` can be told that a 0 in its shape is a size.
    pub(super) fn allows_zero(&self) -> bool {
        self.state.borrow().opsets.get("").unwrap_or(1) >= 14
    }

    pub(super) fn place(&self) -> String {
        self.state.borrow().place.clone()
    }

    pub(super) fn take_error(&self) -> Option<GradientError> {
        self.state.borrow_mut().error.take()
    }

    pub(super) fn fail(&self, error: GradientError) {
        self.state.borrow_mut().error.get_or_insert(error);
    }

    /// Looks at the graph.
    pub(super) fn look<R>(&self, f: impl FnOnce(&Graph) -> R) -> R {
        f(&self.state.borrow().graph)
    }

    /// Changes the graph.
    pub(super) fn change<R>(&self, f: impl FnOnce(&mut Graph) -> R) -> R {
        f(&mut self.state.borrow_mut().graph)
    }

    /// The fact of a value, its constant with it.
    pub(super) fn fact(&self, id: ValueId) -> Fact {
        self.look(|graph| match graph.constant(id) {
            Some(tensor) => TensorFact::constant(tensor.clone()).into(),
            None => graph.value(id).fact.clone(),
        })
    }

    pub(super) fn var(&self, id: ValueId) -> Var<'_> {
        Var { builder: self, id }
    }

    /// A scalar constant.
    pub(super) fn number(&self, value: f64, dtype: DType) -> ValueId {
        let key = ConstantKey::Number(dtype, value.to_bits());
        let tensor = || Tensor::scalar(value).cast(dtype, CastOptions::default());
        self.cached(key, "grad/number", || tensor().ok())
    }

    /// An i64 vector, or a scalar.
    pub(super) fn ints(&self, values: &[i64], is_scalar: bool) -> ValueId {
        let shape: &[usize] = if is_scalar { &[] } else { &[values.len()] };
        let key = ConstantKey::Ints(values.to_vec(), is_scalar);
        self.cached(key, "grad/ints", || {
            Tensor::from_vec(shape, values.to_vec()).ok()
        })
    }

    fn cached(
        &self,
        key: ConstantKey,
        base: &str,
        tensor: impl FnOnce() -> Option<Tensor>,
    ) -> ValueId {
        if let Some(&id) = self.state.borrow().constants.get(&key) {
            return id;
        }
        let id = match tensor() {
            Some(tensor) => self.constant(base, tensor),
            None => self.unknown(),
        };
        self.state.borrow_mut().constants.insert(key, id);
        id
    }

    /// A new initializer.
    pub(super) fn constant(&self, base: &str, tensor: Tensor) -> ValueId {
        let added = self.change(|graph| graph.add_initializer(base, tensor));
        self.or_unknown(added)
    }

    fn or_unknown(&self, added: Result<ValueId, GraphError>) -> ValueId {
        added.unwrap_or_else(|error| {
            self.fail(error.into());
            self.unknown()
        })
    }

    /// A value to go on with after an error.
    pub(super) fn unknown(&self) -> ValueId {
        let added = self.change(|graph| graph.fresh_value("grad/unknown", Fact::Unknown));
        added.unwrap_or(ValueId::from_index(0))
    }

    /// A new node with those of its outputs that are `wanted`.
    pub(super) fn node(
        &self,
        new: NewNode,
        inputs: Vec<Option<ValueId>>,
        wanted: &[bool],
    ) -> Vec<Option<ValueId>> {
        let mut inputs = inputs;
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        let placeholders = wanted.iter().map(|&wanted| wanted.then_some(ValueId(0)));
        let probe = new
            .clone()
            .into_node(vec![Some(ValueId(0)); inputs.len()], placeholders.collect());
        let op = probe.qualified_op();
        let facts: Vec<Option<Fact>> = inputs
            .iter()
            .map(|input| input.map(|id| self.fact(id)))
            .collect();
        if probe.domain == PRIVATE_DOMAIN {
            let opsets = &mut self.state.borrow_mut().opsets;
            opsets.set(PRIVATE_DOMAIN, PRIVATE_DOMAIN_VERSION);
        }
        let inferred = {
            let state = self.state.borrow();
            infer::infer_node(self.catalog, &state.opsets, &probe, &facts)
        };
        let inferred = inferred.unwrap_or_else(|error| {
            self.fail(GradientError::NewNode {
                node: self.place(),
                op: op.clone(),
                error: Box::new(error),
            });
            Vec::new()
        });
        let fact = |index: usize| inferred.get(index).cloned().unwrap_or_default();
        if let [true] = *wanted
            && let Some(tensor) = small_constant(&fact(0))
        {
            return vec![Some(self.known(tensor))];
        }
        let base = format!("grad/{}/{}", self.state.borrow().label, probe.op_type);
        let mut outputs = Vec::with_capacity(wanted.len());
        for (index, &wanted) in wanted.iter().enumerate() {
            let added =
                wanted.then(|| self.or_unknown(self.change(|g| g.fresh_value(&base, fact(index)))));
            outputs.push(added);
        }
        let name = outputs.iter().flatten().next();
        let name = name.map(|&id| self.look(|g| g.name_of(id).to_owned()));
        let mut node = new.into_node(inputs, outputs.clone());
        node.name = name.unwrap_or(base);
        if let Err(error) = self.change(|graph| graph.add_node(node)) {
            self.fail(error.into());
        }
        outputs
    }

    /// Infers the outputs of a node of the graph again.
    pub(super) fn infer_outputs(&self, id: NodeId) {
        let node = self.look(|graph| graph.node(id).clone());
        let facts: Vec<Option<Fact>> = node
            .inputs()
            .iter()
            .map(|input| input.map(|id| self.fact(id)))
            .collect();
        let inferred = {
            let state = self.state.borrow();
            infer::infer_node(self.catalog, &state.opsets, &node, &facts)
        };
        for (output, fact) in node.outputs().iter().zip(inferred.unwrap_or_default()) {
            if let Some(output) = output {
                self.change(|graph| {
                    let known = &graph.value(*output).fact;
                    if let Ok(refined) = infer::refine(known, &fact) {
                        graph.value_mut(*output).fact = refined;
                    }
                });
            }
        }
    }

    fn known(&self, tensor: Tensor) -> ValueId {
        match (tensor.dtype(), tensor.data::<i64>()) {
            (DType::I64, Ok(values)) if tensor.rank() <= 1 => {
                self.ints(&values, tensor.rank() == 0)
            }
            _ => self.constant("grad/constant", tensor),
        }
    }
}

fn small_constant(fact: &Fact) -> Option<Tensor> {
    match &fact.as_tensor()?.value {
        Some(KnownValue::Const(tensor)) if tensor.len() <= MAX_FOLDED => Some(tensor.clone()),
        _ => None,
    }
}
