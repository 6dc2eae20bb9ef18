//! Biases of every shape that the standard lets a linear layer have, and of values that no integer stands for.

use crate::build::Build;
use crate::{config, floats, relative, run, samples, statistics};
use compress_quant::graph::{
    QuantizeConfig, QuantizeError, Rounding, Target, quantize_dynamic, quantize_static,
};
use compress_quant::{QuantError, Tensor};
use onnx_ir::Model;

/// Two linear layers, the first with a bias of the given shape.
fn linear(bias: Tensor) -> Model {
    Build::new(&[3, 8])
        .weight("w1", &[8, 4], 1)
        .constant("c", bias)
        .node("Gemm", &["x", "w1", "c"], "first")
        .weight("w2", &[4, 8], 2)
        .node("Gemm", &["first", "w2"], "second")
        .model(&["second"])
}

#[test]
fn a_bias_that_is_one_value_per_channel_or_one_for_all_is_quantized() {
    let data = samples(&[3, 8], 12);
    for shape in [&[][..], &[1], &[4], &[1, 4], &[1, 1]] {
        let model = linear(floats(shape, 3));
        for target in [Target::Ort, Target::TensorRt] {
            for rounding in [Rounding::Nearest, Rounding::Calibrated] {
                let mut config = config();
                (config.target, config.rounding) = (target, rounding);
                let stats = statistics(&model, &data, &config);
                let (int8, report) = quantize_static(&model, &stats, &config).unwrap();
                assert_eq!(report.layers.len(), 2, "{shape:?} {:?}", report.skipped);
                let difference = relative(&run(&int8, &data[0]), &run(&model, &data[0]));
                assert!(difference < 0.06, "{shape:?} {target:?} {difference}");
            }
        }
    }
}

#[test]
fn a_bias_that_differs_between_rows_leaves_the_layer_float_and_is_added_as_it_is_otherwise() {
    let data = samples(&[3, 8], 4);
    for shape in [&[3, 4][..], &[3, 1]] {
        let model = linear(floats(shape, 3));
        let stats = statistics(&model, &data, &config());
        let (int8, report) = quantize_static(&model, &stats, &config()).unwrap();
        assert_eq!(report.skipped[0].node, "first");
        let reason = &report.skipped[0].reason;
        assert!(reason.contains("not one value per channel"), "{reason}");
        assert!(relative(&run(&int8, &data[0]), &run(&model, &data[0])) < 0.05);
        let (dynamic, report) = quantize_dynamic(&model, &QuantizeConfig::default()).unwrap();
        assert_eq!(report.layers.len(), 2);
        assert!(relative(&run(&dynamic, &data[0]), &run(&model, &data[0])) < 0.05);
    }
}

#[test]
fn a_bias_that_is_not_finite_is_named() {
    let data = samples(&[3, 8], 2);
    let stats = statistics(&linear(floats(&[4], 3)), &data, &config());
    for bad in [f32::NAN, f32::INFINITY] {
        let model = linear(Tensor::vector(vec![0.5, bad, 0.0, 0.0]));
        let error = quantize_static(&model, &stats, &config()).unwrap_err();
        let QuantizeError::Values { tensor, error } = error else {
            panic!("{error}");
        };
        assert_eq!(tensor, "c");
        assert!(
            matches!(error, QuantError::NotFinite { index: 1, .. }),
            "{error}"
        );
    }
}
