//! What quantizing one node alone does.

use crate::build::Build;
use crate::{config, convolutional, run, samples, statistics};
use compress_quant::graph::{Target, literal_pattern, quantize_static, sensitivity};
use runtime_session::SessionOptions;

#[test]
fn a_target_that_takes_integers_only_does_not_hinder() {
    let model = convolutional();
    let mut config = config();
    config.target = Target::EdgeTpu;
    let data = samples(&[2, 3, 8, 8], 3);
    let stats = statistics(&model, &data, &config);
    let found = sensitivity(&model, &stats, &data, &config, &SessionOptions::default()).unwrap();
    assert_eq!(found.nodes.len() + found.skipped.len(), 3, "{found:?}");
    assert!(found.nodes.iter().any(|n| n.sqnr_db > 20.0), "{found:?}");
    assert!(
        found
            .skipped
            .iter()
            .all(|s| s.reason.contains("no statistics"))
    );
}

#[test]
fn a_star_in_a_name_is_no_pattern() {
    let model = Build::new(&[3, 8])
        .weight("w1", &[8, 8], 1)
        .node("MatMul", &["x", "w1"], "a*c")
        .weight("w2", &[8, 8], 2)
        .node("MatMul", &["a*c", "w2"], "abc")
        .model(&["abc"]);
    let data = samples(&[3, 8], 3);
    let stats = statistics(&model, &data, &config());
    let options = SessionOptions::default();
    let found = sensitivity(&model, &stats, &data, &config(), &options).unwrap();
    let alone = |name: &str| {
        let mut config = config();
        config.include = vec![literal_pattern(name)];
        let (int8, report) = quantize_static(&model, &stats, &config).unwrap();
        assert_eq!(report.layers.len(), 1);
        let error = |s| {
            let (a, b) = (run(&int8, s), run(&model, s));
            let noise = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2));
            (
                b.iter().map(|b| f64::from(*b).powi(2)).sum::<f64>(),
                noise.sum::<f64>(),
            )
        };
        let sums = data.iter().map(error);
        let (signal, noise) = sums.fold((0.0, 0.0), |(a, b), (s, n)| (a + s, b + n));
        10.0 * (signal / noise).log10()
    };
    for node in &found.nodes {
        let expected = alone(&node.node);
        assert!(
            (node.sqnr_db - expected).abs() < 1e-2,
            "{node:?} {expected}"
        );
    }
    assert_eq!(found.nodes.len(), 2);
}
