//! `NodeProto` and `AttributeProto` → [`Node`] and [`Attribute`].

use std::collections::HashSet;

use super::{
    graph, is_something, metadata, preserved, rest_of_tensor, sparse_tensor, take_tensor, text,
};
use crate::graph::{Attribute, Node};
use crate::io::error::{LoadError, TensorDataError, TensorOwner};
use crate::io::external::ExternalFiles;
use crate::io::types::fact_of_type;
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, NodeProto};

/// Takes `proto` apart, whose inputs and outputs were taken out before.
pub(super) fn node(mut proto: NodeProto, files: &mut ExternalFiles) -> Result<Node, LoadError> {
    let op_type = text(&mut proto.op_type);
    let name = text(&mut proto.name);
    let shown = if name.is_empty() {
        op_type.clone()
    } else {
        name.clone()
    };
    let mut attributes = Vec::with_capacity(proto.attribute.len());
    let mut kept = Vec::new();
    for attribute in std::mem::take(&mut proto.attribute) {
        let read = self::attribute(attribute, &shown, files)?;
        kept.extend(read.kept);
        attributes.push((read.name, read.value));
    }
    let mut names = HashSet::with_capacity(attributes.len());
    if let Some((twice, _)) = attributes
        .iter()
        .find(|(name, _)| !names.insert(name.as_str()))
    {
        return Err(LoadError::DuplicateAttribute {
            node: shown,
            attribute: twice.clone(),
        });
    }
    proto.attribute = kept;
    Ok(Node {
        name,
        domain: text(&mut proto.domain),
        op_type,
        overload: text(&mut proto.overload),
        attributes: attributes.into_iter().collect(),
        doc: text(&mut proto.doc_string),
        metadata: metadata(&mut proto.metadata_props),
        preserved: preserved(&proto),
        inputs: Vec::new(),
        outputs: Vec::new(),
    })
}

/// An attribute that was read.
pub(super) struct ReadAttribute {
    pub(super) name: String,
    pub(super) value: Attribute,
    /// Name, documentation, what is not known and details of its tensors, where there are any.
    pub(super) kept: Option<AttributeProto>,
}

/// Takes an attribute of the node or function called `node` apart.
pub(super) fn attribute(
    mut proto: AttributeProto,
    node: &str,
    files: &mut ExternalFiles,
) -> Result<ReadAttribute, LoadError> {
    let name = text(&mut proto.name);
    let mut kept = AttributeProto {
        doc_string: proto.doc_string.take(),
        unknown: proto.unknown.take(),
        ..Default::default()
    };
    let value = value(&mut proto, &mut kept, files).map_err(|error| error.of(node, &name))?;
    let kept = is_something(kept).map(|kept| AttributeProto {
        name: Some(name.clone()),
        ..kept
    });
    Ok(ReadAttribute { name, value, kept })
}

fn value(
    proto: &mut AttributeProto,
    kept: &mut AttributeProto,
    files: &mut ExternalFiles,
) -> Result<Attribute, ValueError> {
    use std::mem::take;
    let code = proto.r#type.unwrap_or_default();
    if let Some(name) = proto.ref_attr_name.take().filter(|name| !name.is_empty()) {
        return Ok(Attribute::Reference { name, kind: code });
    }
    let kind = match AttributeType::try_from(code) {
        Ok(AttributeType::Undefined) => kind_of_value(proto),
        Ok(kind) => kind,
        Err(_) => AttributeType::Undefined,
    };
    let missing = || ValueError::Missing { code };
    let other = values_held(proto).into_iter().find(|&held| held != kind);
    if let Some(other) = other.filter(|_| kind != AttributeType::Undefined) {
        let found = other.as_str_name();
        return Err(ValueError::Other { code, found });
    }
    Ok(match kind {
        // Writers of the third protobuf syntax leave zeros out.
        AttributeType::Float => Attribute::Float(proto.f()),
        AttributeType::Int => Attribute::Int(proto.i()),
        AttributeType::String => Attribute::String(proto.s().to_vec()),
        AttributeType::Tensor => {
            let mut tensor = proto.t.take().ok_or_else(missing)?;
            let value = take_tensor(&mut tensor, files)?;
            kept.t = rest_of_tensor(tensor);
            Attribute::Tensor(value)
        }
        AttributeType::Graph => {
            let graph = graph::graph(proto.g.take().ok_or_else(missing)?, files)?;
            Attribute::Graph(graph.into())
        }
        AttributeType::SparseTensor => {
            let sparse = proto.sparse_tensor.take().ok_or_else(missing)?;
            let (value, rest) = sparse_tensor(sparse, files)?;
            kept.sparse_tensor = rest;
            Attribute::SparseTensor(value)
        }
        AttributeType::TypeProto => {
            let declared = proto.tp.take().ok_or_else(missing)?;
            let fact = fact_of_type(&declared);
            kept.tp = Some(declared);
            Attribute::Type(fact)
        }
        AttributeType::Floats => Attribute::Floats(take(&mut proto.floats)),
        AttributeType::Ints => Attribute::Ints(take(&mut proto.ints)),
        AttributeType::Strings => {
            Attribute::Strings(proto.strings.iter().map(|text| text.to_vec()).collect())
        }
        AttributeType::Tensors => {
            let mut values = Vec::with_capacity(proto.tensors.len());
            for mut tensor in take(&mut proto.tensors) {
                values.push(take_tensor(&mut tensor, files)?);
                kept.tensors
                    .push(rest_of_tensor(tensor).unwrap_or_default());
            }
            forget_empty(&mut kept.tensors);
            Attribute::Tensors(values)
        }
        AttributeType::Graphs => {
            let graphs = take(&mut proto.graphs).into_iter();
            let read = graphs.map(|proto| graph::graph(proto, files).map(Into::into));
            Attribute::Graphs(read.collect::<Result<_, LoadError>>()?)
        }
        AttributeType::SparseTensors => {
            let mut values = Vec::with_capacity(proto.sparse_tensors.len());
            for sparse in take(&mut proto.sparse_tensors) {
                let (value, rest) = sparse_tensor(sparse, files)?;
                values.push(value);
                kept.sparse_tensors.push(rest.unwrap_or_default());
            }
            forget_empty(&mut kept.sparse_tensors);
            Attribute::SparseTensors(values)
        }
        AttributeType::TypeProtos => {
            let facts = proto.type_protos.iter().map(fact_of_type).collect();
            kept.type_protos = take(&mut proto.type_protos);
            Attribute::Types(facts)
        }
        AttributeType::Undefined => return Err(missing()),
    })
}

