//! [`Graph`] → `GraphProto`, and the body of a function → `FunctionProto`.

use std::collections::HashMap;

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
use crate::proto::{FunctionProto, GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto};

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
    let types = types_by_name(std::mem::take(&mut proto.value_info));
    let name = |id: &ValueId| body.name_of(*id).to_owned();
    proto.input = body.inputs().iter().map(name).collect();
    proto.output = body.outputs().iter().map(name).collect();
    proto.node = nodes(body)?;
    proto.value_info = declared_values(body, &types, Edges::Listed);
    proto.doc_string = text(&body.doc);
    proto.metadata_props = metadata(&body.metadata);
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
    let types = types_by_name(std::mem::take(&mut proto.value_info));
    let kept = std::mem::take(&mut proto.initializer);
    let kept = kept
        .into_iter()
        .map(|proto| (proto.name().to_owned(), proto))
        .collect();

    let listed = |ids: &[ValueId]| -> Vec<ValueInfoProto> {
        ids.iter()
            .map(|&id| value_info(graph.value(id), &types))
            .collect()
    };
    proto.name = Some(graph.name.clone());
    proto.doc_string = text(&graph.doc);
    proto.metadata_props = metadata(&graph.metadata);
    proto.input = listed(graph.inputs());
    proto.output = listed(graph.outputs());
    proto.value_info = declared_values(graph, &types, Edges::Elsewhere);
    let sparse = graph.sparse_initializers.iter();
    proto.sparse_initializer = sparse.map(sparse_tensor).collect::<Result<_, _>>()?;
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

/// The values that nodes write or nobody touches, where something is known of them.
///
/// Initializers say their type themselves, captured values are declared where they come from.
fn declared_values(
    graph: &Graph,
    types: &HashMap<String, TypeProto>,
    edges: Edges,
) -> Vec<ValueInfoProto> {
    let is_elsewhere = |id, value: &ValueInfo| {
        let is_edge = value.is_input || value.is_output;
        graph.initializer(id).is_some() || is_edge && edges == Edges::Elsewhere
    };
    let is_captured =
        |value: &ValueInfo| value.producer.is_none() && !value.uses.is_empty() && !value.is_input;
    let values = graph.values();
    let values = values.filter(|&(id, value)| !is_elsewhere(id, value) && !is_captured(value));
    let infos = values.map(|(_, value)| value_info(value, types));
    infos.filter(says_something).collect()
}

fn says_something(info: &ValueInfoProto) -> bool {
    info.r#type.is_some() || info.doc_string.is_some() || !info.metadata_props.is_empty()
}

fn value_info(value: &ValueInfo, types: &HashMap<String, TypeProto>) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(value.name.clone()),
        r#type: declared_type(&value.fact, types.get(&value.name)),
        doc_string: text(&value.doc),
        metadata_props: metadata(&value.metadata),
    }
}

fn types_by_name(values: Vec<ValueInfoProto>) -> HashMap<String, TypeProto> {
    let pair = |value: ValueInfoProto| Some((value.name?, value.r#type?));
    values.into_iter().filter_map(pair).collect()
}
