//! The graph: values, nodes, initializers; single assignment; uses kept up to date.
//!
//! Values and nodes are named by small ids that stay valid until they are removed. A value is an input,
//! an initializer (either or both), a node's output, or (in a subgraph) captured by name from the
//! graph around it. Nodes may stand in any order; [`Graph::topological_order`] sorts them.

mod attribute;
mod edit;
mod node;
mod order;

pub use attribute::{Attribute, Attributes, SparseTensor};
pub use node::Node;

use crate::fact::Fact;
use bytes::Bytes;
use compress_tensor::Tensor;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Names a value of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

/// Names a node of one graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

impl ValueId {
    /// The value of this index; it must belong to the graph that it is used with.
    pub fn from_index(index: usize) -> Self {
        ValueId(index as u32)
    }

    /// A dense index, below [`Graph::value_bound`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    /// A dense index, below [`Graph::node_bound`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a node reads a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// As input number `index`.
    Input {
        /// The reading node.
        node: NodeId,
        /// Which input.
        index: usize,
    },
    /// In a subgraph of the node, which captures it by name.
    Captured {
        /// The node that holds the subgraph.
        node: NodeId,
    },
}

impl Use {
    /// The reading node.
    pub fn node(self) -> NodeId {
        match self {
            Use::Input { node, .. } | Use::Captured { node } => node,
        }
    }
}

/// One value.
#[derive(Clone, Debug, Default)]
pub struct ValueInfo {
    /// The unique name within the graph.
    pub name: String,
    /// What is known of it, declared or inferred.
    pub fact: Fact,
    /// Documentation text of the file.
    pub doc: String,
    /// Metadata of the file.
    pub metadata: Vec<(String, String)>,
    pub(crate) producer: Option<(NodeId, usize)>,
    pub(crate) uses: Vec<Use>,
    pub(crate) initializer: Option<Tensor>,
    pub(crate) is_input: bool,
    pub(crate) is_output: bool,
}

/// Why a graph cannot be built or changed as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Two producers for one value.
    #[error("value `{value}` is written by node `{first}` and again by node `{second}`")]
    WrittenTwice {
        /// The value.
        value: String,
        /// The node that wrote it first.
        first: String,
        /// The second one.
        second: String,
    },
    /// A node writes a graph input or an initializer.
    #[error("node `{node}` writes `{value}`, which is already {what}")]
    WritesConstant {
        /// The writing node.
        node: String,
        /// The value.
        value: String,
        /// `a graph input` or `an initializer`.
        what: &'static str,
    },
    /// A value of this name is there.
    #[error("there is already a value named `{name}`")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Nodes that wait for one another.
    #[error("the graph has a cycle through {}", .nodes.join(", "))]
    Cycle {
        /// Some of the nodes on the cycle.
        nodes: Vec<String>,
    },
    /// Too many values or nodes.
    #[error("the graph has more than 2^32 values or nodes")]
    TooLarge,
}

