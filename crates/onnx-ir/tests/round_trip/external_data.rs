//! Saving with a data file and loading it again.

use compress_tensor::{DType, Tensor};
use onnx_ir::io::{ExternalData, LoadError, SaveError, SaveOptions};
use onnx_ir::{Fact, Graph, Model, Node};

/// `y = x + big + small`, with initializers of 2 MiB and 4 bytes.
fn model() -> Model {
    let mut graph = Graph::new("sum");
    let count = 1usize << 19;
    let x = graph
        .add_value("x", Fact::tensor(DType::F32, [count]))
        .expect("a value");
    graph.add_input(x);
    let numbers: Vec<f32> = (0..count).map(|n| n as f32).collect();
    let big = graph
        .add_initializer("big", Tensor::vector(numbers))
        .expect("an initializer");
    let small = graph
        .add_initializer("small", Tensor::scalar(1.0f32))
        .expect("an initializer");
    let sum = graph.add_value("sum", Fact::Unknown).expect("a value");
    let y = graph.add_value("y", Fact::Unknown).expect("a value");
    graph
        .add_node(Node::new("Add", [x, big], [sum]))
        .expect("a node");
    graph
        .add_node(Node::new("Add", [sum, small], [y]))
        .expect("a node");
    graph.add_output(y);
    Model::new(graph, 17)
}

fn always(file: Option<&str>, threshold: usize) -> SaveOptions {
    let file = file.map(str::to_owned);
    SaveOptions::with_external_data(ExternalData::Always { file, threshold })
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries
        .map(|e| name(e).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn large_initializers_go_to_the_data_file_and_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.onnx");
    let model = model();
    model.save(&path, &always(None, 1024)).expect("saved");
    assert_eq!(names(folder.path()), ["m.onnx", "m.onnx.data"]);
    assert!(std::fs::metadata(&path).expect("there").len() < 1024);

    let loaded = Model::load(&path).expect("loads");
    for name in ["big", "small"] {
        let tensor = |model: &Model| {
            let id = model.graph.value_by_name(name).expect("a value");
            model.graph.initializer(id).expect("an initializer").clone()
        };
        assert_eq!(tensor(&model).bytes(), tensor(&loaded).bytes(), "{name}");
        assert!(tensor(&loaded).is_mapped());
    }
    // Saved over itself while its data is mapped.
    loaded
        .save(&path, &always(Some("other.bin"), 0))
        .expect("saved");
    let again = Model::load(&path).expect("loads");
    assert_eq!(
        again.to_bytes().expect("encodes"),
        loaded.to_bytes().expect("encodes")
    );
}

#[test]
fn auto_keeps_a_small_model_in_one_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.onnx");
    model().save(&path, &SaveOptions::default()).expect("saved");
    assert_eq!(names(folder.path()), ["m.onnx"]);
    assert_eq!(
        std::fs::read(&path).expect("read"),
        model().to_bytes().expect("encoded")
    );
}

#[test]
fn data_files_elsewhere_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.onnx");
    for file in ["../w.bin", "/w.bin", "a/b.bin", "", "m.onnx", ".."] {
        let error = model()
            .save(&path, &always(Some(file), 0))
            .expect_err("refused");
        assert!(
            matches!(error, SaveError::DataFileName { .. }),
            "{file}: {error}"
        );
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_truncated_data_file_names_the_initializer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.onnx");
    model().save(&path, &always(None, 1024)).expect("saved");
    std::fs::write(folder.path().join("m.onnx.data"), [0u8; 100]).expect("shortened");
    let error = Model::load(&path).expect_err("too short");
    assert!(matches!(error, LoadError::Tensor { .. }));
    let text = error.to_string();
    assert!(
        text.contains("initializer `big`") && text.contains("the 100 bytes"),
        "{text}"
    );
}

#[test]
fn a_cyclic_graph_is_not_saved_and_leaves_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut graph = Graph::new("loop");
    let a = graph.add_value("a", Fact::Unknown).expect("a value");
    let b = graph.add_value("b", Fact::Unknown).expect("a value");
    graph.add_node(Node::new("Relu", [a], [b])).expect("a node");
    graph.add_node(Node::new("Relu", [b], [a])).expect("a node");
    let saved = Model::new(graph, 17).save(folder.path().join("m.onnx"), &SaveOptions::default());
    assert!(matches!(saved, Err(SaveError::Graph { .. })));
    assert!(names(folder.path()).is_empty());
}
