//! What a model is made into before it is trained.

use crate::digits::{TRAINING, logits, samples};
use crate::models::trained;
use compress_quant::graph::qat::{LayerBits, QatConfig, QatReport, prepare_qat};
use compress_quant::graph::{
    Calibration, Format, QuantizeConfig, QuantizeError, Target, calibrate, prepare, quantize_static,
};
use compress_quant::qat::StepMethod;
use onnx_ir::{Attribute, Model};
use runtime_session::SessionOptions;

pub(crate) fn statistics(config: &QuantizeConfig) -> Calibration {
    let samples = samples(16).into_iter().map(Ok::<_, String>);
    calibrate(trained(), samples, config, &SessionOptions::default()).unwrap()
}

pub(crate) fn prepared(config: &QatConfig) -> (Model, QatReport) {
    prepare_qat(trained(), &statistics(&config.quantize), config).unwrap()
}

pub(crate) fn bits(weights: u32, activations: u32) -> QatConfig {
    let mut config = QatConfig::default();
    (config.weight_bits, config.activation_bits) = (weights, activations);
    config
}

fn relative(a: &[f32], b: &[f32]) -> f32 {
    let scale = b.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / scale
}

#[test]
fn weights_of_a_file_lie_anywhere() {
    let loaded = Model::load_bytes(trained().to_bytes().unwrap(), None).unwrap();
    let lies_oddly = |tensor: &compress_quant::Tensor| tensor.as_slice::<f32>().is_err();
    let mut floats = loaded.graph.initializers();
    assert!(
        floats
            .any(|(_, tensor)| tensor.dtype() == compress_quant::DType::F32 && lies_oddly(tensor))
    );
    let config = QatConfig::default();
    let statistics = statistics(&config.quantize);
    let (file, _) = prepare_qat(&loaded, &statistics, &config).unwrap();
    let (memory, _) = prepare_qat(trained(), &statistics, &config).unwrap();
    assert_eq!(file.to_bytes().unwrap(), memory.to_bytes().unwrap());
}

fn count(model: &Model, op: &str) -> usize {
    model.graph.nodes().filter(|(_, n)| n.op_type == op).count()
}

#[test]
fn quantizers_stand_where_static_quantization_puts_pairs() {
    let (model, report) = prepared(&QatConfig::default());
    // image, relu1, relu2, conv3, sum, mean (= flat) and four weights.
    assert_eq!(count(&model, "LearnedFakeQuantize"), 11);
    for op in [
        "QuantizeLinear",
        "DequantizeLinear",
        "BatchNormalization",
        "Relu",
    ] {
        assert_eq!(count(&model, op), 0, "{op}");
    }
    let names: Vec<&str> = report.layers.iter().map(|l| l.node.as_str()).collect();
    assert_eq!(names, ["conv1", "conv2", "conv3", "logits"]);
    assert_eq!(
        report.layers[0].activation_step.as_deref(),
        Some("image_step")
    );
    assert_eq!(
        report.layers[3].weight_step.as_deref(),
        Some("linear_w_step")
    );
    assert!(report.layers[1].weight_sqnr_db.unwrap() > 35.0);
    // Floats are where they were: weights, biases and steps.
    let shape = |name: &str| {
        let id = model.graph.value_by_name(name).unwrap();
        model.graph.initializer(id).unwrap().shape().to_vec()
    };
    assert_eq!(shape("conv2_w_folded"), [12, 8, 3, 3]);
    assert_eq!(shape("conv2_w_folded_step"), [12, 1, 1, 1]);
    assert_eq!(shape("linear_w_step"), [1, 10]);
    assert_eq!(shape("image_step"), [1, 1, 1, 1]);
    assert_eq!(shape("linear_b"), [10]);
    let integers = model
        .graph
        .initializers()
        .filter(|(_, t)| t.dtype().is_integer());
    assert_eq!(integers.count(), 0);
}

#[test]
fn before_training_it_is_what_static_quantization_gives() {
    let config = QatConfig::default();
    let (model, _) = prepared(&config);
    let (int8, _) =
        quantize_static(trained(), &statistics(&config.quantize), &config.quantize).unwrap();
    let (a, b) = (
        logits(&model, TRAINING..TRAINING + 64),
        logits(&int8, TRAINING..TRAINING + 64),
    );
    let float = logits(trained(), TRAINING..TRAINING + 64);
    assert!(relative(&a, &b) < 1e-4, "{}", relative(&a, &b));
    assert!(relative(&a, &float) < 0.1, "{}", relative(&a, &float));
}

