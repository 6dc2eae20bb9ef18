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
