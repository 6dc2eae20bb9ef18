//! [`Graph`] → `GraphProto`, and the body of a function → `FunctionProto`.

use std::collections::{HashMap, HashSet};

use compress_tensor::{DType, Tensor};
use prost::Message;

use super::node::{declared_type, node};
use super::tensor::{header, sparse_tensor, tensor};
use super::{
    DataFile, GRAPH_INITIALIZER, Pieces, TENSOR_RAW_DATA, decode_preserved, field_head, in_graph,
    metadata, text,
};
use crate::graph::{Graph, ValueId, ValueInfo};
use crate::io::error::SaveError;
use crate::io::types::is_held;
use crate::proto::{
    FunctionProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto,
};

/// The pieces of the main graph, the data of its initializers borrowed.
pub(super) fn pieces<'a>(
    graph: &'a Graph,
    data_file: Option<&DataFile<'a>>,
) -> Result<Pieces<'a>, SaveError> {
    let (proto, mut kept) = without_initializers(graph)?;
    let mut pieces = Pieces::default();
    pieces.push(proto.encode_to_vec());
    for (id, tensor) in graph.initializers() {
        let name = graph.name_of(id);
        let kept = kept.remove(name).unwrap_or_default();
        let data_file = data_file.filter(|file| file.holds(id));
        pieces.push_field(
            GRAPH_INITIALIZER,
            initializer(id, name, tensor, kept, data_file)?,
        );
    }
    Ok(pieces)
}

/// The message of a subgraph, with its initializers.
pub(super) fn graph(graph: &Graph) -> Result<GraphProto, SaveError> {
    let (mut proto, mut kept) = without_initializers(graph)?;
    for (id, value) in graph.initializers() {
        let name = graph.name_of(id);
        proto
            .initializer
            .push(tensor(name, value, kept.remove(name).unwrap_or_default())?);
    }
    Ok(proto)
}

/// Writes a function's body into the message of the function.
pub(super) fn fill_function(body: &Graph, proto: &mut FunctionProto) -> Result<(), SaveError> {
    let kept = kept_by_name(std::mem::take(&mut proto.value_info));
    let name = |id: &ValueId| body.name_of(*id).to_owned();
    proto.input = body.inputs().iter().map(name).collect();
    proto.output = body.outputs().iter().map(name).collect();
    proto.node = nodes(body)?;
    proto.value_info = declared_values(body, &kept, Edges::Listed);
    proto.doc_string = text(&body.doc);
    proto.metadata_props = metadata(&body.metadata, &proto.metadata_props);
    Ok(())
}

fn initializer<'a>(
    id: ValueId,
    name: &str,
    tensor: &'a Tensor,
    kept: TensorProto,
    data_file: Option<&DataFile<'a>>,
) -> Result<Pieces<'a>, SaveError> {
    let mut proto = header(name, tensor, kept)?;
    let mut pieces = Pieces::default();
    if let Some(data_file) = data_file {
        data_file.refer(id, &mut proto);
        pieces.push(proto.encode_to_vec());
        return Ok(pieces);
    }
    pieces.push(proto.encode_to_vec());
    if tensor.dtype() != DType::String {
        let data = tensor.bytes();
        pieces.push(field_head(TENSOR_RAW_DATA, data.len() as u64));
        pieces.push_borrowed(data);
    }
    Ok(pieces)
}

