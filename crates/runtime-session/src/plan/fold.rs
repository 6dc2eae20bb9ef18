//! Constants of a graph, computed when somebody asks for them.
//!
//! A value is constant if all that its producer reads is constant. It is computed by reference evaluation, once, and
//! only if the result is not much larger than what it is made from: a file must not turn a small `Expand` into
//! gigabytes while it loads.

use compress_tensor::{Tensor, element_count};
use onnx_ir::eval::{NoSubgraphs, eval_operator};
use onnx_ir::operator::{Catalog, Limits};
use onnx_ir::{Graph, NodeId, OpsetImports, Value, ValueId};
use std::collections::HashMap;

/// A result may take this many bytes …
const FREE_BYTES: usize = 64 << 10;
/// … or this many times the bytes of its inputs.
const GROWTH: usize = 8;

/// The constants of one graph.
pub(crate) struct Constants<'a> {
    graph: &'a Graph,
    catalog: &'a Catalog,
    opsets: &'a OpsetImports,
    /// Whether nodes are evaluated, or only what the file stores as constant counts.
    folds: bool,
    /// What is known so far; `None` for what is not constant.
    known: HashMap<ValueId, Option<Tensor>>,
    budget: u64,
}

impl<'a> Constants<'a> {
    /// The constants of `graph`; `captured` are those of the graphs around it.
    pub(crate) fn new(
        graph: &'a Graph,
        catalog: &'a Catalog,
        opsets: &'a OpsetImports,
        captured: HashMap<ValueId, Tensor>,
        folds: bool,
    ) -> Self {
        Self {
            graph,
            catalog,
            opsets,
            folds,
            known: captured.into_iter().map(|(v, t)| (v, Some(t))).collect(),
            budget: Limits::folding().max_steps,
        }
    }

    /// Whether nodes are evaluated.
    pub(crate) fn folds(&self) -> bool {
        self.folds
    }

    /// The value, where somebody has asked for it already.
    pub(crate) fn known(&self, value: ValueId) -> Option<&Tensor> {
        self.known.get(&value)?.as_ref()
    }

    /// The value, where it is the same in every run.
    pub(crate) fn get(&mut self, value: ValueId) -> Option<Tensor> {
        // Depth first with a stack of our own: a file may hold a chain of any length.
        let mut pending = vec![value];
        while let Some(&v) = pending.last() {
            if self.known.contains_key(&v) {
                pending.pop();
                continue;
            }
            match self.stored(v) {
                Stored::Yes(tensor) => drop(self.known.insert(v, Some(tensor))),
                Stored::No => drop(self.known.insert(v, None)),
                Stored::Computed(node) => {
                    let inputs = self.graph.node(node).inputs().iter().flatten();
                    let open = inputs.copied().find(|i| !self.known.contains_key(i));
                    let varies = self.graph.node(node).inputs().iter().flatten();
                    let varies = varies
                        .into_iter()
                        .any(|i| matches!(self.known.get(i), Some(None)));
                    match open {
                        _ if varies => drop(self.known.insert(v, None)),
                        Some(open) => pending.push(open),
                        None => self.evaluate(node, v),
                    }
                }
            }
        }
        self.known.get(&value).cloned().flatten()
    }

    fn stored(&self, v: ValueId) -> Stored {
        let graph = self.graph;
        if let Some(tensor) = graph.constant(v) {
            return Stored::Yes(tensor.clone());
        }
        if !self.folds || graph.is_input(v) {
            return Stored::No;
        }
        if let Some(tensor) = graph.value(v).fact.as_tensor().and_then(|f| f.as_const()) {
            return Stored::Yes(tensor.clone());
        }
        match graph.producer(v) {
            Some(node) if graph.node(node).attributes.graphs().next().is_none() => {
                Stored::Computed(node)
            }
            _ => Stored::No,
        }
    }

    /// Evaluates a node of which all inputs are constant, and notes its outputs.
    fn evaluate(&mut self, id: NodeId, asked: ValueId) {
        let outputs = self.try_evaluate(id).unwrap_or_default();
        let names = self.graph.node(id).outputs().iter();
        for (output, value) in names.zip(outputs) {
            if let (Some(v), Some(tensor)) = (*output, value.into_tensor()) {
                self.known.insert(v, Some(tensor));
            }
        }
        self.known.entry(asked).or_insert(None);
    }

    fn try_evaluate(&mut self, id: NodeId) -> Option<Vec<Value>> {
        let node = self.graph.node(id);
        let operator = self.catalog.parse(node, self.opsets).ok()?;
        if operator.is_random() {
            return None;
        }
        self.budget = self.budget.checked_sub(1)?;
        let mut inputs = Vec::with_capacity(node.inputs().len());
        let mut bytes = 0usize;
        for input in node.inputs() {
            inputs.push(match input {
                None => None,
                Some(v) => {
                    let tensor = self.known.get(v)?.clone()?;
                    bytes = bytes.saturating_add(tensor.byte_len());
                    Some(Value::Tensor(tensor))
                }
            });
        }
        let max_bytes = bytes.saturating_mul(GROWTH).saturating_add(FREE_BYTES);
        let too_large = |v: &ValueId| {
            let fact = self.graph.value(*v).fact.as_tensor();
            let sizes = fact.and_then(|f| f.sizes());
            let count = sizes.and_then(|s| element_count(&s));
            count.is_some_and(|n| n > max_bytes)
        };
        if node.outputs().iter().flatten().any(too_large) {
            return None;
        }
        let inputs: Vec<Option<&Value>> = inputs.iter().map(Option::as_ref).collect();
        let opset = self.opsets.get(&node.domain).unwrap_or(1);
        let version = operator.signature().since(opset).unwrap_or(1);
        let limits = Limits::folding()
            .with_max_tensor_bytes(max_bytes.min(Limits::folding().max_tensor_bytes));
        eval_operator(
            operator.as_ref(),
            node,
            version,
            &inputs,
            limits,
            &mut NoSubgraphs,
        )
        .ok()
    }
}

enum Stored {
    Yes(Tensor),
    No,
    Computed(NodeId),
}
