//! Small models and arrays.

use crate::program::Place;
use modelpress::ir::io::SaveOptions;
use modelpress::ir::{Dim, Fact, Graph, Model, Node};
use modelpress::tensor::{DType, Tensor, npy};

/// `scores = relu(x · W) · V`: two numbers in, the class of the larger one out.
pub(crate) fn write_classifier(place: &Place, file: &str) {
    let mut graph = Graph::new("larger");
    let shape = [Dim::symbol("batch"), Dim::Known(2)];
    let x = graph
        .add_value("x", Fact::tensor(DType::F32, shape))
        .unwrap();
    graph.add_input(x);
    let w = Tensor::from_vec(&[2, 2], vec![1.0f32, -0.6, -0.5, 0.8]).unwrap();
    let w = graph.add_initializer("w", w).unwrap();
    let v = Tensor::from_vec(&[2, 2], vec![0.9f32, -0.1, 0.0, 1.0]).unwrap();
    let v = graph.add_initializer("v", v).unwrap();
    let value = |graph: &mut Graph, name: &str| graph.add_value(name, Fact::Unknown).unwrap();
    let (hidden, active) = (value(&mut graph, "hidden"), value(&mut graph, "active"));
    let shape = [Dim::symbol("batch"), Dim::Known(2)];
    let scores = Fact::tensor(DType::F32, shape);
    let scores = graph.add_value("scores", scores).unwrap();
    let nodes = [
        Node::new("MatMul", [x, w], [hidden]).named("first"),
        Node::new("Relu", [hidden], [active]).named("relu"),
        Node::new("MatMul", [active, v], [scores]).named("second"),
    ];
    for node in nodes {
        graph.add_node(node).unwrap();
    }
    graph.add_output(scores);
    let model = Model::new(graph, 17);
    model
        .save(place.path(file), &SaveOptions::default())
        .unwrap();
}

/// Eight samples `x.npy` and their classes `y.npy`, one of them (the last) wrong.
pub(crate) fn write_samples(place: &Place) {
    let x = vec![
        1.0f32, 0.1, 0.2, 0.9, -1.0, 0.3, 0.8, -0.7, 0.5, -0.5, 0.1, 0.6, 0.9, 0.2, 0.7, -0.1,
    ];
    npy::write(place.path("x.npy"), &Tensor::from_vec(&[8, 2], x).unwrap()).unwrap();
    let y = Tensor::vector(vec![0u8, 1, 1, 0, 0, 1, 0, 1]);
    npy::write(place.path("y.npy"), &y).unwrap();
}

/// A place with the classifier `model.onnx` and the samples.
pub(crate) fn furnished() -> Place {
    let place = Place::new();
    write_classifier(&place, "model.onnx");
    write_samples(&place);
    place
}

/// `y = conv(relu(conv(x)))` with the values `raw` and `cut` between, and eight samples `x.npy`.
pub(crate) fn write_convolutions(place: &Place, file: &str) {
    let noise = |seed: u32, shape: &[usize]| {
        let mut state = seed;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let values = std::iter::repeat_with(next).take(shape.iter().product());
        Tensor::from_vec(shape, values.collect()).unwrap()
    };
    let mut graph = Graph::new("convolutions");
    let x = Fact::tensor(DType::F32, [1usize, 2, 6, 6]);
    let x = graph.add_value("x", x).unwrap();
    graph.add_input(x);
    let mut value = |name: &str| graph.add_value(name, Fact::Unknown).unwrap();
    let (raw, cut, y) = (value("raw"), value("cut"), value("y"));
    let a = graph.add_initializer("a", noise(1, &[8, 2, 3, 3])).unwrap();
    let b = graph.add_initializer("b", noise(2, &[4, 8, 1, 1])).unwrap();
    let nodes = [
        Node::new("Conv", [x, a], [raw]).named("first"),
        Node::new("Relu", [raw], [cut]).named("relu"),
        Node::new("Conv", [cut, b], [y]).named("second"),
    ];
    for node in nodes {
        graph.add_node(node).unwrap();
    }
    graph.add_output(y);
    let model = Model::new(graph, 17);
    model
        .save(place.path(file), &SaveOptions::default())
        .unwrap();
    npy::write(place.path("x.npy"), &noise(3, &[8, 2, 6, 6])).unwrap();
}

/// `y = BatchNormalization(Conv(x))` whose weights are inputs too, as old exporters write them.
pub(crate) fn write_old(place: &Place, file: &str) {
    let mut graph = Graph::new("old");
    let x = Fact::tensor(DType::F32, [1usize, 2, 4, 4]);
    let x = graph.add_value("x", x).unwrap();
    graph.add_input(x);
    let mut weight = |name: &str, shape: &[usize]| {
        let tensor = Tensor::full(shape, 0.5f32).unwrap();
        let id = graph.add_initializer(name, tensor).unwrap();
        graph.add_input(id);
        id
    };
    let w = weight("w", &[3, 2, 1, 1]);
    let [gamma, beta, mean, var] = ["gamma", "beta", "mean", "var"].map(|n| weight(n, &[3]));
    let mut value = |name: &str| graph.add_value(name, Fact::Unknown).unwrap();
    let (c, y) = (value("c"), value("y"));
    graph.add_node(Node::new("Conv", [x, w], [c])).unwrap();
    let bn = Node::new("BatchNormalization", [c, gamma, beta, mean, var], [y]);
    graph.add_node(bn.named("norm")).unwrap();
    graph.add_output(y);
    let model = Model::new(graph, 9);
    model
        .save(place.path(file), &SaveOptions::default())
        .unwrap();
}
