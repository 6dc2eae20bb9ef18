//! `GraphProto`, and the body of a `FunctionProto`, → [`Graph`].

use super::{
    in_graph, in_initializer, is_something, metadata, node, preserved, rest_of_tensor,
    sparse_tensor, take_tensor, text,
};
use crate::fact::Fact;
use crate::graph::{Graph, Node, ValueId};
use crate::io::error::LoadError;
use crate::io::external::ExternalFiles;
use crate::io::types::{fact_of_type, is_held};
use crate::proto::{
    FunctionProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto,
};

/// Takes `proto` apart.
pub(super) fn graph(mut proto: GraphProto, files: &mut ExternalFiles) -> Result<Graph, LoadError> {
    let mut reader = Reader::new(text(&mut proto.name), files);
    reader.graph.doc = text(&mut proto.doc_string);
    reader.graph.metadata = metadata(&mut proto.metadata_props);
    for input in std::mem::take(&mut proto.input) {
        let id = reader.value(input)?;
        reader.graph.add_input(id);
    }
    for initializer in std::mem::take(&mut proto.initializer) {
        reader.initializer(initializer)?;
    }
    for sparse in std::mem::take(&mut proto.sparse_initializer) {
        let name = sparse
            .values
            .as_ref()
            .map(|values| values.name().to_owned());
        let sparse = sparse_tensor(sparse, reader.files);
        let (sparse, rest) = sparse.map_err(in_initializer(&name.unwrap_or_default()))?;
        reader.keep_sparse(&sparse.name, rest);
        reader.graph.sparse_initializers.push(sparse);
    }
    // What an output says of itself comes before what the list of inner values may say.
    for output in std::mem::take(&mut proto.output) {
        let id = reader.value(output)?;
        reader.graph.add_output(id);
    }
    for value in std::mem::take(&mut proto.value_info) {
        reader.value(value)?;
    }
    for node in std::mem::take(&mut proto.node) {
        reader.node(node)?;
    }
    proto.value_info = reader.kept_values;
    proto.initializer = reader.kept_initializers;
    proto.sparse_initializer = reader.kept_sparse;
    reader.graph.preserved = preserved(&proto);
    Ok(reader.graph)
}

/// Takes the body out of a function, and leaves what a graph does not model.
pub(super) fn function_body(
    name: &str,
    proto: &mut FunctionProto,
    files: &mut ExternalFiles,
) -> Result<Graph, LoadError> {
    let mut reader = Reader::new(name.to_owned(), files);
    reader.graph.doc = text(&mut proto.doc_string);
    reader.graph.metadata = metadata(&mut proto.metadata_props);
    for input in std::mem::take(&mut proto.input) {
        let id = reader.named(&input)?;
        reader.graph.add_input(id);
    }
    for value in std::mem::take(&mut proto.value_info) {
        reader.value(value)?;
    }
    for node in std::mem::take(&mut proto.node) {
        reader.node(node)?;
    }
    for output in std::mem::take(&mut proto.output) {
        let id = reader.named(&output)?;
        reader.graph.add_output(id);
    }
    proto.value_info = reader.kept_values;
    Ok(reader.graph)
}

struct Reader<'a> {
    graph: Graph,
    files: &'a mut ExternalFiles,
    /// What a value does not model, as types that a fact cannot hold in full, by name.
    kept_values: Vec<ValueInfoProto>,
    /// Documentation, metadata and what is not known of initializers, by name.
    kept_initializers: Vec<TensorProto>,
    /// The same of sparse initializers, by the name of their values.
    kept_sparse: Vec<SparseTensorProto>,
}

impl<'a> Reader<'a> {
    fn new(name: String, files: &'a mut ExternalFiles) -> Self {
        Self {
            graph: Graph::new(name),
            files,
            kept_values: Vec::new(),
            kept_initializers: Vec::new(),
            kept_sparse: Vec::new(),
        }
    }

    fn named(&mut self, name: &str) -> Result<ValueId, LoadError> {
        self.graph.value_named(name).map_err(in_graph(&self.graph))
    }

    fn value(&mut self, mut proto: ValueInfoProto) -> Result<ValueId, LoadError> {
        let name = text(&mut proto.name);
        let id = self.named(&name)?;
        if let Some(declared) = &proto.r#type {
            let value = self.graph.value_mut(id);
            if matches!(value.fact, Fact::Unknown) {
                value.fact = fact_of_type(declared);
            }
            if is_held(declared) {
                proto.r#type = None;
            }
        }
        let value = self.graph.value_mut(id);
        if value.doc.is_empty() {
            value.doc = text(&mut proto.doc_string);
        }
        if value.metadata.is_empty() {
            value.metadata = metadata(&mut proto.metadata_props);
        }
        proto.doc_string = None;
        proto.metadata_props.retain(|entry| entry.unknown.is_some());
        self.kept_values
            .extend(is_something(proto).map(|rest| ValueInfoProto {
                name: Some(name),
                ..rest
            }));
        Ok(id)
    }

    fn keep_sparse(&mut self, name: &str, rest: Option<SparseTensorProto>) {
        self.kept_sparse.extend(rest.map(|mut rest| {
            rest.values.get_or_insert_default().name = Some(name.to_owned());
            rest
        }));
    }

    fn initializer(&mut self, mut proto: TensorProto) -> Result<(), LoadError> {
        let name = text(&mut proto.name);
        if name.is_empty() {
            return Err(LoadError::UnnamedInitializer {
                graph: self.graph.name.clone(),
            });
        }
        let tensor = take_tensor(&mut proto, self.files).map_err(in_initializer(&name))?;
        let id = self.named(&name)?;
        if self.graph.initializer(id).is_some() {
            return Err(LoadError::DuplicateInitializer { name });
        }
        self.graph.set_initializer(id, tensor);
        self.kept_initializers
            .extend(rest_of_tensor(proto).map(|rest| TensorProto {
                name: Some(name),
                ..rest
            }));
        Ok(())
    }

    fn node(&mut self, mut proto: NodeProto) -> Result<(), LoadError> {
        let inputs = self.values(&std::mem::take(&mut proto.input))?;
        let outputs = self.values(&std::mem::take(&mut proto.output))?;
        let node = Node {
            inputs,
            outputs,
            ..node::node(proto, self.files)?
        };
        self.graph.add_node(node).map_err(in_graph(&self.graph))?;
        Ok(())
    }

    /// Values by name; an empty name is one that is left out.
    fn values(&mut self, names: &[String]) -> Result<Vec<Option<ValueId>>, LoadError> {
        let id = |name: &String| (!name.is_empty()).then(|| self.named(name)).transpose();
        names.iter().map(id).collect()
    }
}
