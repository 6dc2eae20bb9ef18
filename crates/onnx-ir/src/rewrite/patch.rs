//! A checked change: new constants and nodes, and which old values they replace.

use crate::fact::{Fact, TensorFact};
use crate::graph::{Attribute, Attributes, Graph, GraphError, Node, NodeId, ValueId};
use crate::infer::{self, NodeInferError};
use crate::model::OpsetImports;
use crate::operator::{Catalog, PRIVATE_DOMAIN};
use compress_tensor::Tensor;

/// A value in a patch: one of the graph, or one that the patch makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchValue {
    /// A value of the graph.
    Existing(ValueId),
    /// The value of this number among those that the patch makes.
    New(usize),
}

impl From<ValueId> for PatchValue {
    fn from(id: ValueId) -> Self {
        PatchValue::Existing(id)
    }
}

/// An operator with attributes for a new node.
#[derive(Clone, Debug, Default)]
pub struct NewNode {
    domain: String,
    op_type: String,
    attributes: Attributes,
    name: String,
}

impl NewNode {
    /// An operator of the default domain.
    pub fn new(op_type: &str) -> Self {
        Self {
            op_type: op_type.to_owned(),
            ..Self::default()
        }
    }

    /// An operator of this project's own domain.
    pub fn private(op_type: &str) -> Self {
        Self::new(op_type).in_domain(PRIVATE_DOMAIN)
    }

    /// The operator and the attributes of a node that is there.
    pub fn like(node: &Node) -> Self {
        Self {
            domain: node.domain.clone(),
            op_type: node.op_type.clone(),
            attributes: node.attributes.clone(),
            name: node.name.clone(),
        }
    }

    /// Another operator with the same attributes.
    #[must_use]
    pub fn of(mut self, op_type: &str) -> Self {
        self.op_type = op_type.to_owned();
        self
    }

    /// The same operator in another domain.
    #[must_use]
    pub fn in_domain(mut self, domain: &str) -> Self {
        self.domain = domain.to_owned();
        self
    }

    /// The same operator with an attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.attributes.set(name, value);
        self
    }

    /// The node in a graph that reads and writes these values.
    pub(crate) fn into_node(
        self,
        inputs: Vec<Option<ValueId>>,
        outputs: Vec<Option<ValueId>>,
    ) -> Node {
        let mut node = Node::new(self.op_type, inputs, outputs);
        node.domain = self.domain;
        node.attributes = self.attributes;
        node.name = self.name;
        node
    }

    /// The same operator on a node of this name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }
}

/// Why a patch was not applied; the graph is unchanged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// A replaced value would change its element type or shape.
    #[error("`{value}` is {old}, its replacement is {new}")]
    ChangesFact {
        /// The replaced value.
        value: String,
        /// Its fact.
        old: String,
        /// The fact of the replacement.
        new: String,
    },
    /// A new node's inputs break its operator's rules.
    #[error("new node {op}: {error}")]
    Infer {
        /// The operator.
        op: String,
        /// The reason.
        error: Box<NodeInferError>,
    },
    /// A graph output can only be replaced by what a node writes.
    #[error("graph output `{value}` would have no node that writes it")]
    OutputWithoutNode {
        /// The output.
        value: String,
    },
    /// The graph refused a change.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

enum New {
    Constant { name: String, tensor: Tensor },
    Output { node: usize, index: usize },
}

/// A change of a graph that is checked before it is applied.
#[derive(Default)]
pub struct Patch {
    values: Vec<New>,
    nodes: Vec<(NewNode, Vec<Option<PatchValue>>, usize)>,
    replaced: Vec<(ValueId, PatchValue)>,
}

