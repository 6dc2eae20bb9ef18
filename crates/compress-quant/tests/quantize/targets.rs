//! What each target asks for.

use super::*;

#[test]
fn tensorrt_gets_symmetric_pairs_a_float_bias_and_one_quantized_branch() {
    let model = convolutional();
    let mut config = config();
    config.target = Target::TensorRt;
    let data = samples(&[1, 3, 8, 8], 6);
    let (int8, _) = quantize_static(&model, &statistics(&model, &data, &config), &config).unwrap();
    for (id, tensor) in int8.graph.initializers() {
        if int8.graph.name_of(id).ends_with("zero_point") {
            assert!(
                tensor.bytes().iter().all(|&b| b == 0),
                "{}",
                int8.graph.name_of(id)
            );
        }
    }
    assert!(
        !int8
            .graph
            .initializers()
            .any(|(_, t)| t.dtype() == DType::I32)
    );
    assert_eq!(count(&int8, "Relu"), 1);
    // The branch of the convolution that takes in the sum is read as float.
    let (_, add) = int8.graph.nodes().find(|(_, n)| n.is("Add")).unwrap();
    let quantized = add
        .inputs()
        .iter()
        .flatten()
        .filter(|&&v| int8.graph.name_of(v).contains("dequantized"))
        .count();
    assert_eq!(quantized, 1);
    assert!(relative(&run(&int8, &data[0]), &run(&model, &data[0])) < 0.05);
}

#[test]
fn what_the_target_refuses_is_refused_with_its_rule() {
    let model = convolutional();
    let stats = statistics(&model, &samples(&[1, 3, 8, 8], 1), &config());
    let mut unsigned = config();
    unsigned.target = Target::TensorRt;
    unsigned.activations = Some(DType::U8);
    let error = quantize_static(&model, &stats, &unsigned).unwrap_err();
    assert!(
        matches!(
            error,
            QuantizeError::TargetRule {
                target: "tensorrt",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_sum_takes_in_the_activation_behind_it() {
    // c0 + conv(c0), cut at zero, into another convolution: the sum needs no scale of its own.
    let mut g = Graph::new("block");
    let x = g
        .add_value("x", Fact::tensor(DType::F32, [1usize, 4, 6, 6]))
        .unwrap();
    g.add_input(x);
    let v: Vec<_> = ["c0", "c1", "sum", "cut", "y"]
        .iter()
        .map(|n| g.add_value(n, Fact::Unknown).unwrap())
        .collect();
    for (name, input, output, seed) in [
        ("conv0", x, v[0], 3),
        ("conv1", v[0], v[1], 1),
        ("conv2", v[3], v[4], 2),
    ] {
        let w = g
            .add_initializer(&format!("{name}.w"), floats(&[4, 4, 1, 1], seed))
            .unwrap();
        g.add_node(Node::new("Conv", [input, w], [output]).named(name))
            .unwrap();
    }
    g.add_node(Node::new("Add", [v[1], v[0]], [v[2]]).named("add"))
        .unwrap();
    g.add_node(Node::new("Relu", [v[2]], [v[3]]).named("relu"))
        .unwrap();
    g.add_output(v[4]);
    let model = Model::new(g, 17);
    let data = samples(&[1, 4, 6, 6], 6);
    let mut asymmetric = config();
    let (int8, _) =
        quantize_static(&model, &statistics(&model, &data, &asymmetric), &asymmetric).unwrap();
    // x, c0, c1, cut and y; the sum itself is not quantized, and codes keep it above zero.
    assert_eq!(
        (count(&int8, "Relu"), count(&int8, "QuantizeLinear")),
        (0, 5)
    );
    assert!(int8.graph.value_by_name("sum").is_none());
    assert!(relative(&run(&int8, &data[0]), &run(&model, &data[0])) < 0.03);
    // A symmetric range has codes below zero: the activation stays, the pair behind it.
    asymmetric.target = Target::TensorRt;
    let (int8, _) =
        quantize_static(&model, &statistics(&model, &data, &asymmetric), &asymmetric).unwrap();
    assert_eq!(count(&int8, "Relu"), 1);
    assert!(int8.graph.value_by_name("sum_quantized").is_none());
}

#[test]
fn the_edge_tpu_gets_integers_throughout_and_constant_sizes() {
    let model = convolutional();
    let mut config = config();
    config.target = Target::EdgeTpu;
    let data = samples(&[1, 3, 8, 8], 6);
    let (int8, report) =
        quantize_static(&model, &statistics(&model, &data, &config), &config).unwrap();
    assert!(
        report.repairs[0].text.starts_with("batch set to 1"),
        "{:?}",
        report.repairs
    );
    let input = int8.graph.value_by_name("x").unwrap();
    let fact = int8.graph.value(input).fact.as_tensor().unwrap();
    assert_eq!(
        fact.to_string(),
        TensorFact::with_shape(
            Some(DType::F32),
            Some([1, 3, 8, 8].map(Dim::Known).to_vec())
        )
        .to_string()
    );
    // Every node reads dequantized values and every result is quantized; weights are int8 without zero point.
    for (_, node) in int8.graph.nodes() {
        if node.is("QuantizeLinear") || node.is("DequantizeLinear") {
            continue;
        }
        for &v in node.inputs().iter().flatten() {
            let float =
                int8.graph.value(v).fact.as_tensor().and_then(|f| f.dtype) == Some(DType::F32);
            let from = int8
                .graph
                .producer(v)
                .map(|p| int8.graph.node(p).op_type.clone());
            assert!(
                !float || from.as_deref() == Some("DequantizeLinear"),
                "{node:?}"
            );
        }
    }
    assert!(relative(&run(&int8, &data[0]), &run(&model, &data[0])) < 0.1);
    // A convolution that is left out would run on the CPU with all that follows.
    config.exclude = vec!["conv2".to_owned()];
    let stats = statistics(&model, &data, &config);
    let text = quantize_static(&model, &stats, &config)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("conv2 (Conv)") && text.contains("every operator"),
        "{text}"
    );
    // A size that only the user can know.
    let open = transformer_like();
    config.exclude.clear();
    let stats = statistics(&open, &samples(&[1, 5, 16], 2), &config);
    let text = quantize_static(&open, &stats, &config)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("sequence") && text.contains("constant"),
        "{text}"
    );
}
