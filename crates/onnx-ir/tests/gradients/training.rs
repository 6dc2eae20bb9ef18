//! From inference to training: statistics of the batch, seeded dropout.

use crate::harness::{run, sound, spread};
use compress_tensor::{DType, Tensor};
use onnx_ir::gradient::{GradientRequest, TrainingMode, gradient, training_mode};
use onnx_ir::{Catalog, Fact, Graph, Model, Node};

/// Batch normalisation, then a dropout.
fn model() -> Model {
    let mut g = Graph::new("g");
    let x = g
        .add_value("x", Fact::tensor(DType::F64, [3usize, 2]))
        .unwrap();
    g.add_input(x);
    let vector = |v: [f64; 2]| Tensor::vector(v.to_vec());
    let [scale, bias, mean, var] = [
        ("scale", [1.5, 0.5]),
        ("bias", [0.1, -0.1]),
        ("mean", [0.3, 0.2]),
        ("var", [2.0, 1.0]),
    ]
    .map(|(name, v)| g.add_initializer(name, vector(v)).unwrap());
    let n = g.add_value("n", Fact::Unknown).unwrap();
    let y = g
        .add_value("y", Fact::tensor(DType::F64, [3usize, 2]))
        .unwrap();
    let norm = Node::new("BatchNormalization", [x, scale, bias, mean, var], [n]);
    g.add_node(norm.named("norm")).unwrap();
    g.add_node(Node::new("Dropout", [n], [y]).named("drop"))
        .unwrap();
    g.add_output(y);
    Model::new(g, 13)
}

fn feeds(seed: i64) -> [(String, Tensor); 2] {
    let x = spread(&[3, 2], -1.0, 2.0, 1);
    [
        ("x".to_owned(), x),
        ("dropout_seed".to_owned(), Tensor::scalar(seed)),
    ]
}

#[test]
fn running_statistics_become_outputs_and_move_towards_the_batch() {
    let options = TrainingMode::default();
    let (trained, report) = training_mode(&model(), &options, Catalog::standard()).unwrap();
    assert_eq!(trained.opset(), 14);
    let names = report.statistics.iter();
    let names: Vec<_> = names
        .map(|s| (s.initializer.as_str(), s.output.as_str()))
        .collect();
    assert_eq!(names, [("mean", "running/mean"), ("var", "running/var")]);
    let trained = sound(&trained).unwrap();
    let outputs = run(&trained, &feeds(1)).unwrap();
    let x = feeds(1)[0].1.to_f64_vec().unwrap();
    let column = [x[0], x[2], x[4]];
    let mean = column.iter().sum::<f64>() / 3.0;
    // That of the population, as ONNX has it: PyTorch divides by 2.
    let variance = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 3.0;
    let found = [1, 2].map(|i| outputs[i].to_f64_vec().unwrap()[0]);
    for (found, (old, new)) in found.into_iter().zip([(0.3, mean), (2.0, variance)]) {
        // The momentum is an f32.
        assert!((found - (0.9 * old + 0.1 * new)).abs() < 1e-7, "{found}");
    }
}

#[test]
fn the_seed_decides_what_is_dropped_and_the_gradient_uses_the_same_mask() {
    let options = TrainingMode::default();
    let (trained, report) = training_mode(&model(), &options, Catalog::standard()).unwrap();
    assert_eq!(report.seed.as_deref(), Some("dropout_seed"));
    let request = GradientRequest::of(["y"], ["n", "bias"]);
    let (trained, _) = gradient(&trained, &request, Catalog::standard()).unwrap();
    let trained = sound(&trained).unwrap();
    let mut masks = Vec::new();
    for seed in 0..8 {
        let outputs = run(&trained, &feeds(seed)).unwrap();
        let y = outputs[0].to_f64_vec().unwrap();
        let dn = outputs[3].to_f64_vec().unwrap();
        for (y, d) in y.iter().zip(&dn) {
            assert_eq!(*d, if *y == 0.0 { 0.0 } else { 2.0 });
        }
        masks.push(dn);
    }
    masks.sort_by(|a, b| a.partial_cmp(b).unwrap());
    masks.dedup();
    assert!(masks.len() > 4, "{masks:?}");
}

