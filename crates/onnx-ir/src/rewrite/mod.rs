//! Changing a graph by checked patches.
//!
//! A [`Rewrite`] looks at one node and answers with a [`Patch`] or with the reason why it declines. The
//! patch is applied only where every value that it replaces keeps its element type and shape. One
//! driver, [`apply`], runs rewrites to a fixpoint.

mod driver;
mod patch;

pub use driver::{RewriteReport, Skipped, apply};
pub use patch::{NewNode, Patch, PatchError, PatchValue};

use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::model::OpsetImports;
use crate::operator::{Catalog, DynOperator, Operator};
use compress_tensor::Tensor;
use std::sync::Arc;

/// Why a rewrite leaves a node as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The node is not what the rewrite looks for; not worth a word.
    NotThisPattern,
    /// The pattern is there, but a condition does not hold; reported.
    Because(&'static str),
}

/// A local change of the graph.
pub trait Rewrite: Send + Sync {
    /// The name in reports and metadata, as in `fold-batch-norm`.
    fn name(&self) -> &'static str;

    /// The operators of the default domain at whose nodes the rewrite looks.
    fn roots(&self) -> &'static [&'static str];

    /// The change at this node.
    ///
    /// # Errors
    /// [`Skip`]: why there is none.
    fn rewrite(&self, cx: &RewriteContext<'_>, node: NodeId) -> Result<Patch, Skip>;
}

/// What a rewrite sees: the graph as it is, and what its operators mean.
#[derive(Clone, Copy, Debug)]
pub struct RewriteContext<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The operator sets that it imports.
    pub opsets: &'a OpsetImports,
    /// What operators mean.
    pub catalog: &'a Catalog,
}

impl<'a> RewriteContext<'a> {
    /// The typed operator of a node, where it is a `T`.
    pub fn operator<T: Operator>(&self, node: NodeId) -> Option<T> {
        let operator = self.parse(node)?;
        let typed: &dyn DynOperator = operator.as_ref();
        typed.downcast_ref::<T>().cloned()
    }

    /// The operator of a node, where the catalog has it.
    pub fn parse(&self, node: NodeId) -> Option<Arc<dyn DynOperator>> {
        self.catalog.parse(self.graph.node(node), self.opsets).ok()
    }

    /// The node that writes `value`, where it is an `op_type` of the default domain.
    pub fn producer(&self, value: ValueId, op_type: &str) -> Option<(NodeId, &'a Node)> {
        let id = self.graph.producer(value)?;
        let node = self.graph.node(id);
        node.is(op_type).then_some((id, node))
    }

    /// [`RewriteContext::producer`], where nobody else reads the value and it is no graph output.
    pub fn sole_producer(&self, value: ValueId, op_type: &str) -> Option<(NodeId, &'a Node)> {
        self.graph.sole_use(value)?;
        self.producer(value, op_type)
    }

    /// The node that alone reads `value`, where it is an `op_type` of the default domain.
    pub fn sole_consumer(&self, value: ValueId, op_type: &str) -> Option<(NodeId, &'a Node)> {
        let (id, _) = self.graph.sole_use(value)?;
        let node = self.graph.node(id);
        node.is(op_type).then_some((id, node))
    }

    /// The constant that a node reads as input `index`.
    pub fn constant_input(&self, node: &Node, index: usize) -> Option<&'a Tensor> {
        self.graph.constant(node.input(index)?)
    }

    /// A constant of one element as a number.
    pub fn scalar(&self, value: ValueId) -> Option<f64> {
        let tensor = self.graph.constant(value).filter(|t| t.len() == 1)?;
        crate::ops::elementwise::unary::first_as_f64(tensor)
    }

    /// A constant of one boolean.
    pub fn scalar_bool(&self, value: ValueId) -> Option<bool> {
        self.graph
            .constant(value)?
            .data::<bool>()
            .ok()?
            .first()
            .copied()
    }

    /// The shape of a value as sizes, where all are known.
    pub fn sizes(&self, value: ValueId) -> Option<Vec<usize>> {
        self.graph.value(value).fact.as_tensor()?.sizes()
    }

    /// The number of dimensions of a value.
    pub fn rank(&self, value: ValueId) -> Option<usize> {
        self.graph.value(value).fact.as_tensor()?.rank()
    }
}
