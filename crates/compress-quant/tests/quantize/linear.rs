//! Products of matrices with a bias in a sum of its own, which preparing makes a `Gemm` of.

use crate::build::Build;
use crate::{config, count, relative, run, samples, statistics};
use compress_quant::graph::{
    Mode, QuantizeConfig, QuantizeError, Rounding, WeightOnlyConfig, calibrate_for,
    quantize_dynamic, quantize_static, quantize_weights, quantize_weights_calibrated,
};
use onnx_ir::Model;
use runtime_session::SessionOptions;

const BLOCKS: WeightOnlyConfig = WeightOnlyConfig::Blocks { bits: 4, block: 16 };

fn linear() -> Model {
    Build::new(&[5, 32])
        .weight("w", &[32, 24], 1)
        .node("MatMul", &["x", "w"], "product")
        .weight("b", &[24], 2)
        .node("Add", &["product", "b"], "y")
        .model(&["y"])
}

#[test]
fn weights_in_blocks_keep_the_bias_beside_them() {
    let model = linear();
    let data = samples(&[5, 32], 20);
    let expected = run(&model, &data[0]);
    let (nearest, _) = quantize_weights(&model, BLOCKS, &QuantizeConfig::default()).unwrap();
    let mut config = QuantizeConfig::default();
    config.rounding = Rounding::Calibrated;
    let given = data.iter().cloned().map(Ok::<_, String>);
    let seen = calibrate_for(
        Mode::Blocks,
        &model,
        given,
        &config,
        &SessionOptions::default(),
    )
    .unwrap();
    let (rounded, report) = quantize_weights_calibrated(&model, BLOCKS, &seen, &config).unwrap();
    assert!(report.layers[0].product_sqnr_db.is_some());
    for found in [nearest, rounded] {
        let counts = ["MatMulNBits", "Add", "Gemm"].map(|op| count(&found, op));
        assert_eq!(counts, [1, 1, 0]);
        assert!(relative(&run(&found, &data[0]), &expected) < 0.15);
    }
}

#[test]
fn the_product_may_be_asked_for_by_its_own_operator() {
    let model = linear();
    let data = samples(&[5, 32], 4);
    let mut config = config();
    config.operators = Some(vec!["MatMul".to_owned()]);
    let stats = statistics(&model, &data, &config);
    let mut plain = QuantizeConfig::default();
    plain.operators.clone_from(&config.operators);
    for found in [
        quantize_static(&model, &stats, &config).unwrap().0,
        quantize_dynamic(&model, &plain).unwrap().0,
        quantize_weights(&model, WeightOnlyConfig::Int8, &plain)
            .unwrap()
            .0,
    ] {
        assert!(relative(&run(&found, &data[0]), &run(&model, &data[0])) < 0.03);
    }
    plain.operators = Some(vec!["Conv".to_owned()]);
    let error = quantize_dynamic(&model, &plain).unwrap_err();
    assert!(
        matches!(error, QuantizeError::NothingToQuantize { .. }),
        "{error}"
    );
}

#[test]
fn an_excluded_activation_stays_float_and_is_reported() {
    let model = Build::new(&[1, 3, 6, 6])
        .weight("w1", &[4, 3, 3, 3], 1)
        .node("Conv", &["x", "w1"], "c1")
        .node("Relu", &["c1"], "relu")
        .weight("w2", &[2, 4, 1, 1], 2)
        .node("Conv", &["relu", "w2"], "y")
        .model(&["y"]);
    let data = samples(&[1, 3, 6, 6], 4);
    let mut config = config();
    config.exclude = vec!["relu".to_owned()];
    let stats = statistics(&model, &data, &config);
    let (int8, report) = quantize_static(&model, &stats, &config).unwrap();
    assert_eq!(count(&int8, "Relu"), 1);
    let skipped = report.skipped.iter().find(|s| s.op == "Relu").unwrap();
    assert_eq!(skipped.reason, "excluded by name");
    assert!(relative(&run(&int8, &data[0]), &run(&model, &data[0])) < 0.05);
}

#[test]
fn averages_of_spread_windows_have_no_integer_operator() {
    let model = Build::new(&[1, 3, 8, 8])
        .weight("w1", &[4, 3, 1, 1], 1)
        .node("Conv", &["x", "w1"], "c")
        .node_with("AveragePool", &["c"], "p", |node| {
            node.with("kernel_shape", vec![2i64, 2])
                .with("dilations", vec![2i64, 2])
        })
        .weight("w2", &[2, 4, 1, 1], 2)
        .node("Conv", &["p", "w2"], "y")
        .model(&["y"]);
    let mut model = model;
    model.opsets.set("", 19);
    let data = samples(&[1, 3, 8, 8], 4);
    let mut config = config();
    config.format = compress_quant::graph::Format::QLinear;
    let stats = statistics(&model, &data, &config);
    let (int8, _) = quantize_static(&model, &stats, &config).unwrap();
    assert_eq!(count(&int8, "QLinearAveragePool"), 0);
    assert_eq!(count(&int8, "QLinearConv"), 2);
}

#[test]
fn a_weight_of_several_readers_is_stored_once() {
    let shared = |readers: usize| {
        let mut build = Build::new(&[4, 32]).weight("w", &[32, 32], 1);
        for i in 0..readers {
            let from = if i == 0 {
                "x".to_owned()
            } else {
                format!("t{}", i - 1)
            };
            build = build.node("MatMul", &[&from, "w"], &format!("t{i}"));
        }
        build.model(&[&format!("t{}", readers - 1)])
    };
    let (one, three) = (shared(1), shared(3));
    let data = samples(&[4, 32], 4);
    let plain = QuantizeConfig::default();
    let with = config();
    let forms = [WeightOnlyConfig::Int8, BLOCKS];
    let codes = |model: &Model| {
        let sizes = model.graph.initializers().map(|(_, t)| t.byte_len());
        sizes.filter(|&bytes| bytes >= 512).sum::<usize>()
    };
    let in_mode = |model: &Model| {
        let stats = statistics(model, &data, &with);
        let mut found = vec![
            quantize_dynamic(model, &plain).unwrap().0,
            quantize_static(model, &stats, &with).unwrap().0,
        ];
        found.extend(forms.map(|form| quantize_weights(model, form, &plain).unwrap().0));
        found
    };
    for (one, three) in in_mode(&one).iter().zip(in_mode(&three)) {
        assert!(codes(one) > 0);
        assert_eq!(codes(one), codes(&three));
    }
    for found in in_mode(&three) {
        assert!(relative(&run(&found, &data[0]), &run(&three, &data[0])) < 0.25);
    }
}
