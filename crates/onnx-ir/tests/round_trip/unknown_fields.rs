//! Fields of ONNX versions to come, in every message of a model that holds all there is.

use bytes::Bytes;
use onnx_ir::Model;
use onnx_ir::proto::Message;

use super::assert_round_trip;
use super::everything::everything;

/// The messages of `onnx.proto` by the fields that hold messages.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Value,
    Type,
    TensorType,
    ElementType,
    Shape,
    Function,
    Training,
    Annotation,
    Leaf,
}

impl Kind {
    fn of_field(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) | (Self::Training, 1 | 2) => Self::Graph,
            (Self::Model, 8 | 14 | 26) | (Self::Function, 9 | 14) => Self::Leaf,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::Sparse, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::Sparse,
            (Self::Graph, 11..=13) | (Self::Function, 12) => Self::Value,
            (Self::Graph, 14) => Self::Annotation,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Value, 2) | (Self::Attribute, 14 | 15) | (Self::ElementType, 1) => Self::Type,
            (Self::Type, 1 | 8) => Self::TensorType,
            (Self::Type, 4 | 9) => Self::ElementType,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Shape, 1)
            | (Self::Type, 7)
            | (Self::Graph, 16)
            | (Self::Node, 9 | 10)
            | (Self::Tensor, 16)
            | (Self::Value, 4)
            | (Self::Training, 3 | 4)
            | (Self::Annotation, 2) => Self::Leaf,
            _ => return None,
        })
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (&first, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(first & 127) << shift;
        if first < 128 {
            break;
        }
    }
    value
}

fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The number of the field that no version of ONNX has.
const NEW: u64 = 1000;

/// Copies a message; `add` gives each message in it, the innermost first, a new field with the next number, and
/// without it the numbers that stand there are collected.
fn walk(kind: Kind, mut bytes: &[u8], add: bool, numbers: &mut Vec<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        push_varint(key, &mut out);
        match key & 7 {
            0 => {
                let value = varint(&mut bytes);
                if key >> 3 == NEW {
                    numbers.push(value);
                }
                push_varint(value, &mut out);
            }
            2 => {
                let len = varint(&mut bytes) as usize;
                let (content, rest) = bytes.split_at(len);
                bytes = rest;
                let content = match kind.of_field(key >> 3) {
                    Some(inner) => walk(inner, content, add, numbers),
                    None => content.to_vec(),
                };
                push_varint(content.len() as u64, &mut out);
                out.extend(content);
            }
            wire_type => {
                let (value, rest) = bytes.split_at(if wire_type == 1 { 8 } else { 4 });
                bytes = rest;
                out.extend(value);
            }
        }
    }
    if add {
        let number = numbers.len() as u64;
        numbers.push(number);
        push_varint(NEW << 3, &mut out);
        push_varint(number, &mut out);
    }
    out
}

#[test]
fn new_fields_of_every_message_survive() {
    let mut added = Vec::new();
    let file = Bytes::from(walk(
        Kind::Model,
        &everything().encode_to_vec(),
        true,
        &mut added,
    ));
    assert!(added.len() > 90, "only {} messages", added.len());
    assert_round_trip(file.clone(), None, "everything and more");

    let saved = Model::load_bytes(file, None).map(|model| model.to_bytes());
    let saved = saved.expect("loads").expect("saves");
    let mut found = Vec::new();
    walk(Kind::Model, &saved, false, &mut found);
    found.sort_unstable();
    assert_eq!(found, added);
}

#[test]
fn tensor_data_beside_new_fields_stays_in_the_file() {
    let file = Bytes::from(walk(
        Kind::Model,
        &everything().encode_to_vec(),
        true,
        &mut Vec::new(),
    ));
    let model = Model::load_bytes(file.clone(), None).expect("loads");
    let raw = everything().graph.expect("a graph").initializer;
    let raw = raw.iter().filter(|tensor| tensor.raw_data.is_some());
    let mut shared = 0;
    for tensor in raw {
        let id = model.graph.value_by_name(tensor.name()).expect("there");
        let data = model.graph.initializer(id).expect("a tensor").bytes();
        assert!(
            file.as_ptr_range().contains(&data.as_ptr()),
            "{} was copied",
            tensor.name()
        );
        shared += 1;
    }
    assert!(shared > 0, "no raw data in the model");
}
