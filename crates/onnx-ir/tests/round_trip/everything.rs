//! A model with everything that the graph types do not model.

use bytes::Bytes;
use onnx_ir::Model;
use onnx_ir::proto::attribute_proto::AttributeType;
use onnx_ir::proto::tensor_shape_proto::{Dimension, dimension};
use onnx_ir::proto::type_proto::{self, Value};
use onnx_ir::proto::*;

use super::assert_round_trip;

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value.into()),
        ..Default::default()
    }
}

fn floats(name: &str, dims: &[i64]) -> TensorProto {
    let count: i64 = dims.iter().product();
    let data: Vec<u8> = (0..count).flat_map(|n| (n as f32).to_le_bytes()).collect();
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(1),
        raw_data: Some(data.into()),
        ..Default::default()
    }
}

fn value(name: &str, dims: &[&str]) -> ValueInfoProto {
    let dim = |param: &&str| Dimension {
        value: Some(match param.parse() {
            Ok(size) => dimension::Value::DimValue(size),
            Err(_) => dimension::Value::DimParam((*param).into()),
        }),
        denotation: (*param == "N").then(|| "DATA_BATCH".into()),
        ..Default::default()
    };
    let shape = TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
        ..Default::default()
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            value: Some(Value::TensorType(type_proto::Tensor {
                elem_type: Some(1),
                shape: Some(shape),
                ..Default::default()
            })),
            denotation: Some("IMAGE".into()),
            ..Default::default()
        }),
        doc_string: Some(format!("what {name} is")),
        metadata_props: vec![entry("unit", "pixel")],
        ..Default::default()
    }
}

fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: Some(op_type.into()),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: outputs.iter().map(|&name| name.into()).collect(),
        ..Default::default()
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(kind as i32),
        ..Default::default()
    }
}

fn import(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto {
        domain: Some(domain.into()),
        version: Some(version),
        ..Default::default()
    }
}