/// A dataflow graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The name.
    pub name: String,
    /// Documentation text of the file.
    pub doc: String,
    /// Metadata of the file.
    pub metadata: Vec<(String, String)>,
    /// Sparse initializers, kept as they are.
    pub sparse_initializers: Vec<SparseTensor>,
    /// An encoded `GraphProto` that holds the fields that this type does not model.
    pub preserved: Bytes,
    pub(crate) values: Vec<Option<ValueInfo>>,
    pub(crate) nodes: Vec<Option<Node>>,
    pub(crate) by_name: HashMap<Arc<str>, ValueId>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    /// Initializers in the order of the file.
    pub(crate) initializers: Vec<ValueId>,
    /// For fresh names.
    pub(crate) counter: u32,
    /// How many nodes hold subgraphs; where none does, names need not be searched for there.
    pub(crate) subgraph_holders: usize,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// The value behind an id.
    ///
    /// # Panics
    /// If the value was removed or belongs to another graph: a bug of the caller.
    pub fn value(&self, id: ValueId) -> &ValueInfo {
        match self.values.get(id.index()) {
            Some(Some(value)) => value,
            _ => panic!("value {id:?} is not in this graph"),
        }
    }

    /// The value behind an id, for changing its fact, documentation or metadata.
    ///
    /// # Panics
    /// As [`Graph::value`].
    pub fn value_mut(&mut self, id: ValueId) -> &mut ValueInfo {
        match self.values.get_mut(id.index()) {
            Some(Some(value)) => value,
            _ => panic!("value {id:?} is not in this graph"),
        }
    }

    /// The node behind an id.
    ///
    /// # Panics
    /// If the node was removed or belongs to another graph: a bug of the caller.
    pub fn node(&self, id: NodeId) -> &Node {
        match self.nodes.get(id.index()) {
            Some(Some(node)) => node,
            _ => panic!("node {id:?} is not in this graph"),
        }
    }

    /// The node behind an id, where it was not removed.
    pub fn get_node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index()).and_then(Option::as_ref)
    }

    /// The value of this name.
    pub fn value_by_name(&self, name: &str) -> Option<ValueId> {
        self.by_name.get(name).copied()
    }

    /// Whether the value was not removed.
    pub fn has_value(&self, id: ValueId) -> bool {
        self.values.get(id.index()).is_some_and(Option::is_some)
    }

    /// The name of a value.
    pub fn name_of(&self, id: ValueId) -> &str {
        &self.value(id).name
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &ValueInfo)> {
        self.values
            .iter()
            .enumerate()
            .filter_map(|(i, v)| Some((ValueId(i as u32), v.as_ref()?)))
    }

    /// All nodes, in the order in which they were added.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes
            .iter()
            .enumerate()
            .filter_map(|(i, n)| Some((NodeId(i as u32), n.as_ref()?)))
    }

    /// The number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.iter().flatten().count()
    }

    /// All value indices are below this.
    pub fn value_bound(&self) -> usize {
        self.values.len()
    }

    /// All node indices are below this.
    pub fn node_bound(&self) -> usize {
        self.nodes.len()
    }

    /// The inputs, in order. In old files initializers are inputs too.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The inputs that have no initializer: what a caller must feed.
    pub fn required_inputs(&self) -> impl Iterator<Item = ValueId> {
        self.inputs
            .iter()
            .copied()
            .filter(|&id| self.initializer(id).is_none())
    }

    /// The outputs, in order.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Whether the value is an input.
    pub fn is_input(&self, id: ValueId) -> bool {
        let value = self.values.get(id.index());
        value
            .and_then(Option::as_ref)
            .is_some_and(|value| value.is_input)
    }

    /// Whether the value is an output.
    pub fn is_output(&self, id: ValueId) -> bool {
        let value = self.values.get(id.index());
        value
            .and_then(Option::as_ref)
            .is_some_and(|value| value.is_output)
    }

    /// The initializers, in the order of the file.
    pub fn initializers(&self) -> impl Iterator<Item = (ValueId, &Tensor)> {
        self.initializers
            .iter()
            .filter_map(|&id| Some((id, self.initializer(id)?)))
    }

    /// The initializer of a value.
    pub fn initializer(&self, id: ValueId) -> Option<&Tensor> {
        self.value(id).initializer.as_ref()
    }

    /// The value where it is constant for every run: an initializer that is not an input at the same
    /// time, or the output of a `Constant` node that holds a tensor.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        if let Some(tensor) = self.initializer(id) {
            return (!self.is_input(id)).then_some(tensor);
        }
        let node = self.node(self.producer(id)?);
        match node.attributes.get("value") {
            Some(Attribute::Tensor(tensor)) if node.is("Constant") => Some(tensor),
            _ => None,
        }
    }

    /// The node that writes a value.
    pub fn producer(&self, id: ValueId) -> Option<NodeId> {
        self.value(id).producer.map(|(node, _)| node)
    }

    /// Where a value is read by nodes; being a graph output is no use.
    pub fn uses(&self, id: ValueId) -> &[Use] {
        &self.value(id).uses
    }

    /// The only node input that reads a value, where there is exactly one and the value is no output.
    pub fn sole_use(&self, id: ValueId) -> Option<(NodeId, usize)> {
        match self.uses(id) {
            [Use::Input { node, index }] if !self.is_output(id) => Some((*node, *index)),
            _ => None,
        }
    }

    /// What to call a node in a message: its name, or its operator and first output.
    pub fn describe(&self, id: NodeId) -> String {
        let node = self.node(id);
        if !node.name.is_empty() {
            return format!("{} ({})", node.name, node.qualified_op());
        }
        let output = node.outputs.iter().flatten().next();
        format!(
            "{} -> {}",
            node.qualified_op(),
            output.map_or("", |&v| self.name_of(v))
        )
    }

    /// The node's name, or that of its first output where it has none.
    pub fn label(&self, id: NodeId) -> &str {
        let node = self.node(id);
        if !node.name.is_empty() {
            return &node.name;
        }
        let output = node.outputs.iter().flatten().next();
        output.map_or("", |&v| self.name_of(v))
    }

    /// Names that a graph reads but does not define: what it captures from around it.
    pub fn captured(&self) -> impl Iterator<Item = (ValueId, &str)> {
        let sparse: HashSet<&str> = self
            .sparse_initializers
            .iter()
            .map(|tensor| tensor.name.as_str())
            .collect();
        self.values().filter_map(move |(id, v)| {
            let defined = v.producer.is_some() || v.initializer.is_some() || v.is_input;
            let read = !v.uses.is_empty() || v.is_output;
            let captured = read && !defined && !sparse.contains(v.name.as_str());
            captured.then_some((id, v.name.as_str()))
        })
    }
}
