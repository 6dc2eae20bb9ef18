//! Model files are untrusted: whatever the bytes, loading ends in a model or in an error that
//! names the place, and a model that loads can be checked and saved.

use bytes::Bytes;
use onnx_ir::check::check;
use onnx_ir::io::LoadError;
use onnx_ir::proto::*;
use onnx_ir::{Fact, Graph, Model, Node};
use proptest::prelude::*;

/// `y = relu(x * w)`, with a subgraph, a string attribute and metadata.
fn small_model() -> Vec<u8> {
    let text = |text: &str| Some(text.to_owned());
    let weight = TensorProto {
        name: text("w"),
        dims: vec![2, 2],
        data_type: Some(1),
        raw_data: Some(Bytes::from(vec![0; 16])),
        ..Default::default()
    };
    let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: text(op),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    };
    let branch = |name: &str| AttributeProto {
        name: text(name),
        r#type: Some(5),
        g: Some(GraphProto {
            node: vec![node("Relu", &["t"], "o")],
            output: vec![ValueInfoProto {
                name: text("o"),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let choice = NodeProto {
        attribute: vec![branch("then_branch"), branch("else_branch")],
        ..node("If", &["c"], "y")
    };
    let graph = GraphProto {
        name: text("g"),
        node: vec![node("MatMul", &["x", "w"], "t"), choice],
        initializer: vec![weight],
        input: ["x", "c"]
            .map(|name| ValueInfoProto {
                name: text(name),
                ..Default::default()
            })
            .to_vec(),
        output: vec![ValueInfoProto {
            name: text("y"),
            ..Default::default()
        }],
        ..Default::default()
    };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto {
            domain: None,
            version: Some(17),
            ..Default::default()
        }],
        graph: Some(graph),
        ..Default::default()
    };
    model.encode_to_vec()
}

/// Loads, checks and saves, whatever comes of it.
fn take_all_steps(bytes: Vec<u8>) {
    if let Ok(model) = Model::load_bytes(bytes.into(), None) {
        check(&model);
        if let Ok(saved) = model.to_bytes() {
            Model::load_bytes(saved, None).expect("what was saved loads again");
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        take_all_steps(bytes);
    }

    #[test]
    fn changed_bytes_do_no_harm(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = small_model();
        for (place, byte) in changes {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        take_all_steps(bytes.clone());
        bytes.truncate(cut.index(bytes.len()));
        take_all_steps(bytes);
    }
}

#[test]
fn the_unchanged_model_loads_and_is_valid_but_for_types() {
    let model = Model::load_bytes(small_model().into(), None).expect("loads");
    let rules: Vec<_> = check(&model).iter().map(|finding| finding.rule()).collect();
    assert_eq!(
        rules,
        [
            "untyped-value",
            "untyped-value",
            "untyped-value",
            "unnamed-graph",
            "unnamed-graph"
        ]
    );
}

#[test]
fn an_empty_file_is_no_model() {
    let error = Model::load_bytes(Bytes::new(), None).expect_err("no graph");
    assert!(matches!(error, LoadError::NoGraph));
}

/// Eight times the size takes about eight times as long, where a search for each name would take 64.
#[test]
fn wide_graphs_load_in_linear_time() {
    let seconds = |width| {
        let runs = (0..3).map(|_| wide_graph_seconds(width));
        runs.fold(f64::INFINITY, f64::min)
    };
    let (small, large) = (seconds(3_000), seconds(24_000));
    assert!(large < 30.0 * small + 0.5, "{small} s, {large} s");
}

/// Saves, loads and checks a graph of many inputs, outputs and nodes, two of them wide.
fn wide_graph_seconds(width: usize) -> f64 {
    let mut graph = Graph::new("wide");
    let mut inputs = Vec::new();
    for i in 0..width {
        let fact = Fact::tensor(compress_tensor::DType::F32, [1i64]);
        let x = graph
            .add_value(format!("x{i}"), fact.clone())
            .expect("a value");
        let y = graph.add_value(format!("y{i}"), fact).expect("a value");
        graph.add_input(x);
        graph.add_output(y);
        graph.add_node(Node::new("Relu", [x], [y])).expect("a node");
        inputs.push(x);
    }
    let named = |graph: &mut Graph, i| graph.value_named(&format!("s{i}")).expect("a value");
    let parts: Vec<_> = (0..width).map(|i| named(&mut graph, i)).collect();
    let concat = Node::new("Concat", inputs, [parts[0]]).with("axis", 0i64);
    graph.add_node(concat).expect("a node");
    let split = Node::new("Split", [parts[0]], parts[1..].iter().copied());
    graph.add_node(split).expect("a node");
    let model = Model::new(graph, 17);

    let started = std::time::Instant::now();
    let bytes = model.to_bytes().expect("saves");
    let loaded = Model::load_bytes(bytes, None).expect("loads");
    assert_eq!(check(&loaded), []);
    started.elapsed().as_secs_f64()
}
