//! Weights in and around branches.

use super::*;

/// Two branches with a convolution each, and a recurrent layer behind the first.
fn branching() -> Model {
    let branch = |name: &str, seed: u32| {
        let mut g = Graph::new(name);
        let x = g.add_value("x", Fact::Unknown).unwrap();
        let w = g
            .add_initializer(&format!("{name}_w"), floats(&[16, 2, 3], seed))
            .unwrap();
        let b = g
            .add_initializer(&format!("{name}_b"), floats(&[16], seed + 1))
            .unwrap();
        let y = g.add_value(format!("{name}_y"), Fact::Unknown).unwrap();
        g.add_node(Node::new("Conv", [x, w, b], [y]).named(format!("{name}_conv")))
            .unwrap();
        let turned = g
            .add_value(format!("{name}_turned"), Fact::Unknown)
            .unwrap();
        let turn = Node::new("Transpose", [y], [turned]).with("perm", vec![2i64, 0, 1]);
        g.add_node(turn).unwrap();
        let w = g
            .add_initializer(&format!("{name}_lstm_w"), floats(&[1, 32, 16], seed + 2))
            .unwrap();
        let r = g
            .add_initializer(&format!("{name}_lstm_r"), floats(&[1, 32, 8], seed + 3))
            .unwrap();
        let out = g.add_value(format!("{name}_out"), Fact::Unknown).unwrap();
        let lstm = Node::new("LSTM", [turned, w, r], [out]).with("hidden_size", 8i64);
        g.add_node(lstm.named(format!("{name}_lstm"))).unwrap();
        g.add_output(out);
        std::sync::Arc::new(g)
    };
    let mut g = Graph::new("branching");
    let x = g
        .add_value("x", Fact::tensor(DType::F32, [1usize, 2, 6]))
        .unwrap();
    g.add_input(x);
    let first = g.add_value("first", Fact::Unknown).unwrap();
    let zero = g.add_initializer("zero", Tensor::scalar(0i64)).unwrap();
    let flat = g.add_value("flat", Fact::Unknown).unwrap();
    let all = g
        .add_initializer("all", Tensor::vector(vec![-1i64]))
        .unwrap();
    g.add_node(Node::new("Reshape", [x, all], [flat])).unwrap();
    g.add_node(Node::new("Gather", [flat, zero], [first]))
        .unwrap();
    let positive = g.add_value("positive", Fact::Unknown).unwrap();
    let none = g.add_initializer("none", Tensor::scalar(0f32)).unwrap();
    g.add_node(Node::new("Greater", [first, none], [positive]))
        .unwrap();
    let y = g.add_value("y", Fact::Unknown).unwrap();
    let node = Node::new("If", [positive], [y])
        .named("choice")
        .with("then_branch", onnx_ir::Attribute::Graph(branch("then", 1)))
        .with("else_branch", onnx_ir::Attribute::Graph(branch("else", 11)));
    g.add_node(node).unwrap();
    g.add_output(y);
    Model::new(g, 17)
}

#[test]
fn weights_in_branches_are_quantized_too() {
    let model = branching();
    let (int8, report) =
        quantize_weights(&model, WeightOnlyConfig::Int8, &QuantizeConfig::default()).unwrap();
    let names: Vec<&str> = report.layers.iter().map(|l| l.node.as_str()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["else_conv", "else_lstm", "then_conv", "then_lstm"]);
    // What the weights of a recurrent layer do to its state stands in no figure.
    let mut noted: Vec<&str> = report.notes.iter().map(|n| n.subject.as_str()).collect();
    noted.sort_unstable();
    assert_eq!(noted, ["else_lstm", "then_lstm"]);
    assert!(report.notes[0].text.contains("adds up in its state"));
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    assert!(report.bytes_after * 2 < report.bytes_before, "{report:?}");
    for seed in [1, 2, 3, 4] {
        let sample = vec![("x".to_owned(), floats(&[1, 2, 6], seed))];
        let difference = relative(&run(&int8, &sample), &run(&model, &sample));
        assert!(difference > 0.0 && difference < 0.04, "{difference}");
    }
    // By name a node of a branch can be left out.
    let mut one = QuantizeConfig::default();
    one.include = vec!["then_conv".to_owned()];
    let (_, report) = quantize_weights(&model, WeightOnlyConfig::Int8, &one).unwrap();
    assert_eq!(report.layers.len(), 1);
    assert_eq!(report.skipped.len(), 3);
}

