//! Random models: fields of every kind, set or not, and fields that no version of ONNX knows.
//!
//! A tape of numbers decides everything, so that a shorter tape gives a smaller model: what fails shrinks by itself. A tape
//! that has run out says 0, which stands for "not set" and "no more".

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    SparseTensorProto, StringStringEntryProto, TensorAnnotation, TensorProto, TensorShapeProto,
    TrainingInfoProto, TypeProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use proptest::prelude::*;
use protobuf::{Enum, Message, MessageField, SpecialFields};

use super::assert_round_trip;

/// Numbers of fields that `onnx.proto` does not have.
const NEW_FIELDS: [u32; 3] = [150, 1000, 20_000];
/// Graphs nest no deeper than this.
const MAX_DEPTH: usize = 2;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_of_a_random_model_is_lost(tape in prop::collection::vec(any::<u16>(), 0..1500)) {
        let model = Tape::new(tape).model();
        let bytes = model.write_to_bytes().expect("the oracle writes its own message");
        assert_round_trip(bytes.into(), None, "a random model");
    }
}

/// A source of decisions.
struct Tape {
    numbers: std::vec::IntoIter<u16>,
    /// Names handed out so far.
    names: usize,
}

impl Tape {
    fn new(numbers: Vec<u16>) -> Self {
        Self {
            numbers: numbers.into_iter(),
            names: 0,
        }
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        usize::from(self.numbers.next().unwrap_or(0)) % end.max(1)
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn number(&mut self) -> i64 {
        let small = self.below(7) as i64;
        self.pick(&[small, -1, i64::MAX, i64::MIN, 1 << 40, 300])
    }

    /// Numbers that are equal to themselves, unlike not-a-number.
    fn float(&mut self) -> f32 {
        self.pick(&[0.0, -0.0, 1.5, f32::MIN_POSITIVE, f32::INFINITY, -7.25e30])
    }

    fn text(&mut self) -> String {
        self.pick(&["", "a", "ab c", "größe", "\u{0}", "名前"])
            .to_owned()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = self.below(5);
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    /// A name that nothing else has.
    fn name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}{}", self.names)
    }

    fn many<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.below(most + 1);
        (0..count).map(|_| make(self)).collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> MessageField<T> {
        match self.flag() {
            true => MessageField::some(make(self)),
            false => MessageField::none(),
        }
    }

    /// Fields that nobody knows, of each wire type; a number may come more than once.
    fn unknown(&mut self) -> SpecialFields {
        let mut special = SpecialFields::new();
        if self.below(4) != 3 {
            return special;
        }
        let fields = special.mut_unknown_fields();
        for _ in 0..1 + self.below(3) {
            let field = self.pick(&NEW_FIELDS);
            match self.below(4) {
                0 => fields.add_varint(field, self.number() as u64),
                1 => fields.add_fixed32(field, self.below(70_000) as u32),
                2 => fields.add_fixed64(field, self.number() as u64),
                _ => fields.add_length_delimited(field, self.bytes()),
            }
        }
        special
    }

    fn metadata(&mut self) -> Vec<StringStringEntryProto> {
        self.many(2, |tape| StringStringEntryProto {
            key: tape.name("key"),
            value: tape.text(),
            special_fields: tape.unknown(),
        })
    }

    fn model(&mut self) -> ModelProto {
        ModelProto {
            ir_version: self.number(),
            opset_import: self.opsets(),
            producer_name: self.text(),
            producer_version: self.text(),
            domain: self.text(),
            model_version: self.number(),
            doc_string: self.text(),
            graph: MessageField::some(self.graph(0)),
            metadata_props: self.metadata(),
            training_info: self.many(1, |tape| TrainingInfoProto {
                initialization: tape.maybe(|tape| tape.graph(1)),
                algorithm: tape.maybe(|tape| tape.graph(1)),
                initialization_binding: tape.metadata(),
                update_binding: tape.metadata(),
                special_fields: tape.unknown(),
            }),
            functions: self.many(2, Self::function),
            special_fields: self.unknown(),
        }
    }