pub(crate) fn everything() -> ModelProto {
    let sparse = SparseTensorProto {
        values: Some(floats("sparse", &[2])),
        indices: Some(TensorProto {
            dims: vec![2],
            data_type: Some(7),
            int64_data: vec![1, 5],
            ..Default::default()
        }),
        dims: vec![2, 3],
        ..Default::default()
    };
    let opaque = TypeProto {
        value: Some(Value::OpaqueType(type_proto::Opaque {
            domain: Some("com.example".into()),
            name: Some("Handle".into()),
            ..Default::default()
        })),
        ..Default::default()
    };
    let unknown = NodeProto {
        name: Some("mystery".into()),
        domain: Some("com.example".into()),
        overload: Some("fast".into()),
        doc_string: Some("nobody knows".into()),
        metadata_props: vec![entry("source", "line 7")],
        device_configurations: vec![NodeDeviceConfigurationProto {
            configuration_id: Some("two chips".into()),
            pipeline_stage: Some(1),
            ..Default::default()
        }],
        attribute: vec![
            AttributeProto {
                s: Some(Bytes::from_static(&[0xff, 0x00, 0x41])),
                doc_string: Some("not UTF-8".into()),
                ..attribute("blob", AttributeType::String)
            },
            AttributeProto {
                t: Some(TensorProto {
                    doc_string: Some("a table".into()),
                    ..floats("table", &[2])
                }),
                ..attribute("table", AttributeType::Tensor)
            },
            AttributeProto {
                tp: Some(opaque.clone()),
                ..attribute("type", AttributeType::TypeProto)
            },
            AttributeProto {
                strings: vec![Bytes::from_static(b"a"), Bytes::new()],
                ..attribute("names", AttributeType::Strings)
            },
            AttributeProto {
                sparse_tensor: Some(sparse.clone()),
                ..attribute("sparse", AttributeType::SparseTensor)
            },
            AttributeProto {
                floats: vec![0.5, -1.0],
                ..attribute("f", AttributeType::Floats)
            },
        ],
        ..node("Mystery", &["x", "", "w"], &["m", ""])
    };
    let body = |value: &str| GraphProto {
        name: Some(format!("body of {value}")),
        node: vec![node("Identity", &[value], &["inner"])],
        initializer: vec![floats("local", &[1])],
        output: vec![self::value("inner", &["N"])],
        ..Default::default()
    };
    let choice = NodeProto {
        attribute: vec![
            AttributeProto {
                g: Some(body("m")),
                ..attribute("then_branch", AttributeType::Graph)
            },
            AttributeProto {
                g: Some(body("x")),
                ..attribute("else_branch", AttributeType::Graph)
            },
        ],
        ..node("If", &["flag"], &["y"])
    };
    let function = FunctionProto {
        name: Some("Twice".into()),
        domain: Some("com.example".into()),
        overload: Some("a".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        attribute: vec!["scale".into()],
        attribute_proto: vec![AttributeProto {
            i: Some(3),
            doc_string: Some("a default".into()),
            ..attribute("count", AttributeType::Int)
        }],
        node: vec![NodeProto {
            attribute: vec![AttributeProto {
                ref_attr_name: Some("scale".into()),
                ..attribute("alpha", AttributeType::Float)
            }],
            ..node("Elu", &["a"], &["b"])
        }],
        doc_string: Some("doubles".into()),
        opset_import: vec![import("", 17)],
        value_info: vec![value("a", &["N"]), value("b", &["N"])],
        metadata_props: vec![entry("k", "v")],
        ..Default::default()
    };
    let graph = GraphProto {
        name: Some("main".into()),
        node: vec![unknown, choice],
        initializer: vec![
            TensorProto {
                doc_string: Some("weights".into()),
                metadata_props: vec![entry("trained", "yes")],
                ..floats("w", &[2, 3])
            },
            TensorProto {
                name: Some("words".into()),
                dims: vec![2],
                data_type: Some(8),
                string_data: vec![Bytes::from_static(b"yes"), Bytes::from_static(b"no")],
                ..Default::default()
            },
        ],
        sparse_initializer: vec![sparse],
        doc_string: Some("all of it".into()),
        input: vec![
            value("x", &["N", "3", "height * 2"]),
            ValueInfoProto {
                name: Some("flag".into()),
                ..Default::default()
            },
            ValueInfoProto {
                name: Some("handle".into()),
                r#type: Some(opaque),
                ..Default::default()
            },
        ],
        output: vec![value("y", &["N"])],
        value_info: vec![value("m", &["N", "7"])],
        quantization_annotation: vec![TensorAnnotation {
            tensor_name: Some("m".into()),
            quant_parameter_tensor_names: vec![entry("SCALE_TENSOR", "w")],
            ..Default::default()
        }],
        metadata_props: vec![entry("graph", "level")],
        ..Default::default()
    };
    ModelProto {
        ir_version: Some(11),
        opset_import: vec![import("", 17), import("com.example", 3)],
        producer_name: Some("somebody".into()),
        producer_version: Some("1.2".into()),
        domain: Some("com.example.models".into()),
        model_version: Some(42),
        doc_string: Some("a model".into()),
        graph: Some(graph),
        metadata_props: vec![entry("b", "2"), entry("a", "1")],
        training_info: vec![TrainingInfoProto {
            initialization: Some(GraphProto {
                name: Some("init".into()),
                ..Default::default()
            }),
            update_binding: vec![entry("w", "w_new")],
            ..Default::default()
        }],
        functions: vec![function],
        configuration: vec![DeviceConfigurationProto {
            name: Some("two chips".into()),
            num_devices: Some(2),
            device: vec!["a".into(), "b".into()],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn what_is_not_understood_survives() {
    assert_round_trip(everything().encode_to_vec().into(), None, "everything");
}

#[test]
fn saving_twice_gives_the_same_bytes() {
    let model = Model::load_bytes(everything().encode_to_vec().into(), None).expect("loads");
    let first = model.to_bytes().expect("saves");
    let again = Model::load_bytes(first.clone(), None).expect("loads");
    assert_eq!(first, again.to_bytes().expect("saves"));
}

#[test]
fn a_changed_fact_wins_over_the_declared_type() {
    let mut model = Model::load_bytes(everything().encode_to_vec().into(), None).expect("loads");
    let x = model.graph.value_by_name("x").expect("an input");
    model.graph.value_mut(x).fact = onnx_ir::Fact::tensor(compress_tensor::DType::U8, [1i64, 2]);
    let saved = ModelProto::decode(model.to_bytes().expect("saves")).expect("decodes");
    let graph = saved.graph.expect("a graph");
    let declared = graph.input[0]
        .r#type
        .as_ref()
        .and_then(|t| t.value.as_ref());
    let Some(Value::TensorType(tensor)) = declared else {
        panic!("{declared:?}")
    };
    assert_eq!(tensor.elem_type, Some(2));
    assert_eq!(tensor.shape.as_ref().map(|shape| shape.dim.len()), Some(2));
}
