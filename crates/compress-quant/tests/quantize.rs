//! What quantization promises of whole models, on small graphs whose every node is known.

use compress_quant::graph::{
    Calibration, Format, QuantizeConfig, QuantizeError, Rounding, Sample, Target, WeightOnlyConfig,
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

/// Statistics as they would be saved.
fn saved(stats: &Calibration) -> Vec<u8> {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("modelpress-threads-{}-{n}.json", std::process::id());
    let path = std::env::temp_dir().join(name);
    stats.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    bytes
}

#[test]
fn statistics_are_the_same_bits_with_any_number_of_threads() {
    let model = convolutional();
    // Samples of unlike size, so that threads overtake one another.
    let data: Vec<Sample> = (0..23u32)
        .map(|i| {
            let batch = 1 + (i as usize * 7) % 5;
            vec![("x".to_owned(), floats(&[batch, 3, 8, 8], 100 + i))]
        })
        .collect();
    for method in [Method::Mse, Method::MovingAverage] {
        let mut config = config();
        config.method = method;
        let on = |threads: usize| {
            let samples = data.iter().map(|s| Ok::<_, String>(s.clone()));
            let options = SessionOptions::default().with_threads(threads);
            saved(&calibrate(&model, samples, &config, &options).unwrap())
        };
        let one = on(1);
        for threads in [2, 3, 8] {
            assert_eq!(on(threads), one, "{method:?}, {threads} threads");
        }
    }
}

#[test]
fn the_earliest_sample_that_fails_is_named_with_any_number_of_threads() {
    let model = convolutional();
    let mut data = samples(&[1, 3, 8, 8], 20);
    for bad in [5, 6, 17] {
        let mut values = noise(1, 192);
        values[3] = f32::NAN;
        data[bad][0].1 = Tensor::from_vec(&[1, 3, 8, 8], values).unwrap();
    }
    for threads in [1, 2, 4] {
        let samples = data.iter().map(|s| Ok::<_, String>(s.clone()));
        let options = SessionOptions::default().with_threads(threads);
        let error = calibrate(&model, samples, &config(), &options).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("calibration sample 5, tensor `"),
            "{error}"
        );
    }
}

#[test]
fn a_sum_takes_in_the_activation_behind_it() {
    // c0 + conv(c0), cut at zero, into another convolution: the sum needs no scale of its own.
    let mut g = Graph::new("block");
    let x = g
        .add_value("x", Fact::tensor(DType::F32, [1usize, 4, 6, 6]))
        .unwrap();
    g.add_input(x);
    let v: Vec<_> = ["c0", "c1", "sum", "cut", "y"]
        .iter()
        .map(|n| g.add_value(n, Fact::Unknown).unwrap())
        .collect();
    for (name, input, output, seed) in [
        ("conv0", x, v[0], 3),
        ("conv1", v[0], v[1], 1),
        ("conv2", v[3], v[4], 2),
    ] {
        let w = g
            .add_initializer(&format!("{name}.w"), floats(&[4, 4, 1, 1], seed))
            .unwrap();
        g.add_node(Node::new("Conv", [input, w], [output]).named(name))
            .unwrap();
    }
    g.add_node(Node::new("Add", [v[1], v[0]], [v[2]]).named("add"))
        .unwrap();
    g.add_node(Node::new("Relu", [v[2]], [v[3]]).named("relu"))
        .unwrap();
    g.add_output(v[4]);
    let model = Model::new(g, 17);
    let data = samples(&[1, 4, 6, 6], 6);
    let mut asymmetric = config();
    let (int8, _) =
        quantize_static(&model, &statistics(&model, &data, &asymmetric), &asymmetric).unwrap();
    // x, c0, c1, cut and y; the sum itself is not quantized, and codes keep it above zero.
    assert_eq!(
        (count(&int8, "Relu"), count(&int8, "QuantizeLinear")),
        (0, 5)
    );
    assert!(int8.graph.value_by_name("sum").is_none());
    assert!(relative(&run(&int8, &data[0]), &run(&model, &data[0])) < 0.03);
    // A symmetric range has codes below zero: the activation stays, the pair behind it.
    asymmetric.target = Target::TensorRt;
    let (int8, _) =
        quantize_static(&model, &statistics(&model, &data, &asymmetric), &asymmetric).unwrap();
    assert_eq!(count(&int8, "Relu"), 1);
    assert!(int8.graph.value_by_name("sum_quantized").is_none());
}