#[test]
fn frozen_nodes_stay_and_what_cannot_train_says_so() {
    let mut options = TrainingMode::default();
    options.frozen = vec!["norm".into(), "drop".into()];
    let (same, report) = training_mode(&model(), &options, Catalog::standard()).unwrap();
    assert!(report.statistics.is_empty() && report.seed.is_none());
    assert_eq!(same.graph.outputs().len(), 1);
    let mut computed = model();
    let mean = computed.graph.value_by_name("mean").unwrap();
    let moved = computed.graph.add_value("moved", Fact::Unknown).unwrap();
    computed
        .graph
        .add_node(Node::new("Abs", [mean], [moved]))
        .unwrap();
    let (norm, _) = computed
        .graph
        .nodes()
        .find(|(_, n)| n.name == "norm")
        .unwrap();
    computed.graph.set_node_input(norm, 3, Some(moved));
    let (_, report) =
        training_mode(&computed, &TrainingMode::default(), Catalog::standard()).unwrap();
    assert_eq!(
        report.skipped,
        [("norm".to_owned(), "its statistics are no initializers")]
    );
}

/// Two batch normalisations, one behind the other, by the same parameters.
fn shared() -> Model {
    let mut g = Graph::new("g");
    let x = g
        .add_value("x", Fact::tensor(DType::F64, [3usize, 1]))
        .unwrap();
    g.add_input(x);
    let parameters = [("scale", 1.5), ("bias", 0.25), ("mean", 0.5), ("var", 2.0)];
    let [scale, bias, mean, var] =
        parameters.map(|(name, v)| g.add_initializer(name, Tensor::vector(vec![v])).unwrap());
    let fact = || Fact::tensor(DType::F64, [3usize, 1]);
    let [h, y] = ["h", "y"].map(|name| g.add_value(name, fact()).unwrap());
    for (name, from, to) in [("second", h, y), ("first", x, h)] {
        let norm = Node::new("BatchNormalization", [from, scale, bias, mean, var], [to]);
        g.add_node(norm.named(name)).unwrap();
    }
    g.add_output(y);
    Model::new(g, 15)
}

#[test]
fn a_running_statistic_of_two_nodes_moves_twice() {
    let mut options = TrainingMode::default();
    options.momentum = Some(0.5);
    let (trained, report) = training_mode(&shared(), &options, Catalog::standard()).unwrap();
    let initializers: Vec<&str> = report
        .statistics
        .iter()
        .map(|s| s.initializer.as_str())
        .collect();
    assert_eq!(initializers, ["mean", "var"]);
    assert_eq!(trained.graph.outputs().len(), 3);
    let trained = sound(&trained).unwrap();
    let x = Tensor::from_vec(&[3, 1], vec![1.0, 2.0, 6.0]).unwrap();
    let outputs = run(&trained, &[("x".to_owned(), x)]).unwrap();
    let found: Vec<f64> = [1, 2]
        .iter()
        .map(|&i| outputs[i].to_f64_vec().unwrap()[0])
        .collect();
    // The batch has mean 3 and variance 14/3; behind the first node mean 0.25 and variance 1.5^2, less what epsilon takes.
    let behind = 2.25 * (14.0 / 3.0) / (14.0 / 3.0 + 1e-5);
    let expected = [
        0.5 * (0.5 * 0.5 + 0.5 * 3.0) + 0.5 * 0.25,
        0.5 * (0.5 * 2.0 + 0.5 * 14.0 / 3.0) + 0.5 * behind,
    ];
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 1e-9, "{found:?} {expected:?}");
    }
}

#[test]
fn nodes_that_train_already_give_their_running_statistics_out() {
    let mut options = TrainingMode::default();
    options.momentum = Some(0.5);
    let (once, first) = training_mode(&shared(), &options, Catalog::standard()).unwrap();
    let mut hidden = once.clone();
    let y = hidden.graph.value_by_name("y").unwrap();
    hidden.graph.set_outputs(vec![y]);
    // The statistics of the second node are computed now, and said to be so.
    let (again, report) = training_mode(&hidden, &options, Catalog::standard()).unwrap();
    assert_eq!(again.graph.outputs().len(), 3);
    let outputs: Vec<&str> = report
        .statistics
        .iter()
        .map(|s| s.output.as_str())
        .collect();
    assert_eq!(outputs, ["running/mean", "running/var"]);
    assert_ne!(outputs[0], first.statistics[0].output);
    let reason = "it trains already, and its running statistics are no initializers";
    assert_eq!(report.skipped, [("second".to_owned(), reason)]);
}

#[test]
fn one_initializer_as_mean_and_variance_is_left_alone() {
    let mut odd = shared();
    let mean = odd.graph.value_by_name("mean").unwrap();
    let ids: Vec<_> = odd.graph.nodes().map(|(id, _)| id).collect();
    for id in ids {
        odd.graph.set_node_input(id, 4, Some(mean));
    }
    let (_, report) = training_mode(&odd, &TrainingMode::default(), Catalog::standard()).unwrap();
    assert!(report.statistics.is_empty());
    let reason = "its mean and variance are one initializer";
    assert_eq!(
        report.skipped,
        [("first".to_owned(), reason), ("second".to_owned(), reason)]
    );
}
