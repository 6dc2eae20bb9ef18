//! The integer file of a model that was trained.

use crate::digits::{ALL, TRAINING, classes, dataset, logits};
use crate::graph::{bits, prepared};
use crate::models::fit;
use compress_quant::DType;
use compress_quant::graph::QuantizeError;
use compress_quant::graph::Target;
use compress_quant::graph::qat::{QatConfig, export_qat};
use compress_quant::qat::StepMethod;
use compress_train::trainer::TrainerConfig;
use onnx_ir::Model;

fn count(model: &Model, op: &str) -> usize {
    model.graph.nodes().filter(|(_, n)| n.op_type == op).count()
}

#[test]
fn a_pair_and_codes_take_the_place_of_each_quantizer() {
    let (model, _) = prepared(&QatConfig::default());
    let (int8, report) = export_qat(&model).unwrap();
    assert_eq!(
        (report.weights, report.activations, report.biases),
        (4, 7, 4)
    );
    assert_eq!(count(&int8, "LearnedFakeQuantize"), 0);
    assert_eq!(count(&int8, "QuantizeLinear"), 7);
    // Seven activations, four weights and four biases.
    assert_eq!(count(&int8, "DequantizeLinear"), 15);
    assert_eq!(count(&int8, "Clip"), 0);
    assert_eq!(int8.opsets.get("modelpress"), None);
    let written = Model::load_bytes(int8.to_bytes().unwrap(), None).unwrap();
    let findings = onnx_ir::check::check_with_facts(&written);
    assert!(findings.is_empty(), "{findings:?}");
    let large = int8
        .graph
        .initializers()
        .filter(|(_, t)| t.dtype() == DType::F32 && t.len() > 12);
    assert_eq!(large.count(), 0);
    assert!(report.bytes_after * 2 < report.bytes_before, "{report:?}");
}

#[test]
fn codes_of_fewer_bits_stand_in_bytes_and_are_cut_off() {
    let (model, _) = prepared(&bits(4, 4));
    let (int8, _) = export_qat(&model).unwrap();
    // relu1, relu2, mean and flat, which layers read; the image, the branch of the sum and the sum have 8 bits.
    assert_eq!(count(&int8, "Clip"), 4);
    let mut weights = 0;
    for (id, tensor) in int8.graph.initializers() {
        if int8.graph.name_of(id).ends_with("_quantized") && tensor.rank() > 1 {
            let codes = tensor.as_slice::<i8>().unwrap();
            assert!(
                codes.iter().all(|q| (-8..=7).contains(q)) && codes.iter().any(|q| q.abs() > 5)
            );
            weights += 1;
        }
    }
    assert_eq!(weights, 4);
}

/// By how much the file differs from what was trained, in units of the greatest logit, in how many of a thousand logits by more than 10⁻⁴ of it, and in
/// how many classes.
fn apart(config: &QatConfig) -> (f32, usize, usize) {
    let (model, _) = prepared(config);
    let (int8, _) = export_qat(&model).unwrap();
    apart_of(&model, &int8)
}

fn apart_of(model: &Model, int8: &Model) -> (f32, usize, usize) {
    let (a, b) = (logits(model, TRAINING..ALL), logits(int8, TRAINING..ALL));
    let most = a.iter().fold(0f32, |m, v| m.max(v.abs()));
    let apart = a
        .iter()
        .zip(&b)
        .fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    let classes = classes(&a).into_iter().zip(classes(&b));
    let off = a
        .iter()
        .zip(&b)
        .filter(|(a, b)| (*a - *b).abs() > 1e-4 * most);
    let off = off.count() * 1000 / a.len();
    (apart / most, off, classes.filter(|(a, b)| a != b).count())
}

#[test]
fn the_file_gives_what_was_trained() {
    // What is left is the order of sums: integers add up exactly, floats do not, so that a sum between two codes may go either way. Biases are int32
    // but for TensorRT.
    let cases = [
        (8, 8, 0.01, 0),
        (4, 8, 0.015, 1),
        (8, 4, 0.12, 0),
        (4, 4, 0.13, 1),
        (3, 5, 0.1, 1),
        (2, 4, 0.13, 1),
    ];
    for target in [Target::Ort, Target::TensorRt, Target::Tflite] {
        for (weights, activations, most, others) in cases {
            let (most, others) = match target {
                Target::TensorRt => (1e-4, 0),
                _ => (most, others),
            };
            for method in [StepMethod::Lsq, StepMethod::LsqPlus, StepMethod::Pact] {
                let mut config = bits(weights, activations);
                config.method = method;
                config.quantize.target = target;
                let (apart, off, classes) = apart(&config);
                let name = target.name();
                println!("W{weights}A{activations} {method:?} {name}: {apart:.2e} {off} {classes}");
                assert!(
                    apart < most && off <= 5 && classes <= others,
                    "W{weights}A{activations} {method:?} {name}: {apart} {off} {classes}"
                );
            }
        }
    }
}

#[test]
fn after_training_too_the_file_gives_what_was_trained() {
    let (model, _) = prepared(&bits(4, 4));
    let mut config = TrainerConfig::default();
    (config.epochs, config.batch) = (2, 32);
    (config.learning_rate, config.step_share) = (Some(0.01), Some(TrainerConfig::FRESH_STEP_SHARE));
    let trained = fit(&model, dataset(0..TRAINING), config);
    let biases = |model: &Model| {
        let id = model.graph.value_by_name("linear_b").unwrap();
        let tensor = model.graph.initializer(id).unwrap();
        tensor.as_slice::<f32>().unwrap().to_vec()
    };
    assert_ne!(biases(&trained), biases(&model));
    let (int8, report) = export_qat(&trained).unwrap();
    assert_eq!(report.biases, 4);
    let (apart, off, classes) = apart_of(&trained, &int8);
    assert!(
        apart < 0.13 && off <= 5 && classes <= 1,
        "{apart} {off} {classes}"
    );
}

#[test]
fn every_target_has_its_file() {
    for target in [Target::TensorRt, Target::Tflite, Target::EdgeTpu] {
        let mut config = QatConfig::default();
        config.quantize.target = target;
        let (model, _) = prepared(&config);
        let (file, report) = export_qat(&model).unwrap();
        let biases = if target == Target::TensorRt { 0 } else { 4 };
        assert_eq!(report.biases, biases, "{}", target.name());
        let is_fixed = file
            .fact("image")
            .unwrap()
            .as_tensor()
            .unwrap()
            .sizes()
            .is_some();
        assert_eq!(is_fixed, target == Target::EdgeTpu);
    }
}

#[test]
fn a_model_without_quantizers_is_refused() {
    let error = export_qat(crate::models::trained()).unwrap_err();
    assert!(matches!(error, QuantizeError::NotPrepared), "{error}");
    let (mut model, _) = prepared(&QatConfig::default());
    let id = model.graph.value_by_name("image_step").unwrap();
    let bad = compress_quant::Tensor::from_vec(&[1, 1, 1, 1], vec![f32::NAN]).unwrap();
    model.graph.set_initializer(id, bad);
    let error = export_qat(&model).unwrap_err().to_string();
    assert!(
        error.contains("its step is NaN") && error.contains("image"),
        "{error}"
    );
}