#[test]
fn rounding_to_the_inputs_brings_the_outputs_closer() {
    let model = convolutional();
    // Neighbouring pixels hang together, as in images.
    let data: Vec<Sample> = (0..24u32)
        .map(|i| {
            let rough = noise(300 + i, 192);
            let smooth = (0..192).map(|p| 6.0 + 0.3 * rough[p / 16 * 16] + 0.03 * rough[p]);
            let x = Tensor::from_vec(&[1, 3, 8, 8], smooth.collect::<Vec<_>>()).unwrap();
            vec![("x".to_owned(), x)]
        })
        .collect();
    let (calibration, held_out) = data.split_at(16);
    let mut calibrated = config();
    calibrated.rounding = Rounding::Calibrated;
    let stats = statistics(&model, calibration, &calibrated);
    let (nearest, _) = quantize_static(&model, &stats, &config()).unwrap();
    let (rounded, report) = quantize_static(&model, &stats, &calibrated).unwrap();
    assert!(report.layers[1].product_sqnr_db.unwrap() > report.layers[1].weight_sqnr_db.unwrap());
    let error = |int8: &Model| -> f64 {
        let each = held_out.iter().flat_map(|s| {
            let (a, b) = (run(int8, s), run(&model, s));
            a.into_iter()
                .zip(b)
                .map(|(a, b)| f64::from(a - b).powi(2))
                .collect::<Vec<_>>()
        });
        each.sum()
    };
    let (before, after) = (error(&nearest), error(&rounded));
    assert!(after < before * 0.8, "{before} {after}");
    // The same bits with any number of threads.
    let bytes = |threads| {
        let samples = calibration.iter().map(|s| Ok::<_, String>(s.clone()));
        let options = SessionOptions::default().with_threads(threads);
        let stats = calibrate(&model, samples, &calibrated, &options).unwrap();
        quantize_static(&model, &stats, &calibrated)
            .unwrap()
            .0
            .to_bytes()
            .unwrap()
    };
    let one = bytes(1);
    assert!(bytes(2) == one && bytes(5) == one);
    // Statistics alone do not hold the inputs.
    let plain = statistics(&model, calibration, &config());
    assert!(matches!(
        quantize_static(&model, &plain, &calibrated),
        Err(QuantizeError::NoInputs)
    ));
}

