//! Names around a subgraph: what it may capture, and what type that has.

use std::borrow::Cow;

use compress_tensor::DType;

use super::Place;
use crate::fact::Fact;
use crate::graph::{Graph, NodeId, ValueId};
use crate::io::name_of_dtype;
use crate::model::{Function, OpsetImports};

/// A graph with those around it.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) graph: &'a Graph,
    /// The graph around, and the node there that holds this one.
    pub(super) around: Option<(&'a Scope<'a>, NodeId)>,
    /// The function whose body this is, or is part of.
    pub(super) function: Option<&'a Function>,
    pub(super) opsets: &'a OpsetImports,
    /// How many graphs are around.
    pub(super) depth: usize,
}

impl<'a> Scope<'a> {
    /// The place of the graph itself.
    pub(super) fn place(&self) -> Place {
        Place {
            graph: Some(self.graph.name.clone()),
            ..Place::default()
        }
    }

    /// The place of a node.
    pub(super) fn place_of(&self, id: NodeId) -> Place {
        Place {
            graph: Some(self.graph.name.clone()),
            node: Some(self.graph.label(id).to_owned()),
            op: Some(self.graph.node(id).qualified_op()),
        }
    }

    /// Whether the value is written, fed or constant in this very graph.
    pub(super) fn defines(&self, id: ValueId) -> bool {
        let value = self.graph.value(id);
        value.producer.is_some() || value.initializer.is_some() || self.graph.is_input(id) || {
            let mut sparse = self.graph.sparse_initializers.iter();
            sparse.any(|tensor| tensor.name == value.name)
        }
    }

    /// The graph around that defines `name`, innermost first, and the value there.
    pub(super) fn outer(&self, name: &str) -> Option<(&'a Scope<'a>, ValueId)> {
        self.find_around(name).map(|(scope, id, _)| (scope, id))
    }

    /// Whether `name` stands for a value of a graph around before this graph runs.
    pub(super) fn is_taken(&self, name: &str) -> bool {
        let found = self.find_around(name);
        found.is_some_and(|(scope, id, holder)| match scope.graph.producer(id) {
            Some(producer) => producer < holder,
            None => true,
        })
    }

    fn find_around(&self, name: &str) -> Option<(&'a Scope<'a>, ValueId, NodeId)> {
        let mut next = self.around;
        while let Some((scope, holder)) = next {
            if let Some(id) = scope.graph.value_by_name(name)
                && scope.defines(id)
            {
                return Some((scope, id, holder));
            }
            next = scope.around;
        }
        None
    }

    /// The type of a value as the schemas write it, `tensor(float)`, where it is known.
    pub(super) fn type_of(&self, id: ValueId) -> Option<Cow<'static, str>> {
        let value = self.graph.value(id);
        if let Some(tensor) = &value.initializer {
            return tensor_type(tensor.dtype());
        }
        match type_name(&value.fact) {
            None if value.producer.is_none() => {
                let (scope, outer) = self.outer(&value.name)?;
                scope.type_of(outer)
            }
            known => known,
        }
    }
}

fn type_name(fact: &Fact) -> Option<Cow<'static, str>> {
    match fact {
        Fact::Tensor(tensor) => tensor_type(tensor.dtype?),
        Fact::Sequence(element) => Some(format!("seq({})", type_name(element)?).into()),
        Fact::Optional(element) => Some(format!("optional({})", type_name(element)?).into()),
        Fact::SparseTensor(tensor) => {
            Some(format!("sparse_tensor({})", name_of_dtype(tensor.dtype?)?).into())
        }
        Fact::Map(..) | Fact::Unknown => None,
    }
}

fn tensor_type(dtype: DType) -> Option<Cow<'static, str>> {
    Some(match dtype {
        DType::F32 => Cow::Borrowed("tensor(float)"),
        DType::I64 => Cow::Borrowed("tensor(int64)"),
        _ => Cow::Owned(format!("tensor({})", name_of_dtype(dtype)?)),
    })
}
