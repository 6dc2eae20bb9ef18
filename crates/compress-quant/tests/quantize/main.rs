//! What quantization promises of whole models, on small graphs whose every node is known.

mod alone;
mod biases;
mod branches;
mod build;
mod calibration;
mod captured;
mod files;
mod instruction_sets;
mod linear;
mod modes;
mod prescribed;
mod rounding;
mod rows;
mod targets;
mod whole;

use compress_quant::graph::{
    Calibration, Format, QuantizeConfig, QuantizeError, Rounding, Sample, Target, WeightOnlyConfig,
    calibrate, quantize_dynamic, quantize_static, quantize_weights, sensitivity,
};
use compress_quant::{DType, Method, Tensor};
use onnx_ir::{Dim, Fact, Graph, Model, Node, TensorFact};
use runtime_session::{Session, SessionOptions};

/// A fixed stream of numbers in `[-1, 1)`.
pub(crate) fn noise(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

pub(crate) fn floats(shape: &[usize], seed: u32) -> Tensor {
    Tensor::from_vec(shape, noise(seed, shape.iter().product())).unwrap()
}

/// `conv -> relu -> conv`, the first result added again before global pooling and a linear layer.
pub(crate) fn convolutional() -> Model {
    let mut g = Graph::new("residual");
    let shape = [
        Dim::symbol("batch"),
        Dim::Known(3),
        Dim::Known(8),
        Dim::Known(8),
    ]
    .to_vec();
    let x = g
        .add_value(
            "x",
            TensorFact::with_shape(Some(DType::F32), Some(shape)).into(),
        )
        .unwrap();
    g.add_input(x);
    let w1 = g.add_initializer("w1", floats(&[8, 3, 3, 3], 1)).unwrap();
    let b1 = g.add_initializer("b1", floats(&[8], 2)).unwrap();
    let w2 = g.add_initializer("w2", floats(&[8, 8, 3, 3], 3)).unwrap();
    let w3 = g.add_initializer("w3", floats(&[8, 4], 4)).unwrap();
    let b3 = g.add_initializer("b3", floats(&[4], 5)).unwrap();
    let names = ["c1", "r1", "c2", "sum", "mean", "flat", "y"];
    let v: Vec<_> = names
        .iter()
        .map(|n| g.add_value(n, Fact::Unknown).unwrap())
        .collect();
    let conv = |inputs: Vec<_>, out, name: &str| {
        Node::new("Conv", inputs, [out])
            .named(name)
            .with("pads", vec![1i64, 1, 1, 1])
    };
    g.add_node(conv(vec![x, w1, b1], v[0], "conv1")).unwrap();
    g.add_node(Node::new("Relu", [v[0]], [v[1]]).named("relu1"))
        .unwrap();
    g.add_node(conv(vec![v[1], w2], v[2], "conv2")).unwrap();
    g.add_node(Node::new("Add", [v[2], v[1]], [v[3]]).named("add"))
        .unwrap();
    g.add_node(Node::new("GlobalAveragePool", [v[3]], [v[4]]).named("pool"))
        .unwrap();
    g.add_node(Node::new("Flatten", [v[4]], [v[5]]).named("flatten"))
        .unwrap();
    g.add_node(Node::new("Gemm", [v[5], w3, b3], [v[6]]).named("linear"))
        .unwrap();
    g.add_output(v[6]);
    Model::new(g, 17)
}

/// `x + MatMul(Relu(MatMul(x)))`: a residual that must stay float.
pub(crate) fn transformer_like() -> Model {
    let mut g = Graph::new("mlp");
    let shape = [
        Dim::symbol("batch"),
        Dim::symbol("sequence"),
        Dim::Known(16),
    ]
    .to_vec();
    let x = g
        .add_value(
            "x",
            TensorFact::with_shape(Some(DType::F32), Some(shape)).into(),
        )
        .unwrap();
    g.add_input(x);
    let w1 = g.add_initializer("w1", floats(&[16, 32], 1)).unwrap();
    let w2 = g.add_initializer("w2", floats(&[32, 16], 2)).unwrap();
    let v: Vec<_> = ["m1", "r", "m2", "y"]
        .iter()
        .map(|n| g.add_value(n, Fact::Unknown).unwrap())
        .collect();
    g.add_node(Node::new("MatMul", [x, w1], [v[0]]).named("up"))
        .unwrap();
    g.add_node(Node::new("Relu", [v[0]], [v[1]])).unwrap();
    g.add_node(Node::new("MatMul", [v[1], w2], [v[2]]).named("down"))
        .unwrap();
    g.add_node(Node::new("Add", [v[2], x], [v[3]]).named("residual"))
        .unwrap();
    g.add_output(v[3]);
    Model::new(g, 17)
}

pub(crate) fn samples(shape: &[usize], n: u32) -> Vec<Sample> {
    (0..n)
        .map(|i| vec![("x".to_owned(), floats(shape, 100 + i))])
        .collect()
}

pub(crate) fn statistics(
    model: &Model,
    samples: &[Sample],
    config: &QuantizeConfig,
) -> Calibration {
    let samples = samples.iter().map(|s| Ok::<_, String>(s.clone()));
    calibrate(model, samples, config, &SessionOptions::default()).unwrap()
}

pub(crate) fn run(model: &Model, sample: &Sample) -> Vec<f32> {
    let session = Session::new(model.clone(), &SessionOptions::default()).unwrap();
    let inputs: Vec<(&str, Tensor)> = sample
        .iter()
        .map(|(n, t)| (n.as_str(), t.clone()))
        .collect();
    session.run(&inputs).unwrap()[0]
        .data::<f32>()
        .unwrap()
        .into_owned()
}

pub(crate) fn count(model: &Model, op: &str) -> usize {
    model.graph.nodes().filter(|(_, n)| n.op_type == op).count()
}

pub(crate) fn config() -> QuantizeConfig {
    let mut config = QuantizeConfig::default();
    config.method = Method::MinMax;
    config
}

/// The greatest difference in units of the greatest value.
pub(crate) fn relative(a: &[f32], b: &[f32]) -> f32 {
    let scale = b.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale
}
