//! [`Node`] and [`Attribute`] → `NodeProto` and `AttributeProto`.

use std::collections::HashMap;

use bytes::Bytes;

use super::tensor::{sparse_tensor, tensor};
use super::{decode_preserved, graph, metadata, text};
use crate::fact::Fact;
use crate::graph::{Attribute, Graph, Node};
use crate::io::error::SaveError;
use crate::io::types::{fact_of_type, type_of_fact};
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, NodeProto, TypeProto};

/// The message of a node of `graph`.
pub(super) fn node(graph: &Graph, node: &Node) -> Result<NodeProto, SaveError> {
    let what = || format!("node `{}`", node.name);
    let mut proto: NodeProto = decode_preserved(&node.preserved, what)?;
    let kept = std::mem::take(&mut proto.attribute);
    let name_of = |id: &Option<_>| id.map_or_else(String::new, |id| graph.name_of(id).to_owned());
    Ok(NodeProto {
        input: node.inputs().iter().map(name_of).collect(),
        output: node.outputs().iter().map(name_of).collect(),
        name: text(&node.name),
        op_type: text(&node.op_type),
        domain: text(&node.domain),
        overload: text(&node.overload),
        attribute: attributes(node.attributes.iter(), kept)?,
        doc_string: text(&node.doc),
        metadata_props: metadata(&node.metadata, &proto.metadata_props),
        ..proto
    })
}

/// The messages of attributes; `kept` is, by name, what an attribute does not model.
pub(super) fn attributes<'a>(
    attributes: impl Iterator<Item = (&'a str, &'a Attribute)>,
    kept: Vec<AttributeProto>,
) -> Result<Vec<AttributeProto>, SaveError> {
    let mut kept: HashMap<String, AttributeProto> = kept
        .into_iter()
        .map(|proto| (proto.name().to_owned(), proto))
        .collect();
    let message = |(name, value): (&str, &Attribute)| {
        attribute(name, value, kept.remove(name).unwrap_or_default())
    };
    attributes.map(message).collect()
}

fn attribute(
    name: &str,
    value: &Attribute,
    kept: AttributeProto,
) -> Result<AttributeProto, SaveError> {
    let mut proto = AttributeProto {
        name: Some(name.to_owned()),
        doc_string: kept.doc_string,
        unknown: kept.unknown,
        ..Default::default()
    };
    let kind = match value {
        Attribute::Float(value) => {
            proto.f = Some(*value);
            AttributeType::Float
        }
        Attribute::Int(value) => {
            proto.i = Some(*value);
            AttributeType::Int
        }
        Attribute::String(value) => {
            proto.s = Some(Bytes::copy_from_slice(value));
            AttributeType::String
        }
        Attribute::Tensor(value) => {
            proto.t = Some(tensor("", value, kept.t.unwrap_or_default())?);
            AttributeType::Tensor
        }
        Attribute::Graph(value) => {
            proto.g = Some(graph::graph(value)?);
            AttributeType::Graph
        }
        Attribute::SparseTensor(value) => {
            proto.sparse_tensor = Some(sparse_tensor(value, kept.sparse_tensor)?);
            AttributeType::SparseTensor
        }
        Attribute::Type(fact) => {
            proto.tp = declared_type(fact, kept.tp.as_ref());
            AttributeType::TypeProto
        }
        Attribute::Floats(values) => {
            proto.floats.clone_from(values);
            AttributeType::Floats
        }
        Attribute::Ints(values) => {
            proto.ints.clone_from(values);
            AttributeType::Ints
        }
        Attribute::Strings(values) => {
            proto.strings = values
                .iter()
                .map(|value| Bytes::copy_from_slice(value))
                .collect();
            AttributeType::Strings
        }
        Attribute::Tensors(values) => {
            let mut kept = kept.tensors.into_iter();
            let messages = values
                .iter()
                .map(|value| tensor("", value, kept.next().unwrap_or_default()));
            proto.tensors = messages.collect::<Result<_, _>>()?;
            AttributeType::Tensors
        }
        Attribute::Graphs(values) => {
            let messages = values.iter().map(|value| graph::graph(value));
            proto.graphs = messages.collect::<Result<_, _>>()?;
            AttributeType::Graphs
        }
        Attribute::SparseTensors(values) => {
            let mut kept = kept.sparse_tensors.into_iter();
            let messages = values.iter().map(|value| sparse_tensor(value, kept.next()));
            proto.sparse_tensors = messages.collect::<Result<_, _>>()?;
            AttributeType::SparseTensors
        }
        Attribute::Types(facts) => {
            let mut kept = kept.type_protos.iter();
            let types = facts
                .iter()
                .map(|fact| declared_type(fact, kept.next()).unwrap_or_default());
            proto.type_protos = types.collect();
            AttributeType::TypeProtos
        }
        Attribute::Reference { name, kind } => {
            proto.ref_attr_name = Some(name.clone());
            proto.r#type = Some(*kind);
            return Ok(proto);
        }
    };
    proto.r#type = Some(kind as i32);
    Ok(proto)
}

/// The type that `fact` declares: the one that was read, where the fact is still what it said.
pub(super) fn declared_type(fact: &Fact, kept: Option<&TypeProto>) -> Option<TypeProto> {
    let declared = type_of_fact(fact);
    match kept {
        Some(kept) if type_of_fact(&fact_of_type(kept)) == declared => Some(kept.clone()),
        _ => declared,
    }
}
