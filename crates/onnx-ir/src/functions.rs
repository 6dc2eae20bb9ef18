//! Expanding a model's own functions into its graph.

use crate::fact::Fact;
use crate::graph::{Attribute, Attributes, Graph, GraphError, Node, NodeId, ValueId};
use crate::model::{Function, Model, OpsetImports, canonical_domain};
use crate::schema::registry;
use std::collections::HashMap;
use std::sync::Arc;

/// Nodes beyond which expansion stops: functions that call others twice grow without bound.
const MAX_NODES: usize = 1_000_000;
/// Depth of calls beyond which expansion stops.
const MAX_DEPTH: usize = 64;

/// Why a function cannot be expanded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InlineError {
    /// Calls are nested beyond the limit: most likely a function that calls itself.
    #[error("function `{name}`: calls are nested more than {limit} deep; does it call itself?")]
    TooDeep {
        /// The function.
        name: String,
        /// The limit.
        limit: usize,
    },
    /// The expanded graph is too large.
    #[error("function `{name}`: expanding it gives more than {limit} nodes")]
    TooLarge {
        /// The function.
        name: String,
        /// The limit.
        limit: usize,
    },
    /// The function's body imports another version of a domain than the model, and an operator changed between them.
    #[error("function `{name}` imports {} at version {}, the model at {}, and {} changed between them",
        .changed.domain, .changed.function, .changed.model, .changed.op)]
    OpsetMismatch {
        /// The function.
        name: String,
        /// The operator and the versions.
        changed: ChangedOperator,
    },
    /// The graph cannot take the body.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// An operator of a function's body that is another one in the opset of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedOperator {
    /// The operator.
    pub op: String,
    /// Its domain.
    pub domain: String,
    /// The version that the function imports.
    pub function: i64,
    /// The version that the model imports.
    pub model: i64,
}

/// The first operator in the function's own nodes that is of another version in `model`, where both import its domain.
pub(crate) fn changed_operator(
    function: &Function,
    model: &OpsetImports,
) -> Option<ChangedOperator> {
    let since = |node: &Node, version: i64| {
        let schema = registry().lookup(&node.domain, &node.op_type, version);
        schema.map(|schema| schema.since_version)
    };
    function.body.nodes().find_map(|(_, node)| {
        let versions = (function.opsets.get(&node.domain)?, model.get(&node.domain)?);
        let is_changed =
            versions.0 != versions.1 && since(node, versions.0) != since(node, versions.1);
        is_changed.then(|| ChangedOperator {
            op: node.op_type.clone(),
            domain: node.domain.clone(),
            function: versions.0,
            model: versions.1,
        })
    })
}

/// Replaces each call of a model's own function by the function's body, in subgraphs too, and drops the functions.
///
/// # Errors
/// [`InlineError`]; the model may then be half expanded: work on a copy.
pub fn inline_functions(model: &mut Model) -> Result<(), InlineError> {
    let functions = std::mem::take(&mut model.functions);
    for function in &functions {
        for (domain, version) in function.opsets.iter() {
            if model.opsets.get(domain).is_none() {
                model.opsets.set(domain, version);
            }
        }
        if let Some(changed) = changed_operator(function, &model.opsets) {
            return Err(InlineError::OpsetMismatch {
                name: function.name.clone(),
                changed,
            });
        }
    }
    let mut budget = MAX_NODES;
    inline_graph(&mut model.graph, &functions, 0, &mut budget)
}

fn inline_graph(
    graph: &mut Graph,
    functions: &[Function],
    depth: usize,
    budget: &mut usize,
) -> Result<(), InlineError> {
    let mut pending: Vec<(NodeId, usize)> = graph.nodes().map(|(id, _)| (id, depth)).collect();
    while let Some((id, depth)) = pending.pop() {
        let node = graph.node(id);
        let called = functions.iter().find(|f| {
            f.name == node.op_type
                && canonical_domain(&f.domain) == canonical_domain(&node.domain)
                && f.overload == node.overload
        });
        let Some(function) = called else {
            if node.attributes.graphs().next().is_some() {
                inline_subgraphs(graph, id, functions, depth, budget)?;
            }
            continue;
        };
        let name = || function.name.clone();
        if depth >= MAX_DEPTH {
            return Err(InlineError::TooDeep {
                name: name(),
                limit: MAX_DEPTH,
            });
        }
        *budget = budget
            .checked_sub(function.body.node_count())
            .ok_or_else(|| InlineError::TooLarge {
                name: name(),
                limit: MAX_NODES,
            })?;
        for new in expand_call(graph, id, function)? {
            pending.push((new, depth + 1));
        }
    }
    Ok(())
}