#[test]
fn bits_are_those_of_the_layer_and_wide_where_no_layer_reads() {
    let mut config = bits(4, 4);
    config.layers = vec![LayerBits::of(["conv2"]).weights(3).activations(5)];
    let (model, report) = prepared(&config);
    let found: Vec<_> = report
        .layers
        .iter()
        .map(|l| (l.weight_bits, l.activation_bits))
        .collect();
    // The image is data, and keeps 8 bits.
    let expected = [(4, 8), (3, 5), (4, 4), (4, 4)].map(|(w, a)| (Some(w), Some(a)));
    assert_eq!(found, expected);
    let codes = |output: &str| {
        let id = model.graph.value_by_name(output).unwrap();
        let node = model.graph.node(model.graph.producer(id).unwrap());
        ["q_min", "q_max"].map(|name| match node.attributes.get(name) {
            Some(Attribute::Int(v)) => *v,
            _ => panic!("{output} has no {name}"),
        })
    };
    let read = |node: &str, input: usize| {
        let (_, node) = model.graph.nodes().find(|(_, n)| n.name == node).unwrap();
        model.graph.name_of(node.input(input).unwrap()).to_owned()
    };
    assert_eq!(codes(&read("conv2", 1)), [-4, 3]);
    assert_eq!(codes(&read("conv2", 0)), [0, 31]);
    assert_eq!(codes(&read("conv3", 0)), [0, 15]);
    assert_eq!(codes(&read("conv1", 0)), [0, 255]);
    // What the convolution gives to the sum is read by no layer.
    assert_eq!(codes(&read("sum", 0)), [0, 255]);
    config.layers = vec![LayerBits::of(["conv1"]).activations(6)];
    config.end_bits = Some(8);
    let report = prepared(&config).1;
    let found: Vec<_> = report
        .layers
        .iter()
        .map(|l| (l.weight_bits, l.activation_bits))
        .collect();
    let expected = [(8, 6), (4, 4), (4, 4), (8, 8)].map(|(w, a)| (Some(w), Some(a)));
    assert_eq!(found, expected);
}

#[test]
fn offsets_are_learned_where_zero_is_not_the_least_code() {
    let mut config = QatConfig::default();
    config.method = StepMethod::LsqPlus;
    let (model, report) = prepared(&config);
    // Of what the convolution gives to the sum alone: everything else is 0 or more.
    assert_eq!(report.offsets, ["conv3_normalised_offset"]);
    assert_eq!(report.steps.len(), 10);
    let id = model
        .graph
        .value_by_name("conv3_normalised_offset")
        .unwrap();
    assert!(
        model
            .graph
            .initializer(id)
            .unwrap()
            .as_slice::<f32>()
            .unwrap()[0]
            < 0.0
    );
}

#[test]
fn targets_have_their_codes() {
    for (target, expected) in [
        (Target::Tflite, [-128, 127]),
        (Target::TensorRt, [-128, 127]),
    ] {
        let mut config = QatConfig::default();
        config.quantize.target = target;
        let (model, _) = prepared(&config);
        let (_, node) = model
            .graph
            .nodes()
            .find(|(_, n)| {
                n.op_type == "LearnedFakeQuantize" && n.attributes.get("batched").is_some()
            })
            .unwrap();
        let code = |name| match node.attributes.get(name) {
            Some(Attribute::Int(v)) => *v,
            _ => panic!("no {name}"),
        };
        assert_eq!([code("q_min"), code("q_max")], expected);
    }
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let refused = |change: &dyn Fn(&mut QatConfig)| {
        let mut config = QatConfig::default();
        let statistics = statistics(&config.quantize);
        change(&mut config);
        prepare_qat(trained(), &statistics, &config)
            .unwrap_err()
            .to_string()
    };
    let found = refused(&|c| c.weight_bits = 9);
    assert_eq!(found, "the number of bits is 9, it must be 2 to 8");
    let found = refused(&|c| c.layers = vec![LayerBits::of(["sum"]).weights(4)]);
    assert_eq!(
        found,
        "no quantized layer matches `sum`: the layers are conv1, conv2, conv3, logits"
    );
    let found = refused(&|c| c.quantize.format = Format::QLinear);
    assert_eq!(
        found,
        "`format` has no effect on quantization-aware training"
    );
    let found = refused(&|c| c.method = StepMethod::Dsq { alpha: 2.0 });
    assert_eq!(found, "alpha is 2, it must lie in (0, 1)");
    // A model that is prepared already is refused as one that is quantized.
    let (model, _) = prepared(&QatConfig::default());
    let error = prepare(&model).unwrap_err();
    assert!(
        matches!(error, QuantizeError::AlreadyQuantized { .. }),
        "{error}"
    );
}
