//! `TypeProto` ↔ [`Fact`].
//!
//! A fact keeps kind, element type and shape. Denotations, opaque types and unknown fields have no place in it;
//! the reader notices what does not come back the same and keeps it beside the graph.

use crate::fact::{Fact, TensorFact};
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::type_proto::{self, Value};
use crate::proto::{TensorShapeProto, TypeProto};
use crate::symbolic::Dim;

use super::element_type::{code_of_dtype, dtype_of_code};

/// What a declared type says of a value.
pub(super) fn fact_of_type(proto: &TypeProto) -> Fact {
    let inner = |elem: &Option<Box<TypeProto>>| {
        Box::new(elem.as_deref().map_or(Fact::Unknown, fact_of_type))
    };
    match &proto.value {
        Some(Value::TensorType(tensor)) => {
            Fact::Tensor(tensor_fact(tensor.elem_type, tensor.shape.as_ref()))
        }
        Some(Value::SparseTensorType(tensor)) => {
            Fact::SparseTensor(tensor_fact(tensor.elem_type, tensor.shape.as_ref()))
        }
        Some(Value::SequenceType(sequence)) => Fact::Sequence(inner(&sequence.elem_type)),
        Some(Value::OptionalType(optional)) => Fact::Optional(inner(&optional.elem_type)),
        Some(Value::MapType(map)) => match map.key_type.and_then(dtype_of_code) {
            Some(key) => Fact::Map(key, inner(&map.value_type)),
            None => Fact::Unknown,
        },
        Some(Value::OpaqueType(_)) | None => Fact::Unknown,
    }
}

/// The declared type that says what a fact knows; `None` where it knows nothing.
pub(super) fn type_of_fact(fact: &Fact) -> Option<TypeProto> {
    let inner = |fact: &Fact| type_of_fact(fact).map(Box::new);
    let value = match fact {
        Fact::Unknown => return None,
        Fact::Tensor(tensor) => Value::TensorType(type_proto::Tensor {
            elem_type: tensor.dtype.and_then(code_of_dtype),
            shape: shape_of_fact(tensor),
            ..Default::default()
        }),
        Fact::SparseTensor(tensor) => Value::SparseTensorType(type_proto::SparseTensor {
            elem_type: tensor.dtype.and_then(code_of_dtype),
            shape: shape_of_fact(tensor),
            ..Default::default()
        }),
        Fact::Sequence(element) => Value::SequenceType(Box::new(type_proto::Sequence {
            elem_type: inner(element),
            ..Default::default()
        })),
        Fact::Optional(element) => Value::OptionalType(Box::new(type_proto::Optional {
            elem_type: inner(element),
            ..Default::default()
        })),
        Fact::Map(key, value) => Value::MapType(Box::new(type_proto::Map {
            key_type: code_of_dtype(*key),
            value_type: inner(value),
            ..Default::default()
        })),
    };
    Some(TypeProto {
        value: Some(value),
        ..Default::default()
    })
}

/// Whether a fact holds all that a declared type says.
pub(super) fn is_held(proto: &TypeProto) -> bool {
    type_of_fact(&fact_of_type(proto)).as_ref() == Some(proto)
}

fn tensor_fact(code: Option<i32>, shape: Option<&TensorShapeProto>) -> TensorFact {
    let dims = shape.map(|shape| shape.dim.iter().map(dim).collect());
    TensorFact::with_shape(code.and_then(dtype_of_code), dims)
}

fn dim(proto: &Dimension) -> Dim {
    match &proto.value {
        Some(dimension::Value::DimValue(size)) if *size >= 0 => Dim::Known(*size),
        Some(dimension::Value::DimParam(name)) if !name.is_empty() => Dim::symbol(name),
        _ => Dim::Unknown,
    }
}

fn shape_of_fact(tensor: &TensorFact) -> Option<TensorShapeProto> {
    let dimension = |dim: &Dim| Dimension {
        value: match dim {
            Dim::Known(size) => Some(dimension::Value::DimValue(*size)),
            Dim::Symbolic(_) => Some(dimension::Value::DimParam(dim.to_string())),
            Dim::Unknown => None,
        },
        ..Default::default()
    };
    let dims = tensor.shape.as_ref()?;
    Some(TensorShapeProto {
        dim: dims.iter().map(dimension).collect(),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use compress_tensor::DType;

    #[test]
    fn what_a_fact_can_hold_comes_back_the_same() {
        let shape = [Dim::symbol("batch"), Dim::Known(3), Dim::Unknown];
        let image = Fact::tensor(DType::F32, shape);
        let facts = [
            image.clone(),
            Fact::Tensor(TensorFact::of_dtype(Some(DType::I4))),
            Fact::tensor(DType::String, Vec::<Dim>::new()),
            Fact::Sequence(Box::new(image.clone())),
            Fact::Optional(Box::new(Fact::Sequence(Box::new(image.clone())))),
            Fact::Map(DType::I64, Box::new(image)),
        ];
        for fact in facts {
            let proto = type_of_fact(&fact).expect("a known type");
            assert_eq!(type_of_fact(&fact_of_type(&proto)), Some(proto), "{fact}");
        }
    }

    #[test]
    fn a_negative_size_and_an_empty_name_are_unknown_dimensions() {
        for value in [
            dimension::Value::DimValue(-1),
            dimension::Value::DimParam(String::new()),
        ] {
            let proto = Dimension {
                value: Some(value),
                ..Default::default()
            };
            assert!(dim(&proto).is_unknown());
        }
    }
}
