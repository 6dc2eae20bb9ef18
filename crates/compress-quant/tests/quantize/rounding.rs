//! Weights rounded to what the layers read, in every mode.

use crate::build::Build;
use crate::{config, floats, noise, run};
use compress_quant::Tensor;
use compress_quant::graph::{
    Calibration, Mode, QuantizeConfig, Report, Rounding, Sample, WeightOnlyConfig, calibrate_for,
    quantize_dynamic, quantize_dynamic_calibrated, quantize_static, quantize_weights,
    quantize_weights_calibrated,
};
use onnx_ir::Model;
use runtime_session::SessionOptions;

const WIDTH: usize = 32;
const BLOCKS: WeightOnlyConfig = WeightOnlyConfig::Blocks { bits: 4, block: 16 };

/// `x · W + b`, the bias in an `Add` as exporters of transformers write it.
fn linear() -> Model {
    Build::new(&[1, 8, WIDTH])
        .weight("w", &[WIDTH, 24], 1)
        .node("MatMul", &["x", "w"], "product")
        .weight("b", &[24], 2)
        .node("Add", &["b", "product"], "y")
        .model(&["y"])
}

/// Inputs of which each has much in common with the others of its row, and a mean that is not zero.
fn related(count: u32, seed: u32) -> Vec<Sample> {
    let sample = |i: u32| {
        let mut own = noise(seed + i, 8 * WIDTH);
        let common = noise(seed + 1000 + i, 8);
        for (row, common) in own.chunks_mut(WIDTH).zip(common) {
            row.iter_mut().for_each(|x| *x = 0.3 * *x + common + 0.5);
        }
        let tensor = Tensor::from_vec(&[1, 8, WIDTH], own).unwrap();
        vec![("x".to_owned(), tensor)]
    };
    (0..count).map(sample).collect()
}

fn calibrated() -> QuantizeConfig {
    let mut config = config();
    config.rounding = Rounding::Calibrated;
    config
}

/// As [`calibrated`], without settings of static quantization only.
fn weights_calibrated() -> QuantizeConfig {
    let mut config = QuantizeConfig::default();
    config.rounding = Rounding::Calibrated;
    config
}

fn gathered(mode: Mode, model: &Model, samples: &[Sample], threads: usize) -> Calibration {
    let samples = samples.iter().map(|s| Ok::<_, String>(s.clone()));
    let mut options = SessionOptions::default();
    options.threads = threads;
    let config = if mode == Mode::Static {
        calibrated()
    } else {
        weights_calibrated()
    };
    calibrate_for(mode, model, samples, &config, &options).unwrap()
}

fn bytes(model: &Model, name: &str) -> Vec<u8> {
    let id = model.graph.value_by_name(name).unwrap();
    model.graph.constant(id).unwrap().bytes().to_vec()
}

/// Mean squared difference of the outputs.
fn error(found: &Model, model: &Model, samples: &[Sample]) -> f64 {
    let (mut sum, mut count) = (0f64, 0);
    for sample in samples {
        for (a, b) in run(found, sample).iter().zip(run(model, sample)) {
            sum += f64::from(a - b).powi(2);
            count += 1;
        }
    }
    sum / f64::from(count)
}

fn in_weights(model: &Model, form: WeightOnlyConfig, samples: &[Sample]) -> (Model, Report) {
    let inputs = gathered(form.mode(), model, samples, 1);
    quantize_weights_calibrated(model, form, &inputs, &weights_calibrated()).unwrap()
}

fn texts(report: &Report) -> Vec<String> {
    report.notes.iter().map(ToString::to_string).collect()
}

#[test]
fn outputs_come_closer_on_samples_that_were_not_calibrated_on() {
    let model = linear();
    let held_out = related(16, 5000);
    for form in [WeightOnlyConfig::Int8, BLOCKS] {
        let (nearest, _) = quantize_weights(&model, form, &QuantizeConfig::default()).unwrap();
        let (found, report) = in_weights(&model, form, &related(32, 1));
        assert!(report.notes.is_empty(), "{:?}", report.notes);
        assert!(report.layers[0].product_sqnr_db.unwrap() > 20.0);
        let (before, after) = (
            error(&nearest, &model, &held_out),
            error(&found, &model, &held_out),
        );
        assert!(after * 3.0 < before, "{form:?}: {before} {after}");
        // The mean of the error went into the bias.
        assert_ne!(bytes(&found, "b_corrected"), bytes(&model, "b"));
        assert!(found.graph.value_by_name("b").is_none());
    }
}