impl Patch {
    /// A patch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new initializer whose name starts with `name`.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> PatchValue {
        self.values.push(New::Constant {
            name: name.to_owned(),
            tensor,
        });
        PatchValue::New(self.values.len() - 1)
    }

    /// A new node with one output.
    pub fn node(&mut self, node: NewNode, inputs: &[PatchValue]) -> PatchValue {
        self.node_with(node, inputs.iter().copied().map(Some).collect(), 1)[0]
    }

    /// A new node with left-out inputs or several outputs.
    pub fn node_with(
        &mut self,
        node: NewNode,
        inputs: Vec<Option<PatchValue>>,
        outputs: usize,
    ) -> Vec<PatchValue> {
        let at = self.nodes.len();
        self.nodes.push((node, inputs, outputs));
        (0..outputs)
            .map(|index| {
                self.values.push(New::Output { node: at, index });
                PatchValue::New(self.values.len() - 1)
            })
            .collect()
    }

    /// Every reader of `old` reads `new` instead; `old` keeps its name where a node of the patch writes it.
    pub fn replace(&mut self, old: ValueId, new: PatchValue) {
        self.replaced.push((old, new));
    }

    /// Checks the patch and applies it; returns the new nodes.
    ///
    /// # Errors
    /// [`PatchError`]; the graph is unchanged then.
    pub fn apply(
        self,
        graph: &mut Graph,
        opsets: &OpsetImports,
        catalog: &Catalog,
    ) -> Result<Vec<NodeId>, PatchError> {
        let facts = self.check(graph, opsets, catalog)?;
        let mut ids = Vec::with_capacity(self.values.len());
        for (value, fact) in self.values.iter().zip(facts) {
            ids.push(match value {
                New::Constant { name, tensor } => graph.add_initializer(name, tensor.clone())?,
                New::Output { node, index } => {
                    let base = &self.nodes[*node].0;
                    let base = if base.name.is_empty() {
                        &base.op_type
                    } else {
                        &base.name
                    };
                    graph.fresh_value(&format!("{base}_out{index}"), fact)?
                }
            });
        }
        let mut added = Vec::with_capacity(self.nodes.len());
        for (at, (new, inputs, outputs)) in self.nodes.iter().enumerate() {
            let mut node = Node::new(
                new.op_type.clone(),
                inputs.iter().map(|v| {
                    v.map(|v| match v {
                        PatchValue::Existing(id) => id,
                        PatchValue::New(i) => ids[i],
                    })
                }),
                (0..*outputs).map(|i| self.output_id(&ids, at, i)),
            );
            node.domain.clone_from(&new.domain);
            node.attributes = new.attributes.clone();
            node.name.clone_from(&new.name);
            added.push(graph.add_node(node)?);
        }
        for (old, new) in self.replaced {
            match new {
                PatchValue::Existing(id) => substitute(graph, old, id, graph.is_output(old)),
                PatchValue::New(i) => {
                    let takes_name = graph.value(ids[i]).producer.is_some();
                    substitute(graph, old, ids[i], takes_name);
                    if takes_name {
                        ids[i] = old;
                    }
                }
            }
        }
        Ok(added)
    }

    /// The nodes that write the values that the patch replaces.
    pub(super) fn replaced_producers<'g>(
        &'g self,
        graph: &'g Graph,
    ) -> impl Iterator<Item = NodeId> + 'g {
        self.replaced
            .iter()
            .filter_map(|(old, _)| graph.producer(*old))
    }

    fn output_id(&self, ids: &[ValueId], node: usize, index: usize) -> Option<ValueId> {
        let at = self.values.iter().position(|v| match v {
            New::Output { node: n, index: i } => (*n, *i) == (node, index),
            New::Constant { .. } => false,
        })?;
        ids.get(at).copied()
    }

    /// The facts of the new values, where everything fits.
    fn check(
        &self,
        graph: &Graph,
        opsets: &OpsetImports,
        catalog: &Catalog,
    ) -> Result<Vec<Fact>, PatchError> {
        let mut facts: Vec<Fact> = self
            .values
            .iter()
            .map(|v| match v {
                New::Constant { tensor, .. } => TensorFact::constant(tensor.clone()).into(),
                New::Output { .. } => Fact::Unknown,
            })
            .collect();
        for (at, (node, inputs, outputs)) in self.nodes.iter().enumerate() {
            let inputs: Vec<Option<Fact>> = inputs
                .iter()
                .map(|v| {
                    v.map(|v| match v {
                        PatchValue::New(i) => facts[i].clone(),
                        PatchValue::Existing(id) => match graph.constant(id) {
                            Some(tensor) => TensorFact::constant(tensor.clone()).into(),
                            None => graph.value(id).fact.clone(),
                        },
                    })
                })
                .collect();
            let mut probe = Node::new(
                node.op_type.clone(),
                vec![None::<ValueId>; inputs.len()],
                vec![None; *outputs],
            );
            probe.domain.clone_from(&node.domain);
            probe.attributes = node.attributes.clone();
            let inferred =
                infer::infer_node(catalog, opsets, &probe, &inputs).map_err(|error| {
                    PatchError::Infer {
                        op: probe.qualified_op(),
                        error: Box::new(error),
                    }
                })?;
            for (value, fact) in self.values.iter().zip(facts.iter_mut()) {
                if let New::Output { node, index } = value
                    && *node == at
                {
                    *fact = inferred.get(*index).cloned().unwrap_or_default();
                }
            }
        }
        for &(old, new) in &self.replaced {
            let new_fact = match new {
                PatchValue::New(i) => facts[i].clone(),
                PatchValue::Existing(id) => graph.value(id).fact.clone(),
            };
            let old_fact = &graph.value(old).fact;
            if infer::refine(&new_fact, old_fact).is_err() {
                return Err(PatchError::ChangesFact {
                    value: graph.name_of(old).to_owned(),
                    old: old_fact.to_string(),
                    new: new_fact.to_string(),
                });
            }
            if graph.is_output(old) && !self.can_write_output(graph, new) {
                return Err(PatchError::OutputWithoutNode {
                    value: graph.name_of(old).to_owned(),
                });
            }
        }
        Ok(facts)
    }

    fn can_write_output(&self, graph: &Graph, new: PatchValue) -> bool {
        match new {
            PatchValue::New(i) => matches!(self.values[i], New::Output { .. }),
            PatchValue::Existing(id) => graph.producer(id).is_some() && !graph.is_output(id),
        }
    }
}

/// Lets `new` take the place of `old`. With `take_name` the node that writes `new` writes `old` from now
/// on, so that the name stays.
fn substitute(graph: &mut Graph, old: ValueId, new: ValueId, take_name: bool) {
    if old == new {
    } else if take_name {
        graph.rewire_output(new, old);
    } else {
        graph.replace_uses(old, new);
    }
}
