//! Building and changing a graph; uses and producers are kept right by construction.

use super::{Graph, GraphError, Node, NodeId, Use, ValueId, ValueInfo};
use crate::fact::Fact;
use compress_tensor::Tensor;
use std::collections::HashSet;
use std::sync::Arc;

impl Graph {
    /// Adds a value.
    ///
    /// # Errors
    /// [`GraphError::DuplicateName`] if there is one of that name.
    pub fn add_value(&mut self, name: impl AsRef<str>, fact: Fact) -> Result<ValueId, GraphError> {
        let name = name.as_ref();
        if self.by_name.contains_key(name) {
            return Err(GraphError::DuplicateName {
                name: name.to_owned(),
            });
        }
        let id = ValueId(u32::try_from(self.values.len()).map_err(|_| GraphError::TooLarge)?);
        self.values.push(Some(ValueInfo {
            name: name.to_owned(),
            fact,
            ..ValueInfo::default()
        }));
        self.by_name.insert(Arc::from(name), id);
        Ok(id)
    }

    /// The value of this name, added where it is not there.
    ///
    /// # Errors
    /// [`GraphError::TooLarge`].
    pub fn value_named(&mut self, name: &str) -> Result<ValueId, GraphError> {
        match self.value_by_name(name) {
            Some(id) => Ok(id),
            None => self.add_value(name, Fact::Unknown),
        }
    }

    /// Adds a value whose name starts with `base` and is not taken, neither here nor in a subgraph.
    ///
    /// # Errors
    /// [`GraphError::TooLarge`].
    pub fn fresh_value(&mut self, base: &str, fact: Fact) -> Result<ValueId, GraphError> {
        if !self.name_taken(base) {
            return self.add_value(base, fact);
        }
        loop {
            self.counter = self.counter.checked_add(1).ok_or(GraphError::TooLarge)?;
            let name = format!("{base}_{}", self.counter);
            if !self.name_taken(&name) {
                return self.add_value(name, fact);
            }
        }
    }

    /// Makes a value a graph input.
    ///
    /// # Panics
    /// As [`Graph::value`].
    pub fn add_input(&mut self, id: ValueId) {
        self.value_mut(id).is_input = true;
        self.inputs.push(id);
    }

    /// Makes a value a graph output.
    ///
    /// # Panics
    /// As [`Graph::value`].
    pub fn add_output(&mut self, id: ValueId) {
        self.value_mut(id).is_output = true;
        self.outputs.push(id);
    }

    /// Sets the graph's inputs.
    ///
    /// # Panics
    /// As [`Graph::value`].
    pub fn set_inputs(&mut self, inputs: Vec<ValueId>) {
        for id in std::mem::take(&mut self.inputs) {
            self.value_mut(id).is_input = false;
        }
        for id in inputs {
            self.add_input(id);
        }
    }