/// Two branches with a convolution each, and a recurrent layer behind the first.
fn branching() -> Model {
    let branch = |name: &str, seed: u32| {
        let mut g = Graph::new(name);
        let x = g.add_value("x", Fact::Unknown).unwrap();
        let w = g
            .add_initializer(&format!("{name}_w"), floats(&[16, 2, 3], seed))
            .unwrap();
        let b = g
            .add_initializer(&format!("{name}_b"), floats(&[16], seed + 1))
            .unwrap();
        let y = g.add_value(format!("{name}_y"), Fact::Unknown).unwrap();
        g.add_node(Node::new("Conv", [x, w, b], [y]).named(format!("{name}_conv")))
            .unwrap();
        let turned = g
            .add_value(format!("{name}_turned"), Fact::Unknown)
            .unwrap();
        let turn = Node::new("Transpose", [y], [turned]).with("perm", vec![2i64, 0, 1]);
        g.add_node(turn).unwrap();
        let w = g
            .add_initializer(&format!("{name}_lstm_w"), floats(&[1, 32, 16], seed + 2))
            .unwrap();
        let r = g
            .add_initializer(&format!("{name}_lstm_r"), floats(&[1, 32, 8], seed + 3))
            .unwrap();
        let out = g.add_value(format!("{name}_out"), Fact::Unknown).unwrap();
        let lstm = Node::new("LSTM", [turned, w, r], [out]).with("hidden_size", 8i64);
        g.add_node(lstm.named(format!("{name}_lstm"))).unwrap();
        g.add_output(out);
        std::sync::Arc::new(g)
    };
    let mut g = Graph::new("branching");
    let x = g
        .add_value("x", Fact::tensor(DType::F32, [1usize, 2, 6]))
        .unwrap();
    g.add_input(x);
    let first = g.add_value("first", Fact::Unknown).unwrap();
    let zero = g.add_initializer("zero", Tensor::scalar(0i64)).unwrap();
    let flat = g.add_value("flat", Fact::Unknown).unwrap();
    let all = g
        .add_initializer("all", Tensor::vector(vec![-1i64]))
        .unwrap();
    g.add_node(Node::new("Reshape", [x, all], [flat])).unwrap();
    g.add_node(Node::new("Gather", [flat, zero], [first]))
        .unwrap();
    let positive = g.add_value("positive", Fact::Unknown).unwrap();
    let none = g.add_initializer("none", Tensor::scalar(0f32)).unwrap();
    g.add_node(Node::new("Greater", [first, none], [positive]))
        .unwrap();
    let y = g.add_value("y", Fact::Unknown).unwrap();
    let node = Node::new("If", [positive], [y])
        .named("choice")
        .with("then_branch", onnx_ir::Attribute::Graph(branch("then", 1)))
        .with("else_branch", onnx_ir::Attribute::Graph(branch("else", 11)));
    g.add_node(node).unwrap();
    g.add_output(y);
    Model::new(g, 17)
}

#[test]
fn weights_in_branches_are_quantized_too() {
    let model = branching();
    let (int8, report) =
        quantize_weights(&model, WeightOnlyConfig::Int8, &QuantizeConfig::default()).unwrap();
    let names: Vec<&str> = report.layers.iter().map(|l| l.node.as_str()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["else_conv", "else_lstm", "then_conv", "then_lstm"]);
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    assert!(report.bytes_after * 2 < report.bytes_before, "{report:?}");
    for seed in [1, 2, 3, 4] {
        let sample = vec![("x".to_owned(), floats(&[1, 2, 6], seed))];
        let difference = relative(&run(&int8, &sample), &run(&model, &sample));
        assert!(difference > 0.0 && difference < 0.04, "{difference}");
    }
    // By name a node of a branch can be left out.
    let mut one = QuantizeConfig::default();
    one.include = vec!["then_conv".to_owned()];
    let (_, report) = quantize_weights(&model, WeightOnlyConfig::Int8, &one).unwrap();
    assert_eq!(report.layers.len(), 1);
    assert_eq!(report.skipped.len(), 3);
}

#[test]
fn products_in_branches_are_quantized_dynamically() {
    let mut config = QuantizeConfig::default();
    config.operators = Some(vec!["Conv".to_owned()]);
    let model = branching();
    let (int8, report) = quantize_dynamic(&model, &config).unwrap();
    assert_eq!(report.layers.len(), 2);
    let skipped: Vec<&str> = report.skipped.iter().map(|s| s.op.as_str()).collect();
    assert_eq!(skipped, ["LSTM", "LSTM"]);
    for seed in [1, 2, 3, 4] {
        let sample = vec![("x".to_owned(), floats(&[1, 2, 6], seed))];
        let difference = relative(&run(&int8, &sample), &run(&model, &sample));
        assert!(difference > 0.0 && difference < 0.03, "{difference}");
    }
    // Nothing is silent: where nothing is left to do, that is an error which says why.
    let error = quantize_dynamic(&model, &QuantizeConfig::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("then_conv (Conv): its operator was not asked for"),
        "{text}"
    );
    let stats = calibrate(
        &model,
        [Ok::<_, String>(vec![(
            "x".to_owned(),
            floats(&[1, 2, 6], 1),
        )])],
        &config,
        &SessionOptions::default(),
    );
    let text = stats.unwrap_err().to_string();
    assert!(
        text.contains("choice (If): its subgraphs are not calibrated"),
        "{text}"
    );
}

