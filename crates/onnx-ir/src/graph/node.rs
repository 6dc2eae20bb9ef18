//! One node of a graph.

use crate::graph::{Attribute, Attributes, ValueId};
use bytes::Bytes;

/// One node: an operator with its attributes, reading and writing values.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// The name; may be empty.
    pub name: String,
    /// The operator's domain; empty for the default ONNX domain.
    pub domain: String,
    /// The operator, as in `Conv`.
    pub op_type: String,
    /// The overload of a function; mostly empty.
    pub overload: String,
    /// The attributes as they stand in the file.
    pub attributes: Attributes,
    /// Documentation text of the file.
    pub doc: String,
    /// Metadata of the file.
    pub metadata: Vec<(String, String)>,
    /// An encoded `NodeProto` that holds the fields that this type does not model.
    pub preserved: Bytes,
    pub(crate) inputs: Vec<Option<ValueId>>,
    pub(crate) outputs: Vec<Option<ValueId>>,
}

impl Node {
    /// A node of the default domain.
    pub fn new(
        op_type: impl Into<String>,
        inputs: impl IntoIterator<Item = impl Into<Option<ValueId>>>,
        outputs: impl IntoIterator<Item = impl Into<Option<ValueId>>>,
    ) -> Self {
        Self {
            op_type: op_type.into(),
            inputs: inputs.into_iter().map(Into::into).collect(),
            outputs: outputs.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// The same node in another domain.
    #[must_use]
    pub fn in_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = domain.into();
        self
    }

    /// The same node with a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same node with an attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.attributes.set(name, value);
        self
    }

    /// The same node reading other values; for nodes that are not in a graph yet.
    #[must_use]
    pub fn with_inputs(mut self, inputs: Vec<Option<ValueId>>) -> Self {
        self.inputs = inputs;
        self
    }

    /// The same node writing other values; for nodes that are not in a graph yet.
    #[must_use]
    pub fn with_outputs(mut self, outputs: Vec<Option<ValueId>>) -> Self {
        self.outputs = outputs;
        self
    }

    /// The inputs; `None` where an optional input is left out.
    pub fn inputs(&self) -> &[Option<ValueId>] {
        &self.inputs
    }

    /// The outputs; `None` where an optional output is left out.
    pub fn outputs(&self) -> &[Option<ValueId>] {
        &self.outputs
    }

    /// Input `index`, where it is there.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// Output `index`, where it is there.
    pub fn output(&self, index: usize) -> Option<ValueId> {
        self.outputs.get(index).copied().flatten()
    }

    /// Whether this is the operator `op_type` of the default domain.
    pub fn is(&self, op_type: &str) -> bool {
        self.op_type == op_type && (self.domain.is_empty() || self.domain == "ai.onnx")
    }

    /// `domain.op_type`, or `op_type` in the default domain.
    pub fn qualified_op(&self) -> String {
        if self.domain.is_empty() || self.domain == "ai.onnx" {
            self.op_type.clone()
        } else {
            format!("{}.{}", self.domain, self.op_type)
        }
    }
}
