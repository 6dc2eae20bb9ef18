//! Normalisations and losses.

use crate::harness::{Case, case};

fn normalized(op: &str, x: &[usize], scale: &[usize]) -> Case {
    case(op).real(x, -1.0, 2.0).real(scale, 0.5, 1.5)
}

fn batch(x: &[usize]) -> Case {
    normalized("BatchNormalization", x, &[x[1]]).real(&[x[1]], -1.0, 1.0)
}

pub(crate) fn cases() -> Vec<Case> {
    let scores = |op: &str, shape: &[usize]| case(op).real(shape, -2.0, 1.0);
    let weights = |case: Case| case.fed(&[3], 0.5, 2.0);
    vec![
        batch(&[2, 3, 2, 2])
            .real(&[3], -0.5, 0.5)
            .real(&[3], 0.5, 1.5),
        batch(&[3, 2]).real(&[2], -0.5, 0.5).real(&[2], 0.5, 1.5),
        batch(&[2, 3, 2])
            .fed(&[3], -0.5, 0.5)
            .fed(&[3], 0.5, 1.5)
            .with("training_mode", 1i64)
            .outputs(3)
            .ignoring(&[1, 2]),
        normalized("LayerNormalization", &[2, 3, 4], &[4]).real(&[4], -1.0, 1.0),
        normalized("LayerNormalization", &[2, 3, 2], &[3, 2]).with("axis", 1i64),
        normalized("LayerNormalization", &[2, 3, 4], &[4])
            .real(&[1], -1.0, 1.0)
            .outputs(3)
            .ignoring(&[1, 2]),
        normalized("RMSNormalization", &[2, 3, 4], &[4]),
        normalized("RMSNormalization", &[2, 3, 2], &[2]).with("axis", 1i64),
        normalized("GroupNormalization", &[2, 4, 3], &[4])
            .real(&[4], -1.0, 1.0)
            .with("num_groups", 2i64),
        // Scale and bias of each group.
        normalized("GroupNormalization", &[2, 4, 3], &[2])
            .opset(18)
            .real(&[2], -1.0, 1.0)
            .with("num_groups", 2i64),
        batch(&[3, 2])
            .opset(14)
            .fed(&[2], -0.5, 0.5)
            .fed(&[2], 0.5, 1.5)
            .with("training_mode", 1i64)
            .outputs(3)
            .ignoring(&[1, 2]),
        batch(&[2, 3, 2])
            .opset(13)
            .real(&[3], -0.5, 0.5)
            .real(&[3], 0.5, 1.5),
        normalized("LayerNormalization", &[0, 4], &[4]),
        normalized("InstanceNormalization", &[2, 2, 4], &[2]).real(&[2], -1.0, 1.0),
        normalized("SimplifiedLayerNormalization", &[2, 3, 4], &[4])
            .outputs(2)
            .ignoring(&[1]),
        case("LRN")
            .real(&[2, 5, 2], -1.0, 1.0)
            .with("size", 4i64)
            .with("alpha", 0.3f32)
            .with("beta", 0.6f32),
        case("LpNormalization").real(&[2, 3], -1.0, 1.0),
        case("LpNormalization")
            .real(&[2, 3], -1.0, 1.0)
            .with("axis", 0i64)
            .with("p", 1i64),
        case("MeanVarianceNormalization").real(&[2, 2, 2, 2], -1.0, 1.0),
        case("MeanVarianceNormalization")
            .real(&[2, 5], -1.0, 1.0)
            .with("axes", vec![1i64]),
        scores("SoftmaxCrossEntropyLoss", &[4, 3]).ints(&[4], &[0, 2, 1, 2]),
        weights(scores("SoftmaxCrossEntropyLoss", &[4, 3]).ints(&[4], &[0, 2, 1, 2]))
            .outputs(2)
            .with("ignore_index", 1i64),
        weights(scores("SoftmaxCrossEntropyLoss", &[2, 3, 2]).fed_ints(&[2, 2], &[0, 2, 1, 2]))
            .with("reduction", "none"),
        scores("SoftmaxCrossEntropyLoss", &[2, 3])
            .ints(&[2], &[0, 2])
            .with("reduction", "sum"),
        scores("NegativeLogLikelihoodLoss", &[4, 3])
            .ints(&[4], &[0, 2, 1, 2])
            .with("ignore_index", 2i64),
        weights(scores("NegativeLogLikelihoodLoss", &[2, 3, 2]).fed_ints(&[2, 2], &[0, 2, 1, 2])),
        weights(scores("NegativeLogLikelihoodLoss", &[2, 3]).ints(&[2], &[0, 2]))
            .with("reduction", "none"),
    ]
}
