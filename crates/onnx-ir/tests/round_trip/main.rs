//! Load → save keeps everything that a file says, judged by an independent protobuf decoder.

mod everything;
mod external_data;
mod normal_form;
mod random;
mod unknown_fields;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use onnx_ir::passes::{Dialect, simplify};
use onnx_ir::{Catalog, Model};
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};
use protobuf::{Enum, Message, MessageField};

/// Loads, saves and compares what the other decoder sees before and after. Saved once more, the file is the same.
fn assert_round_trip(bytes: Bytes, folder: Option<&Path>, what: &str) {
    let before = ModelProto::parse_from_bytes(&bytes).expect("the oracle reads the original");
    let model = Model::load_bytes(bytes, folder).unwrap_or_else(|error| panic!("{what}: {error}"));
    let saved = model
        .to_bytes()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let after = ModelProto::parse_from_bytes(&saved).expect("the oracle reads what was saved");
    normal_form::assert_same(before, after, what);
    assert_saved_again_the_same(&model, folder, what);
}

/// What is saved is, once loaded, saved as the same bytes.
fn assert_saved_again_the_same(model: &Model, folder: Option<&Path>, what: &str) {
    let saved = model.to_bytes().expect("a model that can be saved");
    let again = Model::load_bytes(saved.clone(), folder).expect("what was saved loads");
    let again = again.to_bytes().expect("what was loaded can be saved");
    assert!(saved == again, "{what}: saved again, it is another file");
}

/// The shared data: `MODELPRESS_DATA`, or `../shared/data` beside the repository.
fn shared_data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("MODELPRESS_DATA").map_or(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// Every `.onnx` file below `folder`, sorted.
fn models_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "onnx")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn real_models_survive() {
    let Some(data) = shared_data() else {
        println!("skipped: no shared data (set MODELPRESS_DATA)");
        return;
    };
    let models = models_below(&data.join("models"));
    assert!(!models.is_empty(), "no models in {}", data.display());
    for path in models {
        let bytes = compress_tensor::map_file(&path).expect("a readable model");
        assert_round_trip(bytes, path.parent(), &path.display().to_string());
    }
}

/// The backend node tests, where `MODELPRESS_NODE_TESTS` names their folder.
#[test]
fn backend_test_models_survive() {
    let Some(folder) = std::env::var_os("MODELPRESS_NODE_TESTS") else {
        println!("skipped: MODELPRESS_NODE_TESTS is not set");
        return;
    };
    for path in models_below(Path::new(&folder)) {
        let bytes = compress_tensor::map_file(&path).expect("a readable model");
        assert_round_trip(bytes, path.parent(), &path.display().to_string());
    }
}

/// Folding makes initializers of values that were declared in another order, with more than a fact holds.
#[test]
fn folded_values_are_declared_where_the_reader_finds_them() {
    let declared = |name: &str, denotation: &str| ValueInfoProto {
        name: name.to_owned(),
        type_: MessageField::some(TypeProto {
            denotation: denotation.to_owned(),
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: DataType::FLOAT.value(),
                shape: MessageField::some(TensorShapeProto::new()),
                ..Default::default()
            })),
            ..Default::default()
        }),
        ..Default::default()
    };
    let node = |op: &str, input: &[&str], output: &str| NodeProto {
        op_type: op.to_owned(),
        input: input.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    };
    let one = TensorProto {
        name: "one".to_owned(),
        data_type: DataType::FLOAT.value(),
        float_data: vec![1.0],
        ..Default::default()
    };
    let model = ModelProto {
        ir_version: 10,
        opset_import: vec![OperatorSetIdProto {
            version: 21,
            ..Default::default()
        }],
        graph: MessageField::some(GraphProto {
            name: "folds".to_owned(),
            input: vec![declared("x", "")],
            output: vec![declared("y", "")],
            value_info: vec![
                declared("first", ""),
                declared("odd", "TENSOR"),
                declared("plain", ""),
            ],
            initializer: vec![one],
            node: vec![
                node("Neg", &["x"], "first"),
                node("Exp", &["one"], "odd"),
                node("Add", &["one", "odd"], "plain"),
                node("Mul", &["first", "odd"], "product"),
                node("Sub", &["product", "plain"], "y"),
            ],
            ..Default::default()
        }),
        ..Default::default()
    };
    let bytes = model
        .write_to_bytes()
        .expect("the oracle writes its own message");
    let mut model = Model::load_bytes(bytes.into(), None).expect("a model that loads");
    let passes = simplify(Dialect::Standard).expect("passes in order");
    passes
        .run(&mut model, Catalog::standard())
        .expect("a model that folds");
    let saved = ModelProto::parse_from_bytes(&model.to_bytes().expect("it can be saved"));
    let saved = saved.expect("the oracle reads what was saved");
    assert!(saved.graph.initializer.iter().any(|it| it.name == "odd"));
    assert_saved_again_the_same(&model, None, "the folded model");
}
