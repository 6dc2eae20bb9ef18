//! What the profile counts per step.

use crate::net::Net;
use compress_tensor::{DType, Tensor};
use onnx_ir::graph::Attribute;
use onnx_ir::{Dim, Fact, Graph, Model, Node};
use runtime_session::{ProfileRow, Session, SessionOptions};

/// The rows after one run on each of the inputs.
fn rows(graph: Graph, inputs: &[Tensor]) -> Vec<ProfileRow> {
    let options = SessionOptions::default().with_profile();
    let session = Session::new(Model::new(graph, 20), &options).unwrap();
    for x in inputs {
        session.run(&[("x", x.clone())]).unwrap();
    }
    session.profile().rows
}

fn row<'r>(rows: &'r [ProfileRow], kernel: &str) -> &'r ProfileRow {
    rows.iter().find(|row| row.kernel == kernel).unwrap()
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::full(shape, 1f32).unwrap()
}

#[test]
fn a_fused_step_counts_all_its_nodes_and_the_weights_that_it_packed() {
    let mut net = Net::new(&[1, 3, 8, 8]);
    let w = net.weight(&[4, 3, 3, 3]);
    let conv = net.op("Conv", &[net.x, w]);
    let y = net.op("Relu", &[conv]);
    net.graph.add_output(y);
    let x = ones(&[1, 3, 8, 8]);
    let rows = rows(net.graph, &[x.clone(), x]);
    let conv = row(&rows, "conv.f32");
    assert_eq!((conv.op.as_str(), conv.calls), ("Relu", 2));
    assert_eq!(conv.macs, Some(2 * 4 * 36 * 27));
    assert_eq!(conv.bytes_read, 2 * 4 * (3 * 64 + 4 * 27));
    assert_eq!(conv.bytes_written, 2 * 4 * 4 * 36);
    assert!(conv.fastest > std::time::Duration::ZERO && conv.fastest * 2 <= conv.time);
    let flops = 2.0 * (2 * 4 * 36 * 27) as f64 / conv.time.as_secs_f64();
    assert!((conv.gflops().unwrap() * 1e9 / flops - 1.0).abs() < 1e-9);
    let turned = row(&rows, "permute");
    assert_eq!((turned.macs, turned.gflops()), (Some(0), None));
}

#[test]
fn an_integer_region_is_one_convolution() {
    let mut net = Net::new(&[1, 3, 8, 8]);
    let x = net.quantized(net.x, 0.02, 128);
    let (w, _) = net.int8_weight(&[4, 3, 3, 3], 0);
    let conv = net.op("Conv", &[x, w]);
    let y = net.quantized(conv, 0.05, 120);
    net.graph.add_output(y);
    let rows = rows(net.graph, &[ones(&[1, 3, 8, 8])]);
    let conv = row(&rows, "conv.int8");
    assert_eq!(conv.macs, Some(4 * 36 * 27));
    assert_eq!(conv.bytes_written, 4 * 36);
    // The image, the weights with a scale and a zero point per channel, and those of the image and of the result.
    assert_eq!(conv.bytes_read, 3 * 64 + 4 * (27 + 4 + 1) + 2 * (4 + 1));
    assert_eq!(row(&rows, "quantize").macs, Some(0));
}

#[test]
fn each_shape_of_the_inputs_counts_its_own_work() {
    let mut graph = Graph::new("product");
    let x = Fact::tensor(DType::F32, [Dim::symbol("batch"), Dim::Known(6)]);
    let x = graph.add_value("x", x).unwrap();
    graph.add_input(x);
    let w = graph.add_initializer("w", ones(&[6, 5])).unwrap();
    let y = graph.add_value("y", Fact::Unknown).unwrap();
    let z = graph.add_value("z", Fact::Unknown).unwrap();
    graph.add_node(Node::new("MatMul", [x, w], [y])).unwrap();
    let flat = Node::new("Flatten", [y], [z]).with("axis", 0i64);
    graph.add_node(flat).unwrap();
    graph.add_output(z);
    let rows = rows(graph, &[ones(&[2, 6]), ones(&[7, 6])]);
    let product = row(&rows, "gemm.f32");
    assert_eq!(product.macs, Some((2 + 7) * 6 * 5));
    assert_eq!(product.bytes_read, 4 * ((2 + 7) * 6 + 2 * 30));
    let view = row(&rows, "view");
    assert_eq!((view.bytes_read, view.bytes_written), (0, 0));
    assert_eq!(view.gbytes_per_second(), None);
}

#[test]
fn nodes_of_a_subgraph_count_in_rows_of_their_own() {
    let branch = |name: &str| {
        let mut body = Graph::new(name);
        let x = body.add_value("x", Fact::Unknown).unwrap();
        let y = body.add_value(format!("{name}_y"), Fact::Unknown).unwrap();
        body.add_node(Node::new("MatMul", [x, x], [y])).unwrap();
        body.add_output(y);
        Attribute::Graph(body.into())
    };
    let mut graph = Graph::new("choice");
    let x = Fact::tensor(DType::F32, [4usize, 4]);
    let x = graph.add_value("x", x).unwrap();
    graph.add_input(x);
    let [sum, zero, positive, y] = ["sum", "zero", "positive", "y"].map(|name| {
        let value = graph.add_value(name, Fact::Unknown);
        value.unwrap()
    });
    let nothing = Tensor::scalar(0f32);
    let nothing = graph.add_initializer("nothing", nothing).unwrap();
    for node in [
        Node::new("ReduceSum", [x], [sum]).with("keepdims", 0i64),
        Node::new("Identity", [nothing], [zero]),
        Node::new("Greater", [sum, zero], [positive]),
        Node::new("If", [positive], [y])
            .with("then_branch", branch("then"))
            .with("else_branch", branch("else")),
    ] {
        graph.add_node(node).unwrap();
    }
    graph.add_output(y);
    let rows = rows(graph, &[ones(&[4, 4])]);
    let inner: Vec<&ProfileRow> = rows.iter().filter(|r| r.op == "MatMul").collect();
    let [inner] = inner[..] else {
        panic!("{rows:?}");
    };
    assert_eq!(inner.macs, Some(64));
    let choice = rows.iter().find(|row| row.op == "If").unwrap();
    assert_eq!(choice.macs, Some(64));
}

#[test]
fn rows_of_a_table_are_no_product() {
    let mut net = Net::new(&[6, 1]);
    let cast = |net: &mut Net, x, code: i64| {
        net.node(Node::new("Cast", [Some(x)], [None::<onnx_ir::ValueId>; 0]).with("to", code))
    };
    let x = net.x;
    let classes = cast(&mut net, x, 7);
    let range = net.constant(Tensor::vector(vec![0i64, 1, 2]));
    let rows_of = net.op("Equal", &[classes, range]);
    let rows_of = cast(&mut net, rows_of, 1);
    let w = net.weight(&[3, 5]);
    let y = net.op("MatMul", &[rows_of, w]);
    net.graph.add_output(y);
    let rows = rows(net.graph, &[ones(&[6, 1])]);
    let table = row(&rows, "gather.one-hot");
    assert_eq!((table.macs, table.gflops()), (Some(0), None));
    assert_eq!(table.bytes_written, 6 * 5 * 4);
}
