//! Scales that a target prescribes for the results of operators, and what is joined with them.

use crate::build::{Build, run_all};
use crate::{config, relative, samples, statistics};
use compress_quant::graph::{Target, quantize_static};
use compress_quant::{DType, Tensor};
use onnx_ir::Model;

/// Parameters (scale, zero point) of the `QuantizeLinear` whose result is read, through its pair, as input `index`.
fn parameters(model: &Model, node: &str, index: usize) -> (f32, i8) {
    let graph = &model.graph;
    let (_, node) = graph.nodes().find(|(_, n)| n.name == node).unwrap();
    let dequantize = graph.producer(node.input(index).unwrap()).unwrap();
    let dequantize = graph.node(dequantize);
    assert!(dequantize.is("DequantizeLinear"));
    let constant = |i| graph.constant(dequantize.input(i).unwrap()).unwrap();
    let scale = constant(1).as_slice::<f32>().unwrap()[0];
    (scale, constant(2).as_slice::<i8>().unwrap()[0])
}

/// A head as detectors have it: boxes in pixels beside scores, joined.
fn detector(scores: &str, others: &str) -> Model {
    Build::new(&[1, 3, 4, 4])
        .weight("w1", &[4, 3, 1, 1], 1)
        .constant("b1", Tensor::vector(vec![150f32, 20.0, 80.0, 200.0]))
        .node("Conv", &["x", "w1", "b1"], "boxes")
        .weight("w2", &[2, 3, 1, 1], 2)
        .node("Conv", &["x", "w2"], "logits")
        .node(scores, &["logits"], "scores")
        .node(others, &["boxes"], "others")
        .node_with("Concat", &["others", "scores"], "joined", |n| {
            n.with("axis", 1i64)
        })
        .weight("w3", &[2, 6, 1, 1], 3)
        .node("Conv", &["joined", "w3"], "y")
        .model(&["y", "joined"])
}

#[test]
fn a_prescribed_scale_does_not_reach_what_is_joined_with_it() {
    let data = samples(&[1, 3, 4, 4], 6);
    for target in [Target::Tflite, Target::EdgeTpu] {
        let mut config = config();
        config.target = target;
        let model = detector("Sigmoid", "Relu");
        let stats = statistics(&model, &data, &config);
        let (int8, _) = quantize_static(&model, &stats, &config).unwrap();
        // Scores keep their own scale and get that of the boxes at the door of the Concat.
        let (boxes, scores) = (
            parameters(&int8, "joined", 0),
            parameters(&int8, "joined", 1),
        );
        assert_eq!(boxes, scores);
        assert!(boxes.0 > 0.5, "{boxes:?}");
        let graph = &int8.graph;
        let prescribed = graph
            .initializers()
            .any(|(_, t)| t.dtype() == DType::F32 && t.as_slice::<f32>().unwrap() == [1.0 / 256.0]);
        assert!(prescribed);
        for sample in &data {
            let (found, expected) = (run_all(&int8, sample), run_all(&model, sample));
            for (a, b) in found.iter().zip(&expected) {
                assert!(relative(a, b) < 0.03, "{}", relative(a, b));
            }
        }
    }
}

#[test]
fn two_prescribed_scales_meet_in_one_of_the_values_seen() {
    let mut config = config();
    config.target = Target::Tflite;
    let model = detector("Sigmoid", "Tanh");
    let data = samples(&[1, 3, 4, 4], 6);
    let stats = statistics(&model, &data, &config);
    let (int8, _) = quantize_static(&model, &stats, &config).unwrap();
    assert_eq!(
        parameters(&int8, "joined", 0),
        parameters(&int8, "joined", 1)
    );
    let (found, expected) = (run_all(&int8, &data[0]), run_all(&model, &data[0]));
    assert!(relative(&found[1], &expected[1]) < 0.02);
    // Where all have the same one, or there is one only, it goes on to the result.
    let model = detector("Sigmoid", "Sigmoid");
    let stats = statistics(&model, &data, &config);
    let (int8, _) = quantize_static(&model, &stats, &config).unwrap();
    for i in [0, 1] {
        assert_eq!(parameters(&int8, "joined", i), (1.0 / 256.0, -128));
    }
    assert_eq!(parameters(&int8, "y", 0), (1.0 / 256.0, -128));
}