#[test]
fn products_in_branches_are_quantized_dynamically() {
    let mut config = QuantizeConfig::default();
    config.operators = Some(vec!["Conv".to_owned()]);
    let model = branching();
    let (int8, report) = quantize_dynamic(&model, &config).unwrap();
    assert_eq!(report.layers.len(), 2);
    let skipped: Vec<&str> = report.skipped.iter().map(|s| s.op.as_str()).collect();
    assert_eq!(skipped, ["LSTM", "LSTM"]);
    for seed in [1, 2, 3, 4] {
        let sample = vec![("x".to_owned(), floats(&[1, 2, 6], seed))];
        let difference = relative(&run(&int8, &sample), &run(&model, &sample));
        assert!(difference > 0.0 && difference < 0.03, "{difference}");
    }
    // Nothing is silent: where nothing is left to do, that is an error which says why.
    let error = quantize_dynamic(&model, &QuantizeConfig::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("Conv then_conv, else_conv: dynamic quantization leaves convolutions float"),
        "{text}"
    );
    let stats = calibrate(
        &model,
        [Ok::<_, String>(vec![(
            "x".to_owned(),
            floats(&[1, 2, 6], 1),
        )])],
        &config,
        &SessionOptions::default(),
    );
    let text = stats.unwrap_err().to_string();
    assert!(
        text.contains("If choice: its subgraphs are not calibrated"),
        "{text}"
    );
}

#[test]
fn a_recurrent_weight_around_the_branch_is_quantized_where_it_stands() {
    // The branch reorders the gates of a weight that the main graph holds, as exporters write it.
    let mut inner = Graph::new("then");
    let value = |g: &mut Graph, name: &str| g.add_value(name, Fact::Unknown).unwrap();
    let (x, w, r) = (
        value(&mut inner, "x"),
        value(&mut inner, "w"),
        value(&mut inner, "r"),
    );
    let mut weights = Vec::new();
    for (name, weight) in [("w", w), ("r", r)] {
        let mut halves = Vec::new();
        for (at, (from, to)) in [(16i64, 32i64), (0, 16)].into_iter().enumerate() {
            let bound = |g: &mut Graph, what: &str, v: i64| {
                g.add_initializer(&format!("{name}_{what}{at}"), Tensor::vector(vec![v]))
                    .unwrap()
            };
            let bounds = (bound(&mut inner, "from", from), bound(&mut inner, "to", to));
            let half = value(&mut inner, &format!("{name}_half{at}"));
            inner
                .add_node(Node::new("Slice", [weight, bounds.0, bounds.1], [half]))
                .unwrap();
            halves.push(half);
        }
        let whole = value(&mut inner, &format!("{name}_whole"));
        inner
            .add_node(Node::new("Concat", halves, [whole]).with("axis", 0i64))
            .unwrap();
        let axes = inner
            .add_initializer(&format!("{name}_axes"), Tensor::vector(vec![0i64]))
            .unwrap();
        let ready = value(&mut inner, &format!("{name}_ready"));
        inner
            .add_node(Node::new("Unsqueeze", [whole, axes], [ready]))
            .unwrap();
        weights.push(ready);
    }
    let out = value(&mut inner, "out");
    let lstm = Node::new("LSTM", [x, weights[0], weights[1]], [out]).with("hidden_size", 8i64);
    inner.add_node(lstm.named("lstm")).unwrap();
    inner.add_output(out);
    let mut g = Graph::new("outer");
    let x = g
        .add_value("x", Fact::tensor(DType::F32, [5usize, 1, 12]))
        .unwrap();
    g.add_input(x);
    g.add_initializer("w", floats(&[32, 12], 1)).unwrap();
    g.add_initializer("r", floats(&[32, 8], 2)).unwrap();
    let yes = g.add_initializer("yes", Tensor::scalar(true)).unwrap();
    let condition = g.add_value("condition", Fact::Unknown).unwrap();
    g.add_node(Node::new("Identity", [yes], [condition]))
        .unwrap();
    let y = g.add_value("y", Fact::Unknown).unwrap();
    let branch = std::sync::Arc::new(inner);
    let node = Node::new("If", [condition], [y])
        .with("then_branch", onnx_ir::Attribute::Graph(branch.clone()))
        .with("else_branch", onnx_ir::Attribute::Graph(branch));
    g.add_node(node).unwrap();
    g.add_output(y);
    let model = Model::new(g, 17);
    let (int8, report) =
        quantize_weights(&model, WeightOnlyConfig::Int8, &QuantizeConfig::default()).unwrap();
    assert_eq!(
        (report.layers.len(), report.skipped.len()),
        (2, 0),
        "{report:?}"
    );
    assert!(
        report
            .layers
            .iter()
            .all(|l| l.node == "lstm" && l.op == "LSTM")
    );
    assert_eq!(count(&int8, "DequantizeLinear"), 2);
    assert!(report.bytes_after * 2 < report.bytes_before);
    let sample = vec![("x".to_owned(), floats(&[5, 1, 12], 9))];
    let difference = relative(&run(&int8, &sample), &run(&model, &sample));
    assert!(difference > 0.0 && difference < 0.02, "{difference}");
}

#[test]
fn a_model_with_quantized_nodes_in_a_branch_is_quantized_already() {
    let (int8, _) = quantize_weights(
        &branching(),
        WeightOnlyConfig::Int8,
        &QuantizeConfig::default(),
    )
    .unwrap();
    assert_eq!(count(&int8, "DequantizeLinear"), 0);
    let error = quantize_dynamic(&int8, &QuantizeConfig::default()).unwrap_err();
    assert!(
        matches!(error, QuantizeError::AlreadyQuantized { .. }),
        "{error}"
    );
}