    fn opsets(&mut self) -> Vec<OperatorSetIdProto> {
        let mut imports = self.many(2, |tape| OperatorSetIdProto {
            domain: tape.name("com.example"),
            version: tape.number(),
            special_fields: tape.unknown(),
        });
        if let Some(first) = imports.first_mut() {
            first.domain = self.pick(&["", "ai.onnx", "com.example"]).to_owned();
        }
        imports
    }

    fn graph(&mut self, depth: usize) -> GraphProto {
        let input = self.many(2, |tape| {
            let name = tape.name("x");
            tape.value(name)
        });
        let mut known: Vec<String> = input.iter().map(|value| value.name.clone()).collect();
        let initializer = self.many(2, |tape| {
            let name = tape.name("w");
            tape.tensor(name)
        });
        known.extend(initializer.iter().map(|tensor| tensor.name.clone()));
        let sparse_initializer = self.many(1, |tape| {
            let name = tape.name("s");
            tape.sparse(name)
        });
        let node = self.nodes(&mut known, depth);
        let value_info = self.many(2, |tape| {
            let name = tape.name("info");
            tape.value(name)
        });
        // What is an input as well has one documentation here, and a file may give it two.
        let written: Vec<String> = node.iter().flat_map(|node| node.output.clone()).collect();
        let output = match written.last() {
            Some(last) if !last.is_empty() && self.flag() => vec![self.value(last.clone())],
            _ => Vec::new(),
        };
        GraphProto {
            node,
            name: self.text(),
            initializer,
            sparse_initializer,
            doc_string: self.text(),
            input,
            output,
            value_info,
            quantization_annotation: self.many(1, |tape| TensorAnnotation {
                tensor_name: tape.text(),
                quant_parameter_tensor_names: tape.metadata(),
                special_fields: tape.unknown(),
            }),
            metadata_props: self.metadata(),
            special_fields: self.unknown(),
        }
    }

    /// Nodes that read what is known and write new names, in an order that may stay.
    fn nodes(&mut self, known: &mut Vec<String>, depth: usize) -> Vec<NodeProto> {
        let count = self.below(4);
        let mut nodes = Vec::new();
        for _ in 0..count {
            let input = self.many(3, |tape| match tape.below(known.len() + 2) {
                0 => String::new(),
                1 => "from around".to_owned(),
                known_at => known[known_at - 2].clone(),
            });
            let output = self.many(2, |tape| match tape.flag() {
                true => tape.name("y"),
                false => String::new(),
            });
            known.extend(output.iter().filter(|name| !name.is_empty()).cloned());
            nodes.push(NodeProto {
                input,
                output,
                name: self.text(),
                op_type: self.text(),
                domain: self.pick(&["", "ai.onnx", "com.example"]).to_owned(),
                overload: self.text(),
                attribute: self.many(3, |tape| {
                    let name = tape.name("attribute");
                    tape.attribute(name, depth)
                }),
                doc_string: self.text(),
                metadata_props: self.metadata(),
                special_fields: self.unknown(),
            });
        }
        nodes
    }

    fn function(&mut self) -> FunctionProto {
        let input: Vec<String> = self.many(2, |tape| tape.name("parameter"));
        let mut known = input.clone();
        let node = self.nodes(&mut known, 1);
        FunctionProto {
            name: self.name("Function"),
            input,
            output: known.pop().into_iter().collect(),
            attribute: self.many(2, |tape| tape.name("argument")),
            attribute_proto: self.many(1, |tape| {
                let name = tape.name("default");
                tape.attribute(name, MAX_DEPTH)
            }),
            node,
            doc_string: self.text(),
            opset_import: self.opsets(),
            domain: self.text(),
            overload: self.text(),
            value_info: Vec::new(),
            metadata_props: self.metadata(),
            special_fields: self.unknown(),
        }
    }

