//! Shapes that differ: which axes go along which.

use compress_tensor::{DType, Tensor};
use onnx_ir::{Dim, Fact, Graph, Model, Node, ValueId};
use runtime_session::{Session, SessionOptions};

use crate::net::Net;

/// Opset 6: `b` of one axis goes along axis 1, where it would go along the last one by shapes alone.
#[test]
fn sums_of_old_opsets_broadcast_from_their_axis() {
    for (shape, axis) in [(&[1, 4, 4, 4][..], 1i64), (&[4, 4], 0)] {
        for op in ["Add", "Mul"] {
            let mut net = Net::new(shape);
            net.opset = 6;
            let (product, b) = (net.weight(&[4, 4]), net.weight(&[4]));
            let x = match shape.len() {
                2 => net.op("MatMul", &[net.x, product]),
                _ => net.x,
            };
            let inputs = [Some(x), Some(b)];
            let node = Node::new(op, inputs, [None::<ValueId>; 0]);
            let y = net.node(node.with("axis", axis).with("broadcast", 1i64));
            let kernels: &[&str] = match shape.len() {
                2 => &["reference", "gemm.f32"],
                _ => &["reference"],
            };
            net.check_close(y, kernels);
        }
    }
}

#[test]
fn a_summand_of_a_higher_rank_gives_the_sum_its_rank() {
    let mut net = Net::new(&[2, 3]);
    let (w, b) = (net.weight(&[3, 5]), net.weight(&[1, 1, 5]));
    let y = net.op("MatMul", &[net.x, w]);
    let y = net.op("Add", &[y, b]);
    net.check_close(y, &["elementwise.f32", "gemm.f32"]);
    let mut net = Net::new(&[1, 2, 4, 4]);
    let (w, b) = (net.weight(&[3, 2, 1, 1]), net.weight(&[1, 1, 3, 1, 1]));
    let y = net.op("Conv", &[net.x, w]);
    let y = net.op("Add", &[y, b]);
    net.check_close(y, &["elementwise.f32", "conv.f32", "permute", "permute"]);
}

#[test]
fn parameters_of_normalisations_broadcast_by_their_shapes() {
    for op in ["LayerNormalization", "RMSNormalization"] {
        for (scale, kernel) in [
            (&[3][..], "norm.f32"),
            (&[1, 3], "norm.f32"),
            (&[3, 1], "reference"),
        ] {
            let mut net = Net::new(&[3, 3]);
            net.opset = 23;
            let scale = net.weight(scale);
            let y = net.op(op, &[net.x, scale]);
            net.check_close(y, &[kernel]);
        }
    }
}

/// Symbols that are equal in the file may be given different sizes, with as many elements in all.
#[test]
fn a_residual_of_another_shape_is_refused() {
    let mut graph = Graph::new("net");
    let mut input = |name: &str, last: usize| {
        let sizes = [Dim::symbol("n"), Dim::symbol("m"), last.into()];
        let x = graph
            .add_value(name, Fact::tensor(DType::F32, sizes))
            .unwrap();
        graph.add_input(x);
        x
    };
    let (x, r) = (input("x", 4), input("r", 3));
    let w = Tensor::from_vec(&[4, 3], Net::numbers(1, 12)).unwrap();
    let w = graph.add_initializer("w", w).unwrap();
    let product = graph.add_value("product", Fact::Unknown).unwrap();
    let y = graph.add_value("y", Fact::Unknown).unwrap();
    graph
        .add_node(Node::new("MatMul", [x, w], [product]))
        .unwrap();
    graph.add_node(Node::new("Add", [product, r], [y])).unwrap();
    graph.add_output(y);
    let session = Session::new(Model::new(graph, 20), &SessionOptions::default()).unwrap();
    let zeros = |shape: [usize; 3]| Tensor::full(&shape, 0f32).unwrap();
    let run = |x, r| session.run(&[("x", zeros(x)), ("r", zeros(r))]);
    assert_eq!(run([2, 3, 4], [2, 3, 3]).unwrap()[0].shape(), [2, 3, 3]);
    assert!(run([2, 3, 4], [3, 2, 3]).is_err());
}

#[test]
fn both_operands_of_arithmetic_may_be_spread() {
    for op in ["Add", "Sub", "Mul", "Div", "Max"] {
        let mut net = Net::new(&[1, 1, 6]);
        let column = net.weight(&[1, 5, 1]);
        let y = net.op(op, &[net.x, column]);
        let kernel = if op == "Max" {
            "reference"
        } else {
            "elementwise.f32"
        };
        net.check_equal(y, &[kernel]);
    }
}