#[test]
fn every_mode_rounds_a_product_to_the_same_codes() {
    let model = linear();
    let samples = related(32, 1);
    let (weights, _) = in_weights(&model, WeightOnlyConfig::Int8, &samples);
    let inputs = gathered(Mode::Dynamic, &model, &samples, 1);
    let (dynamic, report) =
        quantize_dynamic_calibrated(&model, &inputs, &weights_calibrated()).unwrap();
    assert!(report.layers[0].product_sqnr_db.is_some());
    let inputs = gathered(Mode::Static, &model, &samples, 1);
    let (fixed, report) = quantize_static(&model, &inputs, &calibrated()).unwrap();
    assert!(report.layers[0].product_sqnr_db.is_some());
    let (nearest, _) = quantize_dynamic(&model, &QuantizeConfig::default()).unwrap();
    let name = "w_quantized";
    assert_eq!(bytes(&dynamic, name), bytes(&weights, name));
    assert_eq!(bytes(&fixed, name), bytes(&weights, name));
    let name = "b_corrected";
    assert_eq!(bytes(&fixed, name), bytes(&weights, name));
    assert_ne!(
        bytes(&dynamic, "w_quantized"),
        bytes(&nearest, "w_quantized")
    );
}

#[test]
fn what_quantizing_inputs_at_run_time_takes_from_their_mean_goes_into_the_bias() {
    // All but the first of a row round to zero beside it.
    let sample = |i: u32| {
        let mut values = noise(i, 8 * WIDTH);
        for row in values.chunks_mut(WIDTH) {
            row.iter_mut().for_each(|x| *x = 0.01 + 0.005 * *x);
            row[0] = 10.0;
        }
        let tensor = Tensor::from_vec(&[1, 8, WIDTH], values).unwrap();
        vec![("x".to_owned(), tensor)]
    };
    let model = linear();
    let samples: Vec<Sample> = (0..16).map(sample).collect();
    let held_out: Vec<Sample> = (100..110).map(sample).collect();
    let (nearest, _) = quantize_dynamic(&model, &QuantizeConfig::default()).unwrap();
    let inputs = gathered(Mode::Dynamic, &model, &samples, 1);
    let (found, _) = quantize_dynamic_calibrated(&model, &inputs, &weights_calibrated()).unwrap();
    let (before, after) = (
        error(&nearest, &model, &held_out),
        error(&found, &model, &held_out),
    );
    assert!(after * 10.0 < before, "{before} {after}");
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    // Large enough that rounding shares channels out.
    let model = Build::new(&[1, 8, WIDTH])
        .weight("up", &[WIDTH, 320], 1)
        .node("MatMul", &["x", "up"], "middle")
        .weight("w", &[320, 300], 2)
        .node("MatMul", &["middle", "w"], "y")
        .model(&["y"]);
    let samples = related(64, 1);
    for form in [WeightOnlyConfig::Int8, BLOCKS] {
        let on = |threads| {
            let mut config = weights_calibrated();
            config.threads = threads;
            let inputs = gathered(form.mode(), &model, &samples, threads);
            let (found, report) =
                quantize_weights_calibrated(&model, form, &inputs, &config).unwrap();
            assert!(report.notes.is_empty(), "{:?}", report.notes);
            (bytes(&found, "w_quantized"), bytes(&found, "w_scale"))
        };
        assert!(on(1) == on(3), "{form:?}");
    }
}

#[test]
fn what_is_not_rounded_to_its_inputs_is_said() {
    // One matrix for each of a batch.
    let model = Build::new(&[2, 8, WIDTH])
        .weight("w", &[2, WIDTH, 4], 1)
        .node("MatMul", &["x", "w"], "y")
        .model(&["y"]);
    let sample = vec![("x".to_owned(), floats(&[2, 8, WIDTH], 3))];
    let inputs = gathered(Mode::Dynamic, &model, &[sample], 1);
    let (_, report) = quantize_dynamic_calibrated(&model, &inputs, &weights_calibrated()).unwrap();
    let note = "w: rounded to nearest: its inputs do not come in rows";
    assert_eq!(texts(&report), [note]);
    // Too few rows.
    let model = linear();
    let (_, report) = in_weights(&model, BLOCKS, &related(3, 1));
    let note = "w: rounded to nearest: 24 rows of inputs were seen, 32 are needed: calibrate with more samples";
    assert_eq!(texts(&report), [note]);
    let (nearest, _) = quantize_weights(&model, BLOCKS, &QuantizeConfig::default()).unwrap();
    let (found, _) = in_weights(&model, BLOCKS, &related(3, 1));
    assert_eq!(bytes(&found, "w_quantized"), bytes(&nearest, "w_quantized"));
}

#[test]
fn a_sum_that_is_no_bias_is_left_as_it_is() {
    // One value for each place of a sequence, and a product that is read twice.
    let model = Build::new(&[1, 8, WIDTH])
        .weight("w", &[WIDTH, 24], 1)
        .node("MatMul", &["x", "w"], "product")
        .weight("places", &[8, 24], 2)
        .node("Add", &["product", "places"], "y")
        .weight("v", &[WIDTH, 24], 3)
        .node("MatMul", &["x", "v"], "twice")
        .weight("b", &[24], 4)
        .node("Add", &["twice", "b"], "z")
        .node("Relu", &["twice"], "r")
        .model(&["y", "z", "r"]);
    let (found, _) = in_weights(&model, BLOCKS, &related(32, 1));
    assert_eq!(bytes(&found, "places"), bytes(&model, "places"));
    assert_eq!(bytes(&found, "b"), bytes(&model, "b"));
}