    fn attribute(&mut self, name: String, depth: usize) -> AttributeProto {
        let mut attribute = AttributeProto {
            name,
            doc_string: self.text(),
            special_fields: self.unknown(),
            ..AttributeProto::default()
        };
        let kinds = &AttributeType::VALUES[1..];
        let mut kind = self.pick(kinds);
        let holds_graphs = matches!(kind, AttributeType::GRAPH | AttributeType::GRAPHS);
        if holds_graphs && depth >= MAX_DEPTH {
            kind = AttributeType::INT;
        }
        attribute.type_ = kind.into();
        if self.below(6) == 5 {
            attribute.ref_attr_name = self.name("argument");
            return attribute;
        }
        match kind {
            AttributeType::FLOAT => attribute.f = self.float(),
            AttributeType::INT => attribute.i = self.number(),
            AttributeType::STRING => attribute.s = self.bytes(),
            AttributeType::TENSOR => attribute.t = MessageField::some(self.loose_tensor()),
            AttributeType::GRAPH => attribute.g = MessageField::some(self.graph(depth + 1)),
            AttributeType::SPARSE_TENSOR => {
                let name = self.text();
                attribute.sparse_tensor = MessageField::some(self.sparse(name));
            }
            AttributeType::TYPE_PROTO => attribute.tp = MessageField::some(self.type_(2)),
            AttributeType::FLOATS => attribute.floats = self.many(3, Self::float),
            AttributeType::INTS => attribute.ints = self.many(3, Self::number),
            AttributeType::STRINGS => attribute.strings = self.many(3, Self::bytes),
            AttributeType::TENSORS => attribute.tensors = self.many(2, Self::loose_tensor),
            AttributeType::GRAPHS => {
                attribute.graphs = self.many(2, |tape| tape.graph(depth + 1));
            }
            AttributeType::SPARSE_TENSORS => {
                attribute.sparse_tensors = self.many(2, |tape| {
                    let name = tape.text();
                    tape.sparse(name)
                });
            }
            AttributeType::TYPE_PROTOS => attribute.type_protos = self.many(2, |t| t.type_(2)),
            AttributeType::UNDEFINED => {}
        }
        attribute
    }

    fn loose_tensor(&mut self) -> TensorProto {
        let name = self.text();
        self.tensor(name)
    }

    fn tensor(&mut self, name: String) -> TensorProto {
        let dims: Vec<i64> = self.many(3, |tape| tape.below(4) as i64);
        self.tensor_of(name, dims)
    }

    /// A tensor of any element type, its data raw or in the field that is its type's.
    fn tensor_of(&mut self, name: String, dims: Vec<i64>) -> TensorProto {
        let count = dims.iter().product::<i64>() as usize;
        let mut tensor = TensorProto {
            dims,
            name,
            doc_string: self.text(),
            metadata_props: self.metadata(),
            special_fields: self.unknown(),
            ..TensorProto::default()
        };
        use DataType as D;
        // Element type, bits, and whether elements may stand in `int32_data`, one by one.
        let (kind, bits, in_int32) = self.pick(&[
            (D::FLOAT, 32, false),
            (D::DOUBLE, 64, false),
            (D::INT64, 64, false),
            (D::UINT64, 64, false),
            (D::UINT32, 32, false),
            (D::COMPLEX64, 64, false),
            (D::COMPLEX128, 128, false),
            (D::STRING, 0, false),
            (D::INT32, 32, true),
            (D::INT16, 16, true),
            (D::UINT16, 16, true),
            (D::FLOAT16, 16, true),
            (D::BFLOAT16, 16, true),
            (D::INT8, 8, true),
            (D::UINT8, 8, true),
            (D::BOOL, 8, true),
            (D::FLOAT8E4M3FN, 8, true),
            (D::FLOAT8E5M2, 8, true),
            (D::UINT4, 4, false),
            (D::INT4, 4, false),
        ]);
        tensor.data_type = kind as i32;
        let small = |tape: &mut Self| tape.below(2) as i32;
        match kind {
            D::STRING => {
                tensor.string_data = (0..count).map(|_| self.text().into_bytes()).collect();
            }
            D::FLOAT if self.flag() => {
                tensor.float_data = (0..count).map(|_| self.float()).collect();
            }
            D::DOUBLE if self.flag() => {
                tensor.double_data = (0..count).map(|_| self.float().into()).collect();
            }
            D::INT64 if self.flag() => {
                tensor.int64_data = (0..count).map(|_| self.number()).collect();
            }
            D::UINT64 if self.flag() => {
                tensor.uint64_data = (0..count).map(|_| self.number() as u64).collect();
            }
            D::UINT32 if self.flag() => {
                tensor.uint64_data = (0..count).map(|_| self.below(70_000) as u64).collect();
            }
            _ if in_int32 && self.flag() => {
                tensor.int32_data = (0..count).map(|_| small(self)).collect();
            }
            _ => {
                let len = (count * bits).div_ceil(8);
                tensor.raw_data = (0..len).map(|_| small(self) as u8).collect();
            }
        }
        tensor
    }

