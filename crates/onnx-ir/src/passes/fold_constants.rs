//! `fold-constants`: nodes of which every input is constant become initializers.
//!
//! Folded by reference evaluation under limits. Left alone: random operators; `QuantizeLinear` and
//! `DequantizeLinear` (they are the quantization); a result that is large and much larger than what it is
//! made from (`Expand`, `ConstantOfShape`, `Range`), which would bloat the file. Where inference knows a
//! small value (`Shape` of a fixed shape), it becomes an initializer as well. `Constant` nodes become
//! initializers.

use super::pipeline::{Pass, PassContext, PassError, PassRecord};
use crate::eval::{self, NoSubgraphs};
use crate::graph::{Graph, GraphError, Node, NodeId};
use crate::model::{Model, OpsetImports};
use crate::operator::{Catalog, Limits};
use crate::rewrite::Skipped;
use crate::value::Value;
use compress_tensor::Tensor;
use std::sync::Arc;

/// Replaces nodes that always give the same by their result.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FoldConstants {
    /// Results up to this many bytes are stored whatever they are made from.
    pub small_bytes: usize,
    /// Larger results are stored only up to this many times the bytes that they are made from.
    pub max_growth: usize,
    /// Bounds on the evaluation of one node.
    pub limits: Limits,
}

impl Default for FoldConstants {
    fn default() -> Self {
        Self {
            small_bytes: 64 << 10,
            max_growth: 1,
            limits: Limits::folding(),
        }
    }
}

impl Pass for FoldConstants {
    fn name(&self) -> &'static str {
        "fold-constants"
    }
    fn run(&self, model: &mut Model, cx: &PassContext<'_>) -> Result<PassRecord, PassError> {
        let mut record = PassRecord {
            pass: self.name(),
            version: 1,
            ..PassRecord::default()
        };
        self.graph(&mut model.graph, &model.opsets, cx.catalog, &mut record)
            .map_err(|error| PassError {
                pass: self.name(),
                error,
            })?;
        Ok(record)
    }
}

impl FoldConstants {
    fn graph(
        &self,
        graph: &mut Graph,
        opsets: &OpsetImports,
        catalog: &Catalog,
        record: &mut PassRecord,
    ) -> Result<(), GraphError> {
        for id in graph.topological_order()? {
            let node = graph.node(id);
            if node.attributes.graphs().next().is_some() {
                self.subgraphs(graph, id, opsets, catalog, record)?;
                continue;
            }
            match self.results(graph, node, opsets, catalog) {
                Folded::Not => {}
                Folded::Declined(reason) => {
                    let node = graph.describe(id);
                    record.skipped.push(Skipped {
                        rewrite: "fold-constants",
                        node,
                        reason,
                    });
                }
                Folded::To(values) => {
                    let node = graph.remove_node(id);
                    for (output, tensor) in node.outputs().iter().zip(values) {
                        if let Some(output) = *output {
                            graph.set_initializer(output, tensor);
                        }
                    }
                    for input in node.inputs().iter().flatten() {
                        if graph.has_value(*input) && !graph.is_input(*input) {
                            graph.remove_value_if_unused(*input);
                        }
                    }
                    record.changes += 1;
                }
            }
        }
        Ok(())
    }

    fn subgraphs(
        &self,
        graph: &mut Graph,
        id: NodeId,
        opsets: &OpsetImports,
        catalog: &Catalog,
        record: &mut PassRecord,
    ) -> Result<(), GraphError> {
        let mut node = graph.node(id).clone();
        let before = record.changes;
        for attribute in node.attributes.values_mut() {
            for subgraph in attribute.graphs_mut() {
                self.graph(Arc::make_mut(subgraph), opsets, catalog, record)?;
            }
        }
        if record.changes != before {
            graph.replace_node(id, node)?;
        }
        Ok(())
    }

    fn results(
        &self,
        graph: &Graph,
        node: &Node,
        opsets: &OpsetImports,
        catalog: &Catalog,
    ) -> Folded {
        // An output of the graph keeps the node that writes it.
        if node.outputs().iter().flatten().any(|&v| graph.is_output(v)) {
            return Folded::Not;
        }
        if let Some(tensors) = known_outputs(graph, node) {
            return Folded::To(tensors);
        }
        if matches!(node.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear") {
            return Folded::Not;
        }
        let constants: Option<Vec<Option<&Tensor>>> = node
            .inputs()
            .iter()
            .map(|input| match input {
                None => Some(None),
                Some(v) => graph.constant(*v).map(Some),
            })
            .collect();
        let (Some(constants), Ok(operator)) = (constants, catalog.parse(node, opsets)) else {
            return Folded::Not;
        };
        if operator.is_random() {
            return Folded::Not;
        }
        let source_bytes: usize = constants.iter().flatten().map(|t| t.byte_len()).sum();
        let bound = self
            .small_bytes
            .max(source_bytes.saturating_mul(self.max_growth));
        let limits = self
            .limits
            .with_max_tensor_bytes(bound.min(self.limits.max_tensor_bytes));
        let values: Vec<Option<Value>> = constants
            .into_iter()
            .map(|t| t.map(|t| Value::Tensor(t.clone())))
            .collect();
        let values: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
        let opset = opsets.get(&node.domain).unwrap_or(1);
        let version = operator.signature().since(opset).unwrap_or(1);
        match eval::eval_operator(
            operator.as_ref(),
            node,
            version,
            &values,
            limits,
            &mut NoSubgraphs,
        ) {
            Err(error) => Folded::Declined(error.to_string()),
            Ok(outputs) => match outputs
                .into_iter()
                .map(Value::into_tensor)
                .collect::<Option<Vec<Tensor>>>()
            {
                Some(tensors) if tensors.len() >= node.outputs().len() => Folded::To(tensors),
                _ => Folded::Not,
            },
        }
    }
}

enum Folded {
    Not,
    Declined(String),
    To(Vec<Tensor>),
}

/// The outputs where inference knows them all, as of `Shape`.
fn known_outputs(graph: &Graph, node: &Node) -> Option<Vec<Tensor>> {
    if matches!(node.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear") {
        return None;
    }
    let known = |v: &Option<crate::graph::ValueId>| {
        graph.value((*v)?).fact.as_tensor()?.as_const().cloned()
    };
    (!node.outputs().is_empty()).then(|| node.outputs().iter().map(known).collect())?
}