fn inline_subgraphs(
    graph: &mut Graph,
    id: NodeId,
    functions: &[Function],
    depth: usize,
    budget: &mut usize,
) -> Result<(), InlineError> {
    let mut node = graph.node(id).clone();
    for attribute in node.attributes.values_mut() {
        for subgraph in attribute.graphs_mut() {
            if depth >= MAX_DEPTH {
                return Err(InlineError::TooDeep {
                    name: subgraph.name.clone(),
                    limit: MAX_DEPTH,
                });
            }
            inline_graph(Arc::make_mut(subgraph), functions, depth + 1, budget)?;
        }
    }
    graph.replace_node(id, node)?;
    Ok(())
}

/// Puts the body of `function` in the place of the node that calls it.
fn expand_call(
    graph: &mut Graph,
    id: NodeId,
    function: &Function,
) -> Result<Vec<NodeId>, InlineError> {
    let call = graph.remove_node(id);
    let body = &function.body;
    let mut map: HashMap<ValueId, Option<ValueId>> = HashMap::new();
    for (i, &input) in body.inputs().iter().enumerate() {
        map.insert(input, call.input(i));
    }
    for (i, &output) in body.outputs().iter().enumerate() {
        // An output that is an input at once needs a node of its own.
        if let (Some(value), false) = (call.output(i), map.contains_key(&output)) {
            map.insert(output, Some(value));
        }
    }
    let prefix = if call.name.is_empty() {
        function.name.clone()
    } else {
        call.name.clone()
    };
    for (value, tensor) in body.initializers() {
        let new =
            graph.add_initializer(&format!("{prefix}/{}", body.name_of(value)), tensor.clone())?;
        map.insert(value, Some(new));
    }
    for (value, info) in body.values() {
        if let std::collections::hash_map::Entry::Vacant(entry) = map.entry(value) {
            entry.insert(Some(
                graph.fresh_value(&format!("{prefix}/{}", info.name), Fact::Unknown)?,
            ));
        }
    }
    let renamed: HashMap<String, Option<String>> = map
        .iter()
        .map(|(from, to)| {
            (
                body.name_of(*from).to_owned(),
                to.map(|v| graph.name_of(v).to_owned()),
            )
        })
        .collect();
    let mut added = Vec::new();
    for node in body.topological_order()? {
        let mut node = body.node(node).clone();
        let target = |v: &Option<ValueId>| v.and_then(|v| map.get(&v).copied().flatten());
        node.inputs = node.inputs.iter().map(target).collect();
        node.outputs = node.outputs.iter().map(target).collect();
        node.attributes = bind(&node.attributes, &call.attributes, function);
        rename_in_subgraphs(&mut node, &renamed);
        if !node.name.is_empty() {
            node.name = format!("{prefix}/{}", node.name);
        }
        added.push(graph.add_node(node)?);
    }
    for (i, output) in body.outputs().iter().enumerate() {
        if let (Some(value), Some(Some(source))) = (call.output(i), map.get(output))
            && *source != value
        {
            added.push(graph.add_node(Node::new("Identity", [*source], [value]))?);
        }
    }
    Ok(added)
}

/// The attributes of a body's node with references to the function's attributes resolved.
fn bind(attributes: &Attributes, call: &Attributes, function: &Function) -> Attributes {
    let resolve = |(name, attribute): (&str, &Attribute)| {
        let bound = match attribute {
            Attribute::Reference { name, .. } => call
                .get(name)
                .or_else(|| {
                    function
                        .defaults
                        .iter()
                        .find(|(n, _)| n == name)
                        .map(|(_, a)| a)
                })?
                .clone(),
            Attribute::Graph(graph) => {
                Attribute::Graph(Arc::new(bind_graph(graph, call, function)))
            }
            Attribute::Graphs(graphs) => Attribute::Graphs(
                graphs
                    .iter()
                    .map(|g| Arc::new(bind_graph(g, call, function)))
                    .collect(),
            ),
            other => other.clone(),
        };
        Some((name.to_owned(), bound))
    };
    attributes.iter().filter_map(resolve).collect()
}

fn bind_graph(graph: &Graph, call: &Attributes, function: &Function) -> Graph {
    let mut graph = graph.clone();
    for node in graph.nodes.iter_mut().flatten() {
        node.attributes = bind(&node.attributes, call, function);
    }
    graph
}

fn rename_in_subgraphs(node: &mut Node, renamed: &HashMap<String, Option<String>>) {
    for attribute in node.attributes.values_mut() {
        for graph in attribute.graphs_mut() {
            let captured: Vec<String> = graph.captured().map(|(_, name)| name.to_owned()).collect();
            let graph = Arc::make_mut(graph);
            // By way of names that no file can hold, so that a new name never meets an old one.
            let renames: Vec<(String, &String)> = captured
                .into_iter()
                .filter_map(|name| Some((name.clone(), renamed.get(&name)?.as_ref()?)))
                .collect();
            for (name, _) in &renames {
                graph.rename_captured(name, &format!("\u{0}{name}"));
            }
            for (name, new) in renames {
                graph.rename_captured(&format!("\u{0}{name}"), new);
            }
        }
    }
}