#[test]
fn the_edge_tpu_gets_integers_throughout_and_constant_sizes() {
    let model = convolutional();
    let mut config = config();
    config.target = Target::EdgeTpu;
    let data = samples(&[1, 3, 8, 8], 6);
    let (int8, report) =
        quantize_static(&model, &statistics(&model, &data, &config), &config).unwrap();
    assert!(
        report.repairs[0].starts_with("x: batch set to 1"),
        "{:?}",
        report.repairs
    );
    let input = int8.graph.value_by_name("x").unwrap();
    let fact = int8.graph.value(input).fact.as_tensor().unwrap();
    assert_eq!(
        fact.to_string(),
        TensorFact::with_shape(
            Some(DType::F32),
            Some([1, 3, 8, 8].map(Dim::Known).to_vec())
        )
        .to_string()
    );
    // Every node reads dequantized values and every result is quantized; weights are int8 without zero point.
    for (_, node) in int8.graph.nodes() {
        if node.is("QuantizeLinear") || node.is("DequantizeLinear") {
            continue;
        }
        for &v in node.inputs().iter().flatten() {
            let float =
                int8.graph.value(v).fact.as_tensor().and_then(|f| f.dtype) == Some(DType::F32);
            let from = int8
                .graph
                .producer(v)
                .map(|p| int8.graph.node(p).op_type.clone());
            assert!(
                !float || from.as_deref() == Some("DequantizeLinear"),
                "{node:?}"
            );
        }
    }
    assert!(relative(&run(&int8, &data[0]), &run(&model, &data[0])) < 0.1);
    // A convolution that is left out would run on the CPU with all that follows.
    config.exclude = vec!["conv2".to_owned()];
    let stats = statistics(&model, &data, &config);
    let text = quantize_static(&model, &stats, &config)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("conv2 (Conv)") && text.contains("every operator"),
        "{text}"
    );
    // A size that only the user can know.
    let open = transformer_like();
    config.exclude.clear();
    let stats = statistics(&open, &samples(&[1, 5, 16], 2), &config);
    let text = quantize_static(&open, &stats, &config)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("sequence") && text.contains("constant"),
        "{text}"
    );
}

