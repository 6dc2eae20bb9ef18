//! Layers of which too few inputs were seen.

use crate::{config, convolutional, samples, statistics};
use compress_quant::graph::{Rounding, quantize_static};
use onnx_ir::Model;

#[test]
fn a_layer_that_too_few_rows_were_seen_of_is_rounded_to_nearest_and_said_so() {
    let model = convolutional();
    let mut calibrated = config();
    calibrated.rounding = Rounding::Calibrated;
    // The linear layer behind global pooling reads one row of 8 numbers of each sample.
    let data = samples(&[1, 3, 8, 8], 7);
    let stats = statistics(&model, &data, &calibrated);
    let (few, report) = quantize_static(&model, &stats, &calibrated).unwrap();
    assert_eq!(
        report
            .notes
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [
            "w3: rounded to nearest: 7 rows of inputs were seen, 8 are needed: calibrate with more samples"
        ]
    );
    let (nearest, _) = quantize_static(&model, &stats, &config()).unwrap();
    let codes = |m: &Model, name: &str| {
        let id = m.graph.value_by_name(name).unwrap();
        m.graph.constant(id).unwrap().bytes().to_vec()
    };
    for same in ["w3_quantized", "b3_quantized"] {
        assert_eq!(codes(&few, same), codes(&nearest, same));
    }
    assert_ne!(codes(&few, "w2_quantized"), codes(&nearest, "w2_quantized"));
    let stats = statistics(&model, &samples(&[1, 3, 8, 8], 8), &calibrated);
    let (_, report) = quantize_static(&model, &stats, &calibrated).unwrap();
    assert!(report.notes.is_empty(), "{:?}", report.notes);
}
