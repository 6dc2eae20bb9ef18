//! Static, dynamic and weight-only quantization of whole models.

use super::*;

#[test]
fn a_residual_network_is_integer_throughout_and_stays_close() {
    let model = convolutional();
    let data = samples(&[1, 3, 8, 8], 8);
    let (int8, report) =
        quantize_static(&model, &statistics(&model, &data, &config()), &config()).unwrap();
    // The activation is part of the range of the convolution before it.
    assert_eq!(count(&int8, "Relu"), 0);
    // x, r1, c2, sum, mean (= flat): one pair each; y stays float.
    assert_eq!(count(&int8, "QuantizeLinear"), 6);
    let names: Vec<&str> = report.layers.iter().map(|l| l.node.as_str()).collect();
    assert_eq!(
        names,
        ["conv1", "conv2", "add", "pool", "flatten", "linear"]
    );
    assert!(report.layers[0].weight_sqnr_db.unwrap() > 35.0);
    // No float weight is left; biases are int32.
    let large = int8
        .graph
        .initializers()
        .filter(|(_, t)| t.dtype() == DType::F32 && t.len() > 8)
        .count();
    assert_eq!(large, 0);
    assert!(
        int8.graph
            .initializers()
            .any(|(_, t)| t.dtype() == DType::I32 && t.len() == 8)
    );
    for sample in &data {
        let difference = relative(&run(&int8, sample), &run(&model, sample));
        assert!(difference < 0.05, "{difference}");
    }
}

#[test]
fn integer_operators_give_the_same_bits_as_the_pairs_that_they_replace() {
    let model = convolutional();
    let data = samples(&[1, 3, 8, 8], 6);
    let stats = statistics(&model, &data, &config());
    let (pairs, _) = quantize_static(&model, &stats, &config()).unwrap();
    let mut qlinear = config();
    qlinear.format = Format::QLinear;
    let (integers, _) = quantize_static(&model, &stats, &qlinear).unwrap();
    assert_eq!(count(&integers, "QLinearConv"), 2);
    assert_eq!((count(&integers, "Conv"), count(&integers, "Add")), (0, 0));
    for sample in &data {
        assert_eq!(run(&pairs, sample), run(&integers, sample));
    }
}

#[test]
fn a_residual_sum_behind_matrix_products_stays_float() {
    let model = transformer_like();
    let data = samples(&[1, 5, 16], 8);
    let (int8, _) =
        quantize_static(&model, &statistics(&model, &data, &config()), &config()).unwrap();
    // Only what the products read: x and r.
    assert_eq!(count(&int8, "QuantizeLinear"), 2);
    let (_, add) = int8.graph.nodes().find(|(_, n)| n.is("Add")).unwrap();
    let reads: Vec<&str> = add
        .inputs()
        .iter()
        .flatten()
        .map(|&v| int8.graph.name_of(v))
        .collect();
    assert_eq!(reads, ["m2", "x"]);
    assert!(relative(&run(&int8, &data[0]), &run(&model, &data[0])) < 0.05);
}

#[test]
fn nothing_is_silent() {
    let model = convolutional();
    let stats = statistics(&model, &samples(&[1, 3, 8, 8], 1), &config());
    let mut misspelt = config();
    misspelt.exclude = vec!["conv9".to_owned()];
    let error = quantize_static(&model, &stats, &misspelt).unwrap_err();
    assert!(matches!(error, QuantizeError::NoSuchNode { .. }), "{error}");
    let mut none = config();
    none.operators = Some(vec!["LSTM".to_owned()]);
    let error = quantize_static(&model, &stats, &none).unwrap_err();
    assert!(
        matches!(error, QuantizeError::NoSuchOperator { .. }),
        "{error}"
    );
    let mut one = config();
    one.exclude = vec!["conv2".to_owned()];
    let (int8, report) = quantize_static(&model, &stats, &one).unwrap();
    let skipped: Vec<_> = report
        .skipped
        .iter()
        .map(|s| (s.node.as_str(), s.reason.as_str()))
        .collect();
    assert_eq!(skipped, [("conv2", "excluded by name")]);
    assert!(matches!(
        quantize_static(&int8, &stats, &config()),
        Err(QuantizeError::AlreadyQuantized { .. })
    ));
}

#[test]
fn dynamic_products_share_one_quantized_input_and_stay_close() {
    let model = transformer_like();
    let (int8, report) = quantize_dynamic(&model, &QuantizeConfig::default()).unwrap();
    assert_eq!(
        (
            count(&int8, "MatMulInteger"),
            count(&int8, "DynamicQuantizeLinear")
        ),
        (2, 2)
    );
    assert_eq!(report.layers.len(), 2);
    assert!(report.bytes_after * 3 < report.bytes_before);
    let sample = &samples(&[2, 5, 16], 1)[0];
    assert!(relative(&run(&int8, sample), &run(&model, sample)) < 0.03);
}

#[test]
fn weights_alone_are_small_and_close() {
    let model = transformer_like();
    let sample = &samples(&[2, 5, 16], 1)[0];
    let expected = run(&model, sample);
    let int8 = quantize_weights(&model, WeightOnlyConfig::Int8, &QuantizeConfig::default())
        .unwrap()
        .0;
    assert!(relative(&run(&int8, sample), &expected) < 0.02);
    let blocks = WeightOnlyConfig::Blocks { bits: 4, block: 16 };
    let (int4, report) = quantize_weights(&model, blocks, &QuantizeConfig::default()).unwrap();
    assert_eq!(count(&int4, "MatMulNBits"), 2);
    assert!(
        report
            .layers
            .iter()
            .all(|l| l.weight_sqnr_db.unwrap() > 15.0)
    );
    assert!(relative(&run(&int4, sample), &expected) < 0.25);
}

#[test]
fn the_most_sensitive_node_comes_first() {
    let model = convolutional();
    let data = samples(&[1, 3, 8, 8], 4);
    let stats = statistics(&model, &data, &config());
    let found = sensitivity(&model, &stats, &data, &config(), &SessionOptions::default()).unwrap();
    let found = found.nodes;
    assert_eq!(found.len(), 3);
    assert!(found.windows(2).all(|w| w[0].sqnr_db <= w[1].sqnr_db));
    assert!(found.iter().all(|n| n.sqnr_db > 20.0), "{found:?}");
}

#[test]
fn weights_that_an_old_file_lists_as_inputs_are_frozen() {
    let model = transformer_like();
    let mut old = model.clone();
    for name in ["w1", "w2"] {
        let id = old.graph.value_by_name(name).unwrap();
        old.graph.add_input(id);
    }
    let (int8, report) = quantize_dynamic(&old, &QuantizeConfig::default()).unwrap();
    assert_eq!(report.layers.len(), 2);
    assert_eq!(int8.graph.inputs().len(), 1);
}