    /// Sets the graph's outputs.
    ///
    /// # Panics
    /// As [`Graph::value`].
    pub fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        for id in std::mem::take(&mut self.outputs) {
            self.value_mut(id).is_output = false;
        }
        for id in outputs {
            self.add_output(id);
        }
    }

    /// Gives a value its initializer, or replaces it.
    pub fn set_initializer(&mut self, id: ValueId, tensor: Tensor) {
        let value = self.value_mut(id);
        let fresh = value.initializer.replace(tensor).is_none();
        if fresh {
            self.initializers.push(id);
        }
    }

    /// Takes the initializer of a value away.
    pub fn remove_initializer(&mut self, id: ValueId) -> Option<Tensor> {
        let tensor = self.value_mut(id).initializer.take()?;
        self.initializers.retain(|&other| other != id);
        Some(tensor)
    }

    /// Adds an initializer under a fresh name that starts with `base`.
    ///
    /// # Errors
    /// [`GraphError::TooLarge`].
    pub fn add_initializer(&mut self, base: &str, tensor: Tensor) -> Result<ValueId, GraphError> {
        let dims: Vec<usize> = tensor.shape().to_vec();
        let id = self.fresh_value(base, Fact::tensor(tensor.dtype(), dims))?;
        self.set_initializer(id, tensor);
        Ok(id)
    }

    /// Adds a node.
    ///
    /// # Errors
    /// [`GraphError::WrittenTwice`], [`GraphError::WritesConstant`]: the graph is unchanged then.
    pub fn add_node(&mut self, node: Node) -> Result<NodeId, GraphError> {
        let id = NodeId(u32::try_from(self.nodes.len()).map_err(|_| GraphError::TooLarge)?);
        let name = || {
            if node.name.is_empty() {
                node.op_type.clone()
            } else {
                node.name.clone()
            }
        };
        let mut written = HashSet::with_capacity(node.outputs.len());
        for &output in node.outputs.iter().flatten() {
            let value = self.value(output);
            let twice = !written.insert(output);
            if value.producer.is_some() || twice {
                let first = value
                    .producer
                    .map_or_else(name, |(first, _)| self.describe(first));
                return Err(GraphError::WrittenTwice {
                    value: value.name.clone(),
                    first,
                    second: name(),
                });
            }
            let what = match (self.is_input(output), value.initializer.is_some()) {
                (true, _) => "a graph input",
                (false, true) => "an initializer",
                (false, false) => continue,
            };
            return Err(GraphError::WritesConstant {
                node: name(),
                value: value.name.clone(),
                what,
            });
        }
        for (index, &output) in node.outputs.iter().enumerate() {
            if let Some(output) = output {
                self.value_mut(output).producer = Some((id, index));
            }
        }
        for (index, &input) in node.inputs.iter().enumerate() {
            if let Some(input) = input {
                self.value_mut(input)
                    .uses
                    .push(Use::Input { node: id, index });
            }
        }
        self.subgraph_holders += usize::from(node.attributes.graphs().next().is_some());
        for name in captured_names(&node) {
            let value = self.value_named(&name)?;
            self.value_mut(value).uses.push(Use::Captured { node: id });
        }
        self.nodes.push(Some(node));
        Ok(id)
    }

    /// Takes a node out; its outputs stay as values without a producer.
    ///
    /// # Panics
    /// As [`Graph::node`].
    pub fn remove_node(&mut self, id: NodeId) -> Node {
        let Some(node) = self.nodes.get_mut(id.index()).and_then(Option::take) else {
            panic!("node {id:?} is not in this graph");
        };
        self.subgraph_holders -= usize::from(node.attributes.graphs().next().is_some());
        for &input in node.inputs.iter().flatten() {
            self.value_mut(input).uses.retain(|u| u.node() != id);
        }
        for name in captured_names(&node) {
            if let Some(value) = self.value_by_name(&name) {
                self.value_mut(value).uses.retain(|u| u.node() != id);
            }
        }
        for &output in node.outputs.iter().flatten() {
            self.value_mut(output).producer = None;
        }
        node
    }

    /// Puts another node in the place of one, at its position; it may write the same values.
    ///
    /// # Errors
    /// Those of [`Graph::add_node`]; the old node stays out then.
    pub fn replace_node(&mut self, id: NodeId, node: Node) -> Result<Node, GraphError> {
        let old = self.remove_node(id);
        let new = self.add_node(node)?;
        // Move it from the end to the old place so that ids and order stay.
        let node = self.nodes.pop().flatten();
        let relabel = |n: &mut NodeId| {
            if *n == new {
                *n = id;
            }
        };
        if let Some(node) = &node {
            let captured: Vec<ValueId> = captured_names(node)
                .iter()
                .filter_map(|n| self.value_by_name(n))
                .collect();
            for value in node.inputs.iter().flatten().copied().chain(captured) {
                for u in &mut self.value_mut(value).uses {
                    match u {
                        Use::Input { node, .. } | Use::Captured { node } => relabel(node),
                    }
                }
            }
            for &output in node.outputs.iter().flatten() {
                if let Some((node, _)) = &mut self.value_mut(output).producer {
                    relabel(node);
                }
            }
        }
        self.nodes[id.index()] = node;
        Ok(old)
    }

    /// Makes input `index` of a node read another value, or none.
    ///
    /// # Panics
    /// If the node has no such input.
    pub fn set_node_input(&mut self, node: NodeId, index: usize, value: Option<ValueId>) {
        let slot = match self.nodes.get_mut(node.index()) {
            Some(Some(n)) => &mut n.inputs[index],
            _ => panic!("node {node:?} is not in this graph"),
        };
        let old = std::mem::replace(slot, value);
        if let Some(old) = old {
            self.value_mut(old)
                .uses
                .retain(|u| *u != Use::Input { node, index });
        }
        if let Some(value) = value {
            self.value_mut(value).uses.push(Use::Input { node, index });
        }
    }

    /// Changes attributes, name, documentation or metadata of a node; not what it reads or writes.
    pub fn edit_node<R>(&mut self, id: NodeId, edit: impl FnOnce(&mut NodeDetails<'_>) -> R) -> R {
        let Some(Some(node)) = self.nodes.get_mut(id.index()) else {
            panic!("node {id:?} is not in this graph");
        };
        edit(&mut NodeDetails {
            name: &mut node.name,
            attributes: &mut node.attributes,
            doc: &mut node.doc,
            metadata: &mut node.metadata,
        })
    }

    /// Makes every reader of `old` read `new`, in subgraphs too; graph outputs are not touched.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        if old == new {
            return;
        }
        let uses = std::mem::take(&mut self.value_mut(old).uses);
        let (old_name, new_name) = (self.name_of(old).to_owned(), self.name_of(new).to_owned());
        for u in &uses {
            match *u {
                Use::Input { node, index } => {
                    if let Some(Some(n)) = self.nodes.get_mut(node.index()) {
                        n.inputs[index] = Some(new);
                    }
                }
                Use::Captured { node } => {
                    if let Some(Some(n)) = self.nodes.get_mut(node.index()) {
                        for graph in n.attributes.values_mut().flat_map(|a| a.graphs_mut()) {
                            Arc::make_mut(graph).rename_captured(&old_name, &new_name);
                        }
                    }
                }
            }
        }
        self.value_mut(new).uses.extend(uses);
    }

    /// Lets the node that writes `from` write `to` instead, and every reader of `from` read `to`; whoever
    /// wrote `to` does so no more. `from` must be written by a node.
    pub(crate) fn rewire_output(&mut self, from: ValueId, to: ValueId) {
        let detach = |graph: &mut Self, id: ValueId| {
            let (node, index) = graph.value_mut(id).producer.take()?;
            if let Some(Some(n)) = graph.nodes.get_mut(node.index()) {
                n.outputs[index] = None;
            }
            Some((node, index))
        };
        detach(self, to);
        if let Some((node, index)) = detach(self, from) {
            if let Some(Some(n)) = self.nodes.get_mut(node.index()) {
                n.outputs[index] = Some(to);
            }
            self.value_mut(to).producer = Some((node, index));
        }
        self.replace_uses(from, to);
        self.remove_value_if_unused(from);
    }

    /// Removes nodes of which nobody reads an output, and values that nobody writes or reads, starting
    /// from `candidates`; returns how many nodes went.
    pub fn remove_dead(&mut self, candidates: impl IntoIterator<Item = NodeId>) -> usize {
        let mut pending: Vec<NodeId> = candidates.into_iter().collect();
        let mut removed = 0;
        while let Some(id) = pending.pop() {
            let Some(node) = self.get_node(id) else {
                continue;
            };
            let live = |v: &ValueId| !self.uses(*v).is_empty() || self.is_output(*v);
            if node.outputs.iter().flatten().any(live) {
                continue;
            }
            let captured: Vec<ValueId> = captured_names(node)
                .iter()
                .filter_map(|name| self.value_by_name(name))
                .collect();
            let node = self.remove_node(id);
            removed += 1;
            for value in node
                .inputs
                .iter()
                .chain(&node.outputs)
                .flatten()
                .copied()
                .chain(captured)
            {
                if self.values[value.index()].is_none() {
                    continue;
                }
                pending.extend(self.producer(value));
                self.remove_value_if_unused(value);
            }
        }
        removed
    }

    /// Renames a value that the graph captures from around it, down to the innermost subgraphs.
    pub(crate) fn rename_captured(&mut self, old: &str, new: &str) {
        let Some(id) = self.value_by_name(old) else {
            return;
        };
        if self.is_own(id) {
            return; // The name is shadowed here.
        }
        if let Some(own) = self.value_by_name(new).filter(|&own| self.is_own(own)) {
            // What is meant by the new name stands outside.
            self.rename_own(own);
        }
        self.rename_in_readers(id, old, new);
        match self.value_by_name(new) {
            Some(target) if target != id => {
                let uses = std::mem::take(&mut self.value_mut(id).uses);
                for u in &uses {
                    if let (Use::Input { node, index }, Some(Some(n))) =
                        (*u, self.nodes.get_mut(u.node().index()))
                    {
                        debug_assert_eq!(node, u.node());
                        n.inputs[index] = Some(target);
                    }
                }
                self.value_mut(target).uses.extend(uses);
                if self.is_output(id) {
                    let renamed = |&output: &ValueId| if output == id { target } else { output };
                    self.set_outputs(self.outputs.iter().map(renamed).collect());
                }
            }
            _ => self.rename_value(id, new),
        }
    }

    /// Renames a value of this graph in the subgraphs of the nodes that read it.
    fn rename_in_readers(&mut self, id: ValueId, old: &str, new: &str) {
        let holders: Vec<NodeId> = self.uses(id).iter().map(|u| u.node()).collect();
        for node in holders {
            if let Some(Some(n)) = self.nodes.get_mut(node.index()) {
                for graph in n.attributes.values_mut().flat_map(|a| a.graphs_mut()) {
                    Arc::make_mut(graph).rename_captured(old, new);
                }
            }
        }
    }

    /// Whether a value stems from this graph, not from one around it.
    fn is_own(&self, id: ValueId) -> bool {
        let value = self.value(id);
        let sparse = || {
            self.sparse_initializers
                .iter()
                .any(|s| s.name == value.name)
        };
        value.producer.is_some() || value.is_input || value.initializer.is_some() || sparse()
    }

    /// Gives a value of this graph a name that is free, also where subgraphs capture it.
    fn rename_own(&mut self, id: ValueId) {
        let old = self.name_of(id).to_owned();
        let new = (1..)
            .map(|i| format!("{old}_{i}"))
            .find(|name| !self.name_taken(name));
        let Some(new) = new else { return };
        self.rename_in_readers(id, &old, &new);
        for sparse in self
            .sparse_initializers
            .iter_mut()
            .filter(|s| s.name == old)
        {
            sparse.name.clone_from(&new);
        }
        self.rename_value(id, &new);
    }

    /// Gives a value another name; the name must be free.
    pub(crate) fn rename_value(&mut self, id: ValueId, name: &str) {
        let old = std::mem::replace(&mut self.value_mut(id).name, name.to_owned());
        self.by_name.remove(old.as_str());
        self.by_name.insert(Arc::from(name), id);
    }

    /// Removes a value that nothing writes, reads or lists.
    pub fn remove_value_if_unused(&mut self, id: ValueId) -> bool {
        let value = self.value(id);
        let used = value.producer.is_some() || !value.uses.is_empty();
        if used || self.is_input(id) || self.is_output(id) {
            return false;
        }
        self.remove_initializer(id);
        if let Some(value) = self.values[id.index()].take() {
            self.by_name.remove(value.name.as_str());
        }
        true
    }

    /// Whether a name is used by a value here or anywhere in a subgraph.
    fn name_taken(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
            || self.sparse_initializers.iter().any(|s| s.name == name)
            || (self.subgraph_holders > 0
                && self
                    .nodes()
                    .any(|(_, n)| n.attributes.graphs().any(|g| g.name_taken(name))))
    }
}

/// The parts of a node that can be changed without touching the graph's edges.
#[derive(Debug)]
pub struct NodeDetails<'a> {
    /// The name.
    pub name: &'a mut String,
    /// The attributes; subgraphs must capture the same names as before.
    pub attributes: &'a mut super::Attributes,
    /// Documentation text.
    pub doc: &'a mut String,
    /// Metadata.
    pub metadata: &'a mut Vec<(String, String)>,
}

/// Names that a node's subgraphs take from the graph around it, each once.
fn captured_names(node: &Node) -> Vec<String> {
    let mut seen = HashSet::new();
    let captured = node.attributes.graphs().flat_map(|graph| graph.captured());
    let first = captured.filter(|(_, name)| seen.insert(*name));
    first.map(|(_, name)| name.to_owned()).collect()
}
