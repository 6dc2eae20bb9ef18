//! What branches read of the graph around them.

use crate::build::{Build, run_all};
use crate::{config, count, floats, relative, samples, statistics};
use compress_quant::Tensor;
use compress_quant::graph::{QuantizeConfig, WeightOnlyConfig, quantize_static, quantize_weights};
use onnx_ir::{Fact, Graph, Model, Node};

#[test]
fn a_branch_reads_what_is_behind_an_activation_that_the_codes_take_in() {
    // then: r + 0; else: r · 0. The Relu goes into the range of the convolution before it.
    let branch = |op: &str, with: f32| {
        let mut g = Graph::new(op);
        let r = g.add_value("r", Fact::Unknown).unwrap();
        let c = g
            .add_initializer(&format!("{op}_c"), Tensor::scalar(with))
            .unwrap();
        let y = g.add_value(format!("{op}_y"), Fact::Unknown).unwrap();
        g.add_node(Node::new(op, [r, c], [y])).unwrap();
        g.add_output(y);
        onnx_ir::Attribute::Graph(std::sync::Arc::new(g))
    };
    let model = Build::new(&[1, 2, 4, 4])
        .weight("w1", &[4, 2, 1, 1], 1)
        .node("Conv", &["x", "w1"], "c")
        .node("Relu", &["c"], "r")
        .weight("w2", &[4, 4, 1, 1], 2)
        .node("Conv", &["r", "w2"], "y")
        .constant("yes", Tensor::scalar(true))
        .node("Identity", &["yes"], "condition")
        .node_with("If", &["condition"], "z", |n| {
            n.with("then_branch", branch("Add", 0.0))
                .with("else_branch", branch("Mul", 0.0))
        })
        .model(&["y", "z"]);
    let data = samples(&[1, 2, 4, 4], 4);
    let stats = statistics(&model, &data, &config());
    let (int8, _) = quantize_static(&model, &stats, &config()).unwrap();
    assert_eq!(count(&int8, "Relu"), 0);
    for sample in &data {
        let (found, expected) = (run_all(&int8, sample), run_all(&model, sample));
        assert!(expected[1].contains(&0.0));
        for (a, b) in found.iter().zip(&expected) {
            assert!(relative(a, b) < 0.04, "{a:?} {b:?}");
        }
    }
}

/// A recurrent layer in each branch, both with the weight `w` of the graph around them, which a product reads too.
fn shared_weight() -> Model {
    let branch = |name: &str| {
        let mut g = Graph::new(name);
        let x = g.add_value("x", Fact::Unknown).unwrap();
        let w = g.add_value("w", Fact::Unknown).unwrap();
        let r = g
            .add_initializer(&format!("{name}_r"), floats(&[1, 32, 8], 5))
            .unwrap();
        let out = g.add_value(format!("{name}_out"), Fact::Unknown).unwrap();
        let lstm = Node::new("LSTM", [x, w, r], [out]).with("hidden_size", 8i64);
        g.add_node(lstm.named(format!("{name}_lstm"))).unwrap();
        g.add_output(out);
        onnx_ir::Attribute::Graph(std::sync::Arc::new(g))
    };
    Build::new(&[5, 1, 12])
        .weight("w", &[1, 32, 12], 1)
        // A name that a scale of `then_r` would like to have.
        .weight("then_r_scale", &[12], 3)
        .node("Mul", &["x", "then_r_scale"], "scaled")
        .constant("yes", Tensor::scalar(true))
        .node("Identity", &["yes"], "condition")
        .node_with("If", &["condition"], "y", |n| {
            n.with("then_branch", branch("then"))
                .with("else_branch", branch("else"))
        })
        .node("Mul", &["x", "w"], "product")
        .model(&["y", "product", "scaled"])
}

#[test]
fn a_weight_around_branches_stays_float_for_all_other_readers() {
    let model = shared_weight();
    let config = QuantizeConfig::default();
    let (int8, report) = quantize_weights(&model, WeightOnlyConfig::Int8, &config).unwrap();
    assert_eq!(report.layers.len(), 3, "{report:?}");
    let sample = vec![("x".to_owned(), floats(&[5, 1, 12], 9))];
    let (found, expected) = (run_all(&int8, &sample), run_all(&model, &sample));
    let difference = relative(&found[0], &expected[0]);
    assert!(difference > 0.0 && difference < 0.02, "{difference}");
    assert_eq!(found[1..], expected[1..]);
    // No name of a branch hides one around it.
    let outer: Vec<&str> = int8.graph.values().map(|(_, v)| v.name.as_str()).collect();
    for (_, node) in int8.graph.nodes() {
        for inner in node.attributes.graphs() {
            let captured: Vec<_> = inner.captured().map(|(id, _)| id).collect();
            for (id, value) in inner.values() {
                let shadows = outer.contains(&value.name.as_str()) && !captured.contains(&id);
                assert!(!shadows, "{}", value.name);
            }
        }
    }
    // A node that is left out, here by the name of its output, keeps the weight as it was.
    let mut config = QuantizeConfig::default();
    config.exclude = vec!["then_out".to_owned()];
    let (int8, report) = quantize_weights(&model, WeightOnlyConfig::Int8, &config).unwrap();
    let skipped: Vec<(&str, &str)> = report
        .skipped
        .iter()
        .map(|s| (s.node.as_str(), s.reason.as_str()))
        .collect();
    let shared = "it shares its weight with a node that is not quantized";
    assert!(
        skipped.contains(&("then_lstm", "excluded by name")),
        "{skipped:?}"
    );
    assert!(skipped.contains(&("else_lstm", shared)), "{skipped:?}");
    assert_eq!(run_all(&int8, &sample), run_all(&model, &sample));
    let mut config = QuantizeConfig::default();
    config.include = vec!["*_out".to_owned()];
    let (_, report) = quantize_weights(&model, WeightOnlyConfig::Int8, &config).unwrap();
    assert_eq!(report.layers.len(), 3, "{report:?}");
}
