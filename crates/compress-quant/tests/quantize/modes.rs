//! Requests that a mode refuses, what has no integer form, and the bytes that reports count.

use crate::build::Build;
use crate::{config, count, relative, run, samples, statistics, transformer_like};
use compress_quant::graph::{
    Format, QuantizeConfig, QuantizeError, Rounding, Target, WeightOnlyConfig, quantize_dynamic,
    quantize_static, quantize_weights,
};
use compress_quant::{DType, Method, RangeRule, WeightRule};

#[test]
fn a_setting_that_the_mode_would_not_look_at_is_refused() {
    let model = transformer_like();
    let with = |set: fn(&mut QuantizeConfig)| {
        let mut config = QuantizeConfig::default();
        set(&mut config);
        config
    };
    let cases: [(&str, QuantizeConfig); 5] = [
        ("target", with(|c| c.target = Target::Tflite)),
        ("activations", with(|c| c.activations = Some(DType::I8))),
        (
            "activation_rule",
            with(|c| c.activation_rule = Some(RangeRule::Symmetric)),
        ),
        ("method", with(|c| c.method = Method::MinMax)),
        ("format", with(|c| c.format = Format::QLinear)),
    ];
    let blocks = WeightOnlyConfig::Blocks { bits: 8, block: 32 };
    for (name, config) in cases {
        let errors = [
            quantize_dynamic(&model, &config).unwrap_err(),
            quantize_weights(&model, WeightOnlyConfig::Int8, &config).unwrap_err(),
            quantize_weights(&model, blocks, &config).unwrap_err(),
        ];
        for error in errors {
            assert!(
                matches!(error, QuantizeError::NotInMode { setting, .. } if setting == name),
                "{error}"
            );
        }
    }
    let config = with(|c| c.rounding = Rounding::Calibrated);
    let errors = [
        quantize_dynamic(&model, &config).unwrap_err(),
        quantize_weights(&model, WeightOnlyConfig::Int8, &config).unwrap_err(),
        quantize_weights(&model, blocks, &config).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, QuantizeError::NoInputs), "{error}");
    }
    // How channels are scaled matters to all but blocks.
    let config = with(|c| c.weight_rule = WeightRule::LeastSquares);
    assert!(quantize_dynamic(&model, &config).is_ok());
    assert!(quantize_weights(&model, WeightOnlyConfig::Int8, &config).is_ok());
    let error = quantize_weights(&model, blocks, &config).unwrap_err();
    assert!(matches!(error, QuantizeError::NotInMode { .. }), "{error}");
    for (bits, block) in [(3, 32), (4, 512), (4, 1 << 62), (8, 24)] {
        let form = WeightOnlyConfig::Blocks { bits, block };
        let error = quantize_weights(&model, form, &QuantizeConfig::default()).unwrap_err();
        assert!(matches!(error, QuantizeError::Setting(_)), "{error}");
    }
}

#[test]
fn what_has_no_dynamic_integer_form_is_left_float_and_said_so() {
    let model = Build::new(&[1, 4, 5, 5])
        .weight("w1", &[4, 6, 2, 2], 1)
        .node("ConvTranspose", &["x", "w1"], "up")
        .weight("w2", &[3, 6, 1, 1], 2)
        .node("Conv", &["up", "w2"], "y")
        .model(&["y"]);
    let mut config = QuantizeConfig::default();
    config.operators = Some(vec!["Conv".to_owned()]);
    let (int8, report) = quantize_dynamic(&model, &config).unwrap();
    config.operators = Some(vec!["Conv".to_owned(), "ConvTranspose".to_owned()]);
    let error = quantize_dynamic(&model, &config).unwrap_err();
    assert!(
        matches!(&error, QuantizeError::NoSuchOperator { operator, .. } if operator == "ConvTranspose"),
        "{error}"
    );
    assert_eq!(
        (count(&int8, "ConvInteger"), count(&int8, "ConvTranspose")),
        (1, 1)
    );
    assert_eq!(report.skipped[0].node, "up");
    let sample = &samples(&[1, 4, 5, 5], 1)[0];
    assert!(relative(&run(&int8, sample), &run(&model, sample)) < 0.03);
}

#[test]
fn a_product_with_a_vector_has_one_scale() {
    // The greatest weight is not where the inputs are: scales along the inner axis could not be taken out of the sum.
    let model = Build::new(&[2, 3, 8])
        .weight("w", &[8], 1)
        .node("MatMul", &["x", "w"], "y")
        .model(&["y"]);
    let data = samples(&[2, 3, 8], 6);
    let expected = run(&model, &data[0]);
    let (dynamic, _) = quantize_dynamic(&model, &QuantizeConfig::default()).unwrap();
    assert!(relative(&run(&dynamic, &data[0]), &expected) < 0.03);
    let config = QuantizeConfig::default();
    let (weights, _) = quantize_weights(&model, WeightOnlyConfig::Int8, &config).unwrap();
    assert!(relative(&run(&weights, &data[0]), &expected) < 0.02);
    for format in [Format::Qdq, Format::QLinear] {
        let mut config = crate::config();
        config.format = format;
        let stats = statistics(&model, &data, &config);
        let (int8, _) = quantize_static(&model, &stats, &config).unwrap();
        let scale = int8.graph.value_by_name("w_scale").unwrap();
        assert_eq!(int8.graph.constant(scale).unwrap().len(), 1);
        assert!(relative(&run(&int8, &data[0]), &expected) < 0.03);
    }
}

#[test]
fn all_modes_count_the_bytes_of_the_model_as_it_came() {
    let model = transformer_like();
    let floats = (16 * 32 + 32 * 16) * 4;
    let stats = statistics(&model, &samples(&[1, 5, 16], 2), &config());
    let (_, fixed) = quantize_static(&model, &stats, &config()).unwrap();
    let config = QuantizeConfig::default();
    let (_, dynamic) = quantize_dynamic(&model, &config).unwrap();
    let (_, weights) = quantize_weights(&model, WeightOnlyConfig::Int8, &config).unwrap();
    for report in [&fixed, &dynamic, &weights] {
        assert_eq!(report.bytes_before, floats);
        let layers: Vec<usize> = report.layers.iter().map(|l| l.bytes_after).collect();
        // Codes, a scale and a zero point for each channel.
        assert_eq!(layers[..2], [16 * 32 + 32 * 5, 32 * 16 + 16 * 5]);
    }
    assert_eq!(weights.bytes_after, 16 * 32 * 2 + (32 + 16) * 5);
}
