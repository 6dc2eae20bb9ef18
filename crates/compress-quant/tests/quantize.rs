//! What quantization promises of whole models, on small graphs whose every node is known.

use compress_quant::graph::{
    Calibration, Format, QuantizeConfig, QuantizeError, Sample, Target, WeightOnlyConfig,
    calibrate, quantize_dynamic, quantize_static, quantize_weights, sensitivity,
};
use compress_quant::{DType, Method, Tensor};
use onnx_ir::{Dim, Fact, Graph, Model, Node, TensorFact};
use runtime_session::{Session, SessionOptions};

/// A fixed stream of numbers in `[-1, 1)`.
fn noise(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn floats(shape: &[usize], seed: u32) -> Tensor {
    Tensor::from_vec(shape, noise(seed, shape.iter().product())).unwrap()
}

/// `conv -> relu -> conv`, the first result added again before global pooling and a linear layer.
fn convolutional() -> Model {
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
fn transformer_like() -> Model {
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

fn samples(shape: &[usize], n: u32) -> Vec<Sample> {
    (0..n)
        .map(|i| vec![("x".to_owned(), floats(shape, 100 + i))])
        .collect()
}

fn statistics(model: &Model, samples: &[Sample], config: &QuantizeConfig) -> Calibration {
    let samples = samples.iter().map(|s| Ok::<_, String>(s.clone()));
    calibrate(model, samples, config, &SessionOptions::default()).unwrap()
}

fn run(model: &Model, sample: &Sample) -> Vec<f32> {
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

fn count(model: &Model, op: &str) -> usize {
    model.graph.nodes().filter(|(_, n)| n.op_type == op).count()
}

fn config() -> QuantizeConfig {
    let mut config = QuantizeConfig::default();
    config.method = Method::MinMax;
    config
}

/// The greatest difference in units of the greatest value.
fn relative(a: &[f32], b: &[f32]) -> f32 {
    let scale = b.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale
}

#[test]
fn a_residual_network_is_integer_throughout_and_stays_close() {
    let model = convolutional();
    let data = samples(&[1, 3, 8, 8], 8);
    let (int8, report) =
        quantize_static(&model, &statistics(&model, &data, &config()), &config()).unwrap();
    // The activation is part of the range of the convolution before it.
    assert_eq!(count(&int8, "Relu"), 0);
    // x, r1, c2, sum, mean (= flat): one pair each; y stays float.
    assert_eq!(count(&int8, "QuantizeLinear"), 6);
    let names: Vec<&str> = report.layers.iter().map(|l| l.node.as_str()).collect();
    assert_eq!(
        names,
        ["conv1", "conv2", "add", "pool", "flatten", "linear"]
    );
    assert!(report.layers[0].weight_sqnr_db.unwrap() > 35.0);
    // No float weight is left; biases are int32.
    let large = int8
        .graph
        .initializers()
        .filter(|(_, t)| t.dtype() == DType::F32 && t.len() > 8)
        .count();
    assert_eq!(large, 0);
    assert!(
        int8.graph
            .initializers()
            .any(|(_, t)| t.dtype() == DType::I32 && t.len() == 8)
    );
    for sample in &data {
        let difference = relative(&run(&int8, sample), &run(&model, sample));
        assert!(difference < 0.05, "{difference}");
    }
}

#[test]
fn integer_operators_give_the_same_bits_as_the_pairs_that_they_replace() {
    let model = convolutional();
    let data = samples(&[1, 3, 8, 8], 6);
    let stats = statistics(&model, &data, &config());
    let (pairs, _) = quantize_static(&model, &stats, &config()).unwrap();
    let mut qlinear = config();
    qlinear.format = Format::QLinear;
    let (integers, _) = quantize_static(&model, &stats, &qlinear).unwrap();
    assert_eq!(count(&integers, "QLinearConv"), 2);
    assert_eq!((count(&integers, "Conv"), count(&integers, "Add")), (0, 0));
    for sample in &data {
        assert_eq!(run(&pairs, sample), run(&integers, sample));
    }
}

#[test]
fn a_residual_sum_behind_matrix_products_stays_float() {
    let model = transformer_like();
    let data = samples(&[1, 5, 16], 8);
    let (int8, _) =
        quantize_static(&model, &statistics(&model, &data, &config()), &config()).unwrap();
    // Only what the products read: x and r.
    assert_eq!(count(&int8, "QuantizeLinear"), 2);
    let (_, add) = int8.graph.nodes().find(|(_, n)| n.is("Add")).unwrap();
    let reads: Vec<&str> = add
        .inputs()
        .iter()
        .flatten()
        .map(|&v| int8.graph.name_of(v))
        .collect();
    assert_eq!(reads, ["m2", "x"]);
    assert!(relative(&run(&int8, &data[0]), &run(&model, &data[0])) < 0.05);
}

#[test]
fn shards_calibrated_apart_and_merged_are_the_whole() {
    let model = convolutional();
    let data = samples(&[1, 3, 8, 8], 6);
    let whole = statistics(&model, &data, &config());
    let mut merged = statistics(&model, &data[3..], &config());
    merged
        .merge(&statistics(&model, &data[..3], &config()))
        .unwrap();
    let bytes = |c: &Calibration| {
        let (model, _) = quantize_static(&model, c, &config()).unwrap();
        model.to_bytes().unwrap()
    };
    assert_eq!(bytes(&whole), bytes(&merged));
    let other = statistics(&transformer_like(), &samples(&[1, 5, 16], 1), &config());
    assert!(merged.merge(&other).is_err());
}

#[test]
fn statistics_survive_a_file() {
    let model = convolutional();
    let stats = statistics(&model, &samples(&[1, 3, 8, 8], 2), &config());
    let path =
        std::env::temp_dir().join(format!("modelpress-statistics-{}.json", std::process::id()));
    stats.save(&path).unwrap();
    let read = Calibration::load(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let bytes = |c: &Calibration| {
        quantize_static(&model, c, &config())
            .unwrap()
            .0
            .to_bytes()
            .unwrap()
    };
    assert_eq!(bytes(&stats), bytes(&read));
    assert!(Calibration::from_json(b"{\"version\":1}").is_err());
}

#[test]
fn tensorrt_gets_symmetric_pairs_a_float_bias_and_one_quantized_branch() {
    let model = convolutional();
    let mut config = config();
    config.target = Target::TensorRt;
    let data = samples(&[1, 3, 8, 8], 6);
    let (int8, _) = quantize_static(&model, &statistics(&model, &data, &config), &config).unwrap();
    for (id, tensor) in int8.graph.initializers() {
        if int8.graph.name_of(id).ends_with("zero_point") {
            assert!(
                tensor.bytes().iter().all(|&b| b == 0),
                "{}",
                int8.graph.name_of(id)
            );
        }
    }
    assert!(
        !int8
            .graph
            .initializers()
            .any(|(_, t)| t.dtype() == DType::I32)
    );
    assert_eq!(count(&int8, "Relu"), 1);
    // The branch of the convolution that takes in the sum is read as float.
    let (_, add) = int8.graph.nodes().find(|(_, n)| n.is("Add")).unwrap();
    let quantized = add
        .inputs()
        .iter()
        .flatten()
        .filter(|&&v| int8.graph.name_of(v).contains("dequantized"))
        .count();
    assert_eq!(quantized, 1);
    assert!(relative(&run(&int8, &data[0]), &run(&model, &data[0])) < 0.05);
}

#[test]
fn what_the_target_refuses_is_refused_with_its_rule() {
    let model = convolutional();
    let stats = statistics(&model, &samples(&[1, 3, 8, 8], 1), &config());
    let mut unsigned = config();
    unsigned.target = Target::TensorRt;
    unsigned.activations = Some(DType::U8);
    let error = quantize_static(&model, &stats, &unsigned).unwrap_err();
    assert!(
        matches!(
            error,
            QuantizeError::TargetRule {
                target: "tensorrt",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn nothing_is_silent() {
    let model = convolutional();
    let stats = statistics(&model, &samples(&[1, 3, 8, 8], 1), &config());
    let mut misspelt = config();
    misspelt.exclude = vec!["conv9".to_owned()];
    let error = quantize_static(&model, &stats, &misspelt).unwrap_err();
    assert!(matches!(error, QuantizeError::NoSuchNode { .. }), "{error}");
    let mut none = config();
    none.operators = Some(vec!["LSTM".to_owned()]);
    let error = quantize_static(&model, &stats, &none).unwrap_err();
    assert!(
        matches!(error, QuantizeError::NothingToQuantize { .. }),
        "{error}"
    );
    let mut one = config();
    one.exclude = vec!["conv2".to_owned()];
    let (int8, report) = quantize_static(&model, &stats, &one).unwrap();
    let skipped: Vec<_> = report
        .skipped
        .iter()
        .map(|s| (s.node.as_str(), s.reason.as_str()))
        .collect();
    assert_eq!(skipped, [("conv2", "excluded by name")]);
    assert!(matches!(
        quantize_static(&int8, &stats, &config()),
        Err(QuantizeError::AlreadyQuantized { .. })
    ));
}

#[test]
fn dynamic_products_share_one_quantized_input_and_stay_close() {
    let model = transformer_like();
    let (int8, report) = quantize_dynamic(&model, &QuantizeConfig::default()).unwrap();
    assert_eq!(
        (
            count(&int8, "MatMulInteger"),
            count(&int8, "DynamicQuantizeLinear")
        ),
        (2, 2)
    );
    assert_eq!(report.layers.len(), 2);
    assert!(report.bytes_after * 3 < report.bytes_before);
    let sample = &samples(&[2, 5, 16], 1)[0];
    assert!(relative(&run(&int8, sample), &run(&model, sample)) < 0.03);
}

#[test]
fn weights_alone_are_small_and_close() {
    let model = transformer_like();
    let sample = &samples(&[2, 5, 16], 1)[0];
    let expected = run(&model, sample);
    let int8 = quantize_weights(&model, WeightOnlyConfig::Int8, &QuantizeConfig::default())
        .unwrap()
        .0;
    assert!(relative(&run(&int8, sample), &expected) < 0.02);
    let blocks = WeightOnlyConfig::Blocks { bits: 4, block: 16 };
    let (int4, report) = quantize_weights(&model, blocks, &QuantizeConfig::default()).unwrap();
    assert_eq!(count(&int4, "MatMulNBits"), 2);
    assert!(
        report
            .layers
            .iter()
            .all(|l| l.weight_sqnr_db.unwrap() > 15.0)
    );
    assert!(relative(&run(&int4, sample), &expected) < 0.25);
}

#[test]
fn the_most_sensitive_node_comes_first() {
    let model = convolutional();
    let data = samples(&[1, 3, 8, 8], 4);
    let stats = statistics(&model, &data, &config());
    let found = sensitivity(&model, &stats, &data, &config(), &SessionOptions::default()).unwrap();
    assert_eq!(found.len(), 3);
    assert!(found.windows(2).all(|w| w[0].sqnr_db <= w[1].sqnr_db));
    assert!(found.iter().all(|n| n.sqnr_db > 20.0), "{found:?}");
}

#[test]
fn weights_that_an_old_file_lists_as_inputs_are_frozen() {
    let model = transformer_like();
    let mut old = model.clone();
    for name in ["w1", "w2"] {
        let id = old.graph.value_by_name(name).unwrap();
        old.graph.add_input(id);
    }
    let (int8, report) = quantize_dynamic(&old, &QuantizeConfig::default()).unwrap();
    assert_eq!(report.layers.len(), 2);
    assert_eq!(int8.graph.inputs().len(), 1);
}
