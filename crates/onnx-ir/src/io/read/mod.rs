//! Protobuf messages → [`Model`].
//!
//! Messages are taken apart by value, so that tensor data stays where it was decoded. What the
//! graph types do not model is left in the message, and a message that is not empty at the end
//! is encoded again and kept as `preserved`.

mod graph;
mod node;
mod tensor;

use bytes::Bytes;
use prost::Message;

pub(super) use tensor::take_tensor;
use tensor::{rest_of_tensor, sizes};

use super::error::{LoadError, TensorDataError, TensorOwner};
use super::external::ExternalFiles;
use crate::graph::{Graph, SparseTensor};
use crate::model::{Function, Model, OpsetImports};
use crate::proto::{
    FunctionProto, ModelProto, OperatorSetIdProto, SparseTensorProto, StringStringEntryProto,
};

/// Takes `proto` apart.
pub(super) fn model(mut proto: ModelProto, files: &mut ExternalFiles) -> Result<Model, LoadError> {
    let graph = proto.graph.take().ok_or(LoadError::NoGraph)?;
    let functions = std::mem::take(&mut proto.functions);
    Ok(Model {
        ir_version: proto.ir_version.take().unwrap_or_default(),
        opsets: opsets(&mut proto.opset_import)?,
        producer_name: text(&mut proto.producer_name),
        producer_version: text(&mut proto.producer_version),
        domain: text(&mut proto.domain),
        model_version: proto.model_version.take().unwrap_or_default(),
        doc: text(&mut proto.doc_string),
        metadata: metadata(&mut proto.metadata_props),
        graph: graph::graph(graph, files)?,
        functions: functions
            .into_iter()
            .map(|proto| function(proto, files))
            .collect::<Result<_, _>>()?,
        preserved: preserved(&proto),
    })
}

fn function(mut proto: FunctionProto, files: &mut ExternalFiles) -> Result<Function, LoadError> {
    let name = text(&mut proto.name);
    let mut defaults = Vec::new();
    let mut kept = Vec::new();
    for attribute in std::mem::take(&mut proto.attribute_proto) {
        let read = node::attribute(attribute, &name, files)?;
        kept.extend(read.kept);
        defaults.push((read.name, read.value));
    }
    let body = graph::function_body(&name, &mut proto, files)?;
    proto.attribute_proto = kept;
    Ok(Function {
        domain: text(&mut proto.domain),
        name,
        overload: text(&mut proto.overload),
        attributes: std::mem::take(&mut proto.attribute),
        defaults,
        opsets: opsets(&mut proto.opset_import)?,
        body,
        preserved: preserved(&proto),
    })
}

/// Takes the imports out, and leaves those with fields that are not known.
fn opsets(imports: &mut Vec<OperatorSetIdProto>) -> Result<OpsetImports, LoadError> {
    let mut opsets = OpsetImports::default();
    for import in imports.iter() {
        let (domain, second) = (import.domain(), import.version());
        if let Some(first) = opsets.set(domain, second)
            && first != second
        {
            return Err(LoadError::TwoOpsets {
                domain: domain.to_owned(),
                first,
                second,
            });
        }
    }
    imports.retain(|import| import.unknown.is_some());
    Ok(opsets)
}

/// A sparse tensor, and what it does not model, where there is anything. The name of its values is the name of the
/// whole.
fn sparse_tensor(
    proto: SparseTensorProto,
    files: &mut ExternalFiles,
) -> Result<(SparseTensor, Option<SparseTensorProto>), TensorDataError> {
    let (Some(mut values), Some(mut indices)) = (proto.values, proto.indices) else {
        return Err(TensorDataError::IncompleteSparse);
    };
    let sparse = SparseTensor {
        name: text(&mut values.name),
        values: take_tensor(&mut values, files)?,
        indices: take_tensor(&mut indices, files)?,
        dims: sizes(&proto.dims)?,
    };
    let rest = SparseTensorProto {
        values: rest_of_tensor(values),
        indices: rest_of_tensor(indices),
        unknown: proto.unknown,
        ..Default::default()
    };
    Ok((sparse, is_something(rest)))
}

/// `rest`, unless nothing is left in it.
fn is_something<M: Message + Default + PartialEq>(rest: M) -> Option<M> {
    (rest != M::default()).then_some(rest)
}

/// What is left of a message, encoded; nothing for an empty one.
fn preserved(rest: &impl Message) -> Bytes {
    Bytes::from(rest.encode_to_vec())
}

fn text(field: &mut Option<String>) -> String {
    field.take().unwrap_or_default()
}

/// Takes the entries out, and leaves the keys of those with fields that are not known.
fn metadata(field: &mut Vec<StringStringEntryProto>) -> Vec<(String, String)> {
    let pair = |entry: &mut StringStringEntryProto| {
        let value = text(&mut entry.value);
        (entry.key().to_owned(), value)
    };
    let pairs = field.iter_mut().map(pair).collect();
    field.retain(|entry| entry.unknown.is_some());
    pairs
}

/// For `map_err` on what reads an initializer.
fn in_initializer(name: &str) -> impl FnOnce(TensorDataError) -> LoadError {
    let owner = TensorOwner::Initializer(name.to_owned());
    move |source| LoadError::Tensor { owner, source }
}

/// For `map_err` on what builds a graph.
fn in_graph(graph: &Graph) -> impl FnOnce(crate::graph::GraphError) -> LoadError {
    let graph = graph.name.clone();
    move |source| LoadError::Graph { graph, source }
}
