//! Load → save keeps everything that a file says, judged by an independent protobuf decoder.

mod everything;
mod external_data;
mod normal_form;
mod random;
mod unknown_fields;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use onnx_ir::Model;
use onnx_protobuf::ModelProto;
use protobuf::Message;

/// Loads, saves and compares what the other decoder sees before and after.
fn assert_round_trip(bytes: Bytes, folder: Option<&Path>, what: &str) {
    let before = ModelProto::parse_from_bytes(&bytes).expect("the oracle reads the original");
    let model = Model::load_bytes(bytes, folder).unwrap_or_else(|error| panic!("{what}: {error}"));
    let saved = model
        .to_bytes()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let after = ModelProto::parse_from_bytes(&saved).expect("the oracle reads what was saved");
    normal_form::assert_same(before, after, what);
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