#[test]
fn a_recurrent_weight_around_the_branch_is_quantized_where_it_stands() {
    // The branch reorders the gates of a weight that the main graph holds, as exporters write it.
    let mut inner = Graph::new("then");
    let value = |g: &mut Graph, name: &str| g.add_value(name, Fact::Unknown).unwrap();
    let (x, w, r) = (
        value(&mut inner, "x"),
        value(&mut inner, "w"),
        value(&mut inner, "r"),
    );
    let mut weights = Vec::new();
    for (name, weight) in [("w", w), ("r", r)] {
        let mut halves = Vec::new();
        for (at, (from, to)) in [(16i64, 32i64), (0, 16)].into_iter().enumerate() {
            let bound = |g: &mut Graph, what: &str, v: i64| {
                g.add_initializer(&format!("{name}_{what}{at}"), Tensor::vector(vec![v]))
                    .unwrap()
            };
            let bounds = (bound(&mut inner, "from", from), bound(&mut inner, "to", to));
            let half = value(&mut inner, &format!("{name}_half{at}"));
            inner
                .add_node(Node::new("Slice", [weight, bounds.0, bounds.1], [half]))
                .unwrap();
            halves.push(half);
        }
        let whole = value(&mut inner, &format!("{name}_whole"));
        inner
            .add_node(Node::new("Concat", halves, [whole]).with("axis", 0i64))
            .unwrap();
        let axes = inner
            .add_initializer(&format!("{name}_axes"), Tensor::vector(vec![0i64]))
            .unwrap();
        let ready = value(&mut inner, &format!("{name}_ready"));
        inner
            .add_node(Node::new("Unsqueeze", [whole, axes], [ready]))
            .unwrap();
        weights.push(ready);
    }
    let out = value(&mut inner, "out");
    let lstm = Node::new("LSTM", [x, weights[0], weights[1]], [out]).with("hidden_size", 8i64);
    inner.add_node(lstm.named("lstm")).unwrap();
    inner.add_output(out);
    let mut g = Graph::new("outer");
    let x = g
        .add_value("x", Fact::tensor(DType::F32, [5usize, 1, 12]))
        .unwrap();
    g.add_input(x);
    g.add_initializer("w", floats(&[32, 12], 1)).unwrap();
    g.add_initializer("r", floats(&[32, 8], 2)).unwrap();
    let yes = g.add_initializer("yes", Tensor::scalar(true)).unwrap();
    let condition = g.add_value("condition", Fact::Unknown).unwrap();
    g.add_node(Node::new("Identity", [yes], [condition]))
        .unwrap();
    let y = g.add_value("y", Fact::Unknown).unwrap();
    let branch = std::sync::Arc::new(inner);
    let node = Node::new("If", [condition], [y])
        .with("then_branch", onnx_ir::Attribute::Graph(branch.clone()))
        .with("else_branch", onnx_ir::Attribute::Graph(branch));
    g.add_node(node).unwrap();
    g.add_output(y);
    let model = Model::new(g, 17);
    let (int8, report) =
        quantize_weights(&model, WeightOnlyConfig::Int8, &QuantizeConfig::default()).unwrap();
    assert_eq!(
        (report.layers.len(), report.skipped.len()),
        (2, 0),
        "{report:?}"
    );
    assert!(
        report
            .layers
            .iter()
            .all(|l| l.node == "lstm" && l.op == "LSTM")
    );
    assert_eq!(count(&int8, "DequantizeLinear"), 2);
    assert!(report.bytes_after * 2 < report.bytes_before);
    let sample = vec![("x".to_owned(), floats(&[5, 1, 12], 9))];
    let difference = relative(&run(&int8, &sample), &run(&model, &sample));
    assert!(difference > 0.0 && difference < 0.02, "{difference}");
}

#[test]
fn the_reported_noise_of_an_input_is_that_of_its_codes_behind_the_activation() {
    let model = convolutional();
    let data = samples(&[1, 3, 8, 8], 8);
    for method in [Method::MinMax, Method::Percentile(98.0)] {
        let mut config = config();
        config.method = method;
        let (_, report) =
            quantize_static(&model, &statistics(&model, &data, &config), &config).unwrap();
        // `conv2` reads what the activation behind `conv1` left.
        let layer = &report.layers[1];
        let (low, high) = layer.input_range.unwrap();
        assert_eq!(low, 0.0);
        let step = f64::from(high - low) / 255.0;
        let session = Session::new(model.clone(), &SessionOptions::default()).unwrap();
        let (mut signal, mut noise, mut beyond, mut count) = (0.0, 0.0, 0usize, 0usize);
        for sample in &data {
            let inputs: Vec<(&str, Tensor)> =
                sample.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
            let tap = |_: &str, t: &Tensor| {
                for &x in t.as_slice::<f32>().unwrap() {
                    let x = f64::from(x);
                    let back = (x / step).round().clamp(0.0, 255.0) * step;
                    signal += x * x;
                    noise += (x - back).powi(2);
                    beyond += usize::from(x > f64::from(high) + step / 2.0);
                    count += 1;
                }
            };
            session.run_with_taps(&inputs, &["r1"], tap).unwrap();
        }
        let expected = 10.0 * f64::log10(signal / noise);
        let found = layer.input_sqnr_db.unwrap();
        assert!((found - expected).abs() < 0.3, "{method:?}: {found} {expected}");
        let clipped = layer.clipped_share.unwrap();
        assert!((clipped - beyond as f64 / count as f64).abs() < 0.002, "{clipped}");
    }
}