/// The message but for the initializers, and what was kept of those, by name.
fn without_initializers(
    graph: &Graph,
) -> Result<(GraphProto, HashMap<String, TensorProto>), SaveError> {
    let what = || format!("graph `{}`", graph.name);
    let mut proto: GraphProto = decode_preserved(&graph.preserved, what)?;
    let kept_values = kept_by_name(std::mem::take(&mut proto.value_info));
    let mut kept_sparse: HashMap<String, SparseTensorProto> =
        std::mem::take(&mut proto.sparse_initializer)
            .into_iter()
            .filter_map(|proto| Some((proto.values.as_ref()?.name().to_owned(), proto)))
            .collect();
    let kept = std::mem::take(&mut proto.initializer);
    let kept = kept
        .into_iter()
        .map(|proto| (proto.name().to_owned(), proto))
        .collect();

    let listed = |ids: &[ValueId]| -> Vec<ValueInfoProto> {
        ids.iter()
            .map(|&id| value_info(graph.value(id), &kept_values))
            .collect()
    };
    proto.name = Some(graph.name.clone());
    proto.doc_string = text(&graph.doc);
    proto.metadata_props = metadata(&graph.metadata, &proto.metadata_props);
    proto.input = listed(graph.inputs());
    proto.output = listed(graph.outputs());
    proto.value_info = declared_values(graph, &kept_values, Edges::Elsewhere);
    let sparse = graph.sparse_initializers.iter();
    let sparse = sparse.map(|sparse| sparse_tensor(sparse, kept_sparse.remove(&sparse.name)));
    proto.sparse_initializer = sparse.collect::<Result<_, _>>()?;
    proto.node = nodes(graph)?;
    Ok((proto, kept))
}

/// The nodes, each after those that it reads from, as ONNX demands.
fn nodes(graph: &Graph) -> Result<Vec<NodeProto>, SaveError> {
    let order = graph.topological_order().map_err(in_graph(graph))?;
    order
        .into_iter()
        .map(|id| node(graph, graph.node(id)))
        .collect()
}

/// Whether the types of inputs and outputs stand among those of the other values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edges {
    /// They do, as in functions.
    Listed,
    /// They do not: graphs have lists of their own.
    Elsewhere,
}

/// The values that nodes write or nobody touches, where something is known of them, in the order in which the reader
/// meets them first.
///
/// Initializers say their type themselves, captured values are declared where they come from: both only appear
/// where there is more to say.
fn declared_values(
    graph: &Graph,
    kept: &HashMap<String, ValueInfoProto>,
    edges: Edges,
) -> Vec<ValueInfoProto> {
    let is_listed =
        |value: &ValueInfo| edges == Edges::Elsewhere && (value.is_input || value.is_output);
    let is_captured =
        |value: &ValueInfo| value.producer.is_none() && !value.uses.is_empty() && !value.is_input;
    let declared = |id: ValueId| {
        let value = graph.value(id);
        let info = value_info(value, kept);
        let is_typed_elsewhere = graph.initializer(id).is_some() || is_captured(value);
        let is_type_told = |declared| is_typed_elsewhere && is_held(declared);
        let has_more = info.r#type.as_ref().is_some_and(|it| !is_type_told(it))
            || info.doc_string.is_some()
            || info.unknown.is_some()
            || !info.metadata_props.is_empty();
        has_more.then_some(info)
    };
    let mut seen = HashSet::new();
    let first = graph.inputs().iter().copied();
    let first = first.chain(graph.initializers().map(|(id, _)| id));
    let values = first.chain(graph.values().map(|(id, _)| id));
    let values = values.filter(|&id| seen.insert(id) && !is_listed(graph.value(id)));
    values.filter_map(declared).collect()
}

fn value_info(value: &ValueInfo, kept: &HashMap<String, ValueInfoProto>) -> ValueInfoProto {
    let kept = kept.get(&value.name);
    ValueInfoProto {
        name: Some(value.name.clone()),
        r#type: declared_type(&value.fact, kept.and_then(|kept| kept.r#type.as_ref())),
        doc_string: text(&value.doc),
        metadata_props: metadata(
            &value.metadata,
            kept.map_or(&[], |kept| &kept.metadata_props),
        ),
        unknown: kept.and_then(|kept| kept.unknown.clone()),
    }
}

/// What was kept of values; the first to name a value says what it is.
fn kept_by_name(values: Vec<ValueInfoProto>) -> HashMap<String, ValueInfoProto> {
    let mut kept: HashMap<String, ValueInfoProto> = HashMap::with_capacity(values.len());
    for value in values {
        let first = kept.entry(value.name().to_owned()).or_default();
        first.r#type = first.r#type.take().or(value.r#type);
        first.unknown = first.unknown.take().or(value.unknown);
        first.metadata_props.extend(value.metadata_props);
    }
    kept
}
