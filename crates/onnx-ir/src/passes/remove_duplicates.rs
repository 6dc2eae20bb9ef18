//! `remove-duplicates`: equal initializers become one, nodes that compute the same become one.
//!
//! Two nodes compute the same where operator, attributes and inputs are the same and the operator is not
//! random and holds no subgraph. Changes: nothing numerically.

use super::pipeline::{Pass, PassContext, PassError, PassRecord};
use crate::graph::{Graph, GraphError, NodeId, ValueId};
use crate::model::{Model, OpsetImports};
use crate::operator::Catalog;
use compress_tensor::{DType, Tensor};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Shares what is there twice.
pub struct RemoveDuplicates;

impl Pass for RemoveDuplicates {
    fn name(&self) -> &'static str {
        "remove-duplicates"
    }
    fn run(&self, model: &mut Model, cx: &PassContext<'_>) -> Result<PassRecord, PassError> {
        let mut changes = share_initializers(&mut model.graph);
        changes += share_nodes(&mut model.graph, &model.opsets, cx.catalog).map_err(|error| {
            PassError {
                pass: self.name(),
                error,
            }
        })?;
        Ok(PassRecord {
            pass: self.name(),
            version: 1,
            changes,
            skipped: Vec::new(),
        })
    }
}

fn share_initializers(graph: &mut Graph) -> usize {
    let mut first: HashMap<(DType, Vec<usize>, u64), Vec<ValueId>> = HashMap::new();
    let mut changes = 0;
    let all: Vec<(ValueId, Tensor)> = graph
        .initializers()
        .filter(|(id, t)| {
            !graph.is_input(*id) && !graph.is_output(*id) && t.dtype() != DType::String
        })
        .map(|(id, t)| (id, t.clone()))
        .collect();
    for (id, tensor) in all {
        let mut hasher = DefaultHasher::new();
        tensor.bytes().hash(&mut hasher);
        let key = (tensor.dtype(), tensor.shape().to_vec(), hasher.finish());
        let same = first.entry(key).or_default();
        let equal = same.iter().find(|&&o| {
            graph
                .initializer(o)
                .is_some_and(|t| t.bytes() == tensor.bytes())
        });
        match equal.copied() {
            None => same.push(id),
            Some(original) => {
                graph.replace_uses(id, original);
                graph.remove_value_if_unused(id);
                changes += 1;
            }
        }
    }
    changes
}

fn share_nodes(
    graph: &mut Graph,
    opsets: &OpsetImports,
    catalog: &Catalog,
) -> Result<usize, GraphError> {
    let mut first: HashMap<String, NodeId> = HashMap::new();
    let mut changes = 0;
    for id in graph.topological_order()? {
        let node = graph.node(id);
        let is_random = catalog
            .parse(node, opsets)
            .map_or(true, |operator| operator.is_random());
        let is_output = node.outputs().iter().flatten().any(|&v| graph.is_output(v));
        if is_random
            || is_output
            || node.attributes.graphs().next().is_some()
            || holds_large_tensor(graph, id)
        {
            continue;
        }
        let key = format!(
            "{}|{}|{}|{:?}|{:?}|{:?}",
            node.domain,
            node.op_type,
            node.overload,
            node.inputs(),
            node.outputs().len(),
            attribute_key(graph, id)
        );
        match first.get(&key).copied() {
            None => drop(first.insert(key, id)),
            Some(original) => {
                let pairs: Vec<(Option<ValueId>, Option<ValueId>)> =
                    (node.outputs().iter().copied())
                        .zip(graph.node(original).outputs().iter().copied())
                        .collect();
                if pairs
                    .iter()
                    .any(|(mine, theirs)| mine.is_some() && theirs.is_none())
                {
                    continue;
                }
                for (mine, theirs) in pairs {
                    if let (Some(mine), Some(theirs)) = (mine, theirs) {
                        graph.replace_uses(mine, theirs);
                    }
                }
                changes += graph.remove_dead([id]);
            }
        }
    }
    Ok(changes)
}

/// Attributes in canonical order, tensors by their bytes.
fn attribute_key(graph: &Graph, id: NodeId) -> Vec<(String, String)> {
    use crate::graph::Attribute;
    let text = |a: &Attribute| match a {
        Attribute::Tensor(t) => format!("{t:?}{:?}{:?}", t.bytes(), t.strings().ok()),
        other => format!("{other:?}"),
    };
    let mut key: Vec<(String, String)> = graph
        .node(id)
        .attributes
        .iter()
        .map(|(n, a)| (n.to_owned(), text(a)))
        .collect();
    key.sort();
    key
}

fn holds_large_tensor(graph: &Graph, id: NodeId) -> bool {
    use crate::graph::Attribute;
    graph.node(id).attributes.iter().any(|(_, a)| match a {
        Attribute::Tensor(t) => t.byte_len() > 4096,
        Attribute::Tensors(_) | Attribute::SparseTensor(_) | Attribute::SparseTensors(_) => true,
        _ => false,
    })
}
