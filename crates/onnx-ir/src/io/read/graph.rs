//! `GraphProto`, and the body of a `FunctionProto`, → [`Graph`].

use super::{
    in_graph, in_initializer, metadata, node, preserved, sparse_tensor, take_tensor, text,
};
use crate::fact::Fact;
use crate::graph::{Graph, Node, ValueId};
use crate::io::error::LoadError;
use crate::io::external::ExternalFiles;
use crate::io::types::{fact_of_type, type_of_fact};
use crate::proto::{FunctionProto, GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto};

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
        let sparse = sparse.map_err(in_initializer(&name.unwrap_or_default()))?;
        reader.graph.sparse_initializers.push(sparse);
    }
    for value in std::mem::take(&mut proto.value_info) {
        reader.value(value)?;
    }
    for node in std::mem::take(&mut proto.node) {
        reader.node(node)?;
    }
    for output in std::mem::take(&mut proto.output) {
        let id = reader.value(output)?;
        reader.graph.add_output(id);
    }
    proto.value_info = reader.kept_values;
    proto.initializer = reader.kept_initializers;
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
    /// Declared types that a fact cannot hold in full, by name.
    kept_values: Vec<ValueInfoProto>,
    /// Documentation and metadata of initializers, by name.
    kept_initializers: Vec<TensorProto>,
}

impl<'a> Reader<'a> {
    fn new(name: String, files: &'a mut ExternalFiles) -> Self {
        Self {
            graph: Graph::new(name),
            files,
            kept_values: Vec::new(),
            kept_initializers: Vec::new(),
        }
    }

    fn named(&mut self, name: &str) -> Result<ValueId, LoadError> {
        self.graph.value_named(name).map_err(in_graph(&self.graph))
    }

    fn value(&mut self, mut proto: ValueInfoProto) -> Result<ValueId, LoadError> {
        let name = text(&mut proto.name);
        let id = self.named(&name)?;
        if let Some(declared) = proto.r#type.take() {
            let fact = fact_of_type(&declared);
            if type_of_fact(&fact).as_ref() != Some(&declared) {
                self.keep_type(name, declared);
            }
            let value = self.graph.value_mut(id);
            if matches!(value.fact, Fact::Unknown) {
                value.fact = fact;
            }
        }
        let value = self.graph.value_mut(id);
        if value.doc.is_empty() {
            value.doc = text(&mut proto.doc_string);
        }
        if value.metadata.is_empty() {
            value.metadata = metadata(&mut proto.metadata_props);
        }
        Ok(id)
    }

    fn keep_type(&mut self, name: String, declared: TypeProto) {
        self.kept_values.push(ValueInfoProto {
            name: Some(name),
            r#type: Some(declared),
            ..Default::default()
        });
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
        if proto.doc_string.is_some() || !proto.metadata_props.is_empty() {
            self.kept_initializers.push(TensorProto {
                name: Some(name),
                doc_string: proto.doc_string,
                metadata_props: proto.metadata_props,
                ..Default::default()
            });
        }
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