    fn sparse(&mut self, name: String) -> SparseTensorProto {
        let count = self.below(3) as i64;
        let indices = TensorProto {
            dims: vec![count],
            data_type: DataType::INT64 as i32,
            int64_data: (0..count).collect(),
            special_fields: self.unknown(),
            ..TensorProto::default()
        };
        SparseTensorProto {
            values: MessageField::some(self.tensor_of(name, vec![count])),
            indices: MessageField::some(indices),
            dims: vec![2, 3],
            special_fields: self.unknown(),
        }
    }

    fn value(&mut self, name: String) -> ValueInfoProto {
        ValueInfoProto {
            name,
            type_: self.maybe(|tape| tape.type_(2)),
            doc_string: self.text(),
            metadata_props: self.metadata(),
            special_fields: self.unknown(),
        }
    }

    /// A type, with at most `depth` more within.
    fn type_(&mut self, depth: usize) -> TypeProto {
        let inner = |tape: &mut Self| match depth {
            0 => MessageField::none(),
            _ => tape.maybe(|tape| tape.type_(depth - 1)),
        };
        let value = match self.below(6) {
            0 => None,
            1 => Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: self.element_type(),
                shape: self.maybe(Self::shape),
                special_fields: self.unknown(),
            })),
            2 => Some(type_proto::Value::SparseTensorType(
                type_proto::SparseTensor {
                    elem_type: self.element_type(),
                    shape: self.maybe(Self::shape),
                    special_fields: self.unknown(),
                },
            )),
            3 => Some(type_proto::Value::SequenceType(type_proto::Sequence {
                elem_type: inner(self),
                special_fields: self.unknown(),
            })),
            4 => Some(type_proto::Value::OptionalType(type_proto::Optional {
                elem_type: inner(self),
                special_fields: self.unknown(),
            })),
            _ => Some(type_proto::Value::MapType(type_proto::Map {
                key_type: self.element_type(),
                value_type: inner(self),
                special_fields: self.unknown(),
            })),
        };
        TypeProto {
            denotation: self.text(),
            value,
            special_fields: self.unknown(),
        }
    }

    /// A code of an element type, or one that has no meaning yet.
    fn element_type(&mut self) -> i32 {
        self.pick(&[0, 1, 7, 8, 9, 22, 99])
    }

    fn shape(&mut self) -> TensorShapeProto {
        use tensor_shape_proto::dimension::Value;
        TensorShapeProto {
            dim: self.many(3, |tape| tensor_shape_proto::Dimension {
                denotation: tape.text(),
                value: match tape.below(3) {
                    0 => None,
                    1 => Some(Value::DimValue(tape.below(1000) as i64)),
                    _ => Some(Value::DimParam(tape.name("n"))),
                },
                special_fields: tape.unknown(),
            }),
            special_fields: self.unknown(),
        }
    }
}