/// Nothing is kept of a list, by position, of which no element has anything to keep.
fn forget_empty<M: Default + PartialEq>(kept: &mut Vec<M>) {
    if kept.iter().all(|rest| *rest == M::default()) {
        kept.clear();
    }
}

/// The type by the field that holds something: files older than IR version 2 do not say it.
fn kind_of_value(proto: &AttributeProto) -> AttributeType {
    let held = values_held(proto).into_iter().next();
    held.unwrap_or(AttributeType::Undefined)
}

/// The types of the fields that hold something.
fn values_held(proto: &AttributeProto) -> Vec<AttributeType> {
    let fields = [
        (proto.f.is_some(), AttributeType::Float),
        (proto.i.is_some(), AttributeType::Int),
        (proto.s.is_some(), AttributeType::String),
        (proto.t.is_some(), AttributeType::Tensor),
        (proto.g.is_some(), AttributeType::Graph),
        (proto.tp.is_some(), AttributeType::TypeProto),
        (proto.sparse_tensor.is_some(), AttributeType::SparseTensor),
        (!proto.floats.is_empty(), AttributeType::Floats),
        (!proto.ints.is_empty(), AttributeType::Ints),
        (!proto.strings.is_empty(), AttributeType::Strings),
        (!proto.tensors.is_empty(), AttributeType::Tensors),
        (!proto.graphs.is_empty(), AttributeType::Graphs),
        (
            !proto.sparse_tensors.is_empty(),
            AttributeType::SparseTensors,
        ),
        (!proto.type_protos.is_empty(), AttributeType::TypeProtos),
    ];
    let held = fields.into_iter().filter(|(is_set, _)| *is_set);
    held.map(|(_, kind)| kind).collect()
}

/// Why an attribute's value cannot be read; node and attribute are added by [`ValueError::of`].
enum ValueError {
    Missing { code: i32 },
    Other { code: i32, found: &'static str },
    Tensor(TensorDataError),
    Graph(LoadError),
}

impl ValueError {
    fn of(self, node: &str, attribute: &str) -> LoadError {
        let (node, attribute) = (node.to_owned(), attribute.to_owned());
        match self {
            Self::Missing { code } => LoadError::NoAttributeValue {
                node,
                attribute,
                code,
            },
            Self::Other { code, found } => LoadError::OtherAttributeValue {
                node,
                attribute,
                code,
                found,
            },
            Self::Tensor(source) => LoadError::Tensor {
                owner: TensorOwner::Attribute { node, attribute },
                source,
            },
            Self::Graph(error) => error,
        }
    }
}

impl From<TensorDataError> for ValueError {
    fn from(source: TensorDataError) -> Self {
        Self::Tensor(source)
    }
}

impl From<LoadError> for ValueError {
    fn from(error: LoadError) -> Self {
        Self::Graph(error)
    }
}
