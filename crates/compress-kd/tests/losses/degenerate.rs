//! Inputs at the edge: the same student and teacher, zeros, single samples. Values as documented, gradients finite.

use crate::samples::Numbers;
use compress_kd::KdError;
use compress_kd::contrast::{Crd, CrdConfig, Negatives};
use compress_kd::features::{
    AttentionDistance, AttentionTransfer, CosineEmbedding, cosine_embedding, hint,
};
use compress_kd::logits::{
    BinaryKdLoss, DecoupledKd, KdLoss, kl_divergence, logit_regression, reverse_kl_divergence,
};
use compress_kd::relations::{
    CorrelationCongruence, CorrelationKernel, probabilistic_transfer, rkd_angle, rkd_distance,
    similarity_preserving,
};
use compress_kd::transformer::{
    Relations, attention_divergence, attention_regression, hidden_state,
};
use ndarray::{Array, Array2, Array3, Array4, Axis, Dimension, arr1, arr2};

#[track_caller]
fn is_nothing<D: Dimension>(found: Result<(f64, Array<f64, D>), KdError>) {
    let (value, gradient) = found.unwrap();
    assert!(value.abs() < 1e-15, "{value}");
    assert!(gradient.iter().all(|g| g.abs() < 1e-14), "{gradient}");
}

/// Asserts a value, and a gradient of zeros.
#[track_caller]
fn is_flat<D: Dimension>(found: Result<(f64, Array<f64, D>), KdError>, expected: f64) {
    let (value, gradient) = found.unwrap();
    assert!(
        (value - expected).abs() <= 1e-14 * expected.abs(),
        "{value} {expected}"
    );
    assert!(gradient.iter().all(|&g| g == 0.0), "{gradient}");
}

#[test]
fn a_student_that_is_its_teacher_has_nothing_to_learn() {
    let mut numbers = Numbers::new(200);
    let z = numbers.array((5, 4), 5.0);
    let (labels, targets) = (numbers.labels(5, 4), numbers.distributions(5, 4));
    is_nothing(kl_divergence(&z, &z, 3.0));
    is_nothing(reverse_kl_divergence(&z, &z, 3.0));
    is_nothing(logit_regression(&z, &z));
    is_nothing(KdLoss::new(1.0, 2.0).loss(&z, &z, &labels));
    is_nothing(BinaryKdLoss::new(1.0, 2.0).loss(&z, &z, &targets));
    is_nothing(DecoupledKd::default().loss(&z, &z, &labels));
    is_nothing(cosine_embedding(&z, &z));
    is_nothing(hint(&z, &z, Axis(1), None).map(|(value, g)| (value, g.student)));
    is_nothing(rkd_distance(&z, &z));
    is_nothing(rkd_angle(&z, &z));
    is_nothing(similarity_preserving(&z, &z));
    is_nothing(probabilistic_transfer(&z, &z));
    for kernel in [
        CorrelationKernel::Bilinear,
        CorrelationKernel::Gaussian(0.4),
    ] {
        is_nothing(CorrelationCongruence::new(kernel).loss(&z, &z));
    }
    let image: Array4<f64> = numbers.array((2, 3, 2, 2), 2.0);
    for distance in [
        AttentionDistance::SquaredMean,
        AttentionDistance::Norm(1.0),
        AttentionDistance::Norm(2.0),
    ] {
        is_nothing(AttentionTransfer::new(2.0, distance).loss(&image, &image));
    }
    is_nothing(attention_divergence(&image, &image, None));
    is_nothing(attention_regression(&image, &image, None));
    let tokens: Array3<f64> = numbers.array((2, 3, 4), 2.0);
    is_nothing(Relations::new(2).within(&tokens, &tokens, None));
    is_nothing(hidden_state(&tokens, &tokens, None, None).map(|(v, g)| (v, g.student)));
}

#[test]
fn vectors_of_zeros_have_their_values_and_no_gradient() {
    let zeros = Array2::<f64>::zeros((3, 2));
    let teacher = arr2(&[[3.0, 4.0], [0.0, 2.0], [5.0, 0.0]]);
    is_flat(cosine_embedding(&zeros, &teacher), 1.0);
    is_flat(
        CosineEmbedding::new(-0.5).loss(&zeros, &teacher, &arr1(&[1, -1, -1])),
        2.0 / 3.0,
    );
    // All relative distances are zero: those of the teacher are left.
    let (value, gradient) = rkd_distance(&zeros, &teacher).unwrap();
    assert!(value > 0.0 && gradient.iter().all(|&g| g == 0.0));
    let (value, gradient) = rkd_angle(&zeros, &teacher).unwrap();
    assert!(value > 0.0 && gradient.iter().all(|&g| g == 0.0));
    let (value, gradient) = probabilistic_transfer(&zeros, &teacher).unwrap();
    assert!(value > 0.0 && gradient.iter().all(|&g| g == 0.0));
    // Every row of the teacher's similarities has length 1.
    is_flat(similarity_preserving(&zeros, &teacher), 1.0 / 3.0);
    let image = teacher.clone().insert_axis(Axis(1));
    let nothing = Array3::<f64>::zeros((3, 1, 2));
    is_flat(AttentionTransfer::default().loss(&nothing, &image), 0.5);
    for power in [1.0, 1.5] {
        let norm = AttentionTransfer::new(power, AttentionDistance::Norm(2.0));
        is_flat(norm.loss(&nothing, &image), 0.5);
    }
}

#[test]
fn zeros_among_others_leave_the_others_their_gradients() {
    let student = arr2(&[[0.0, 0.0], [1.0, 0.5], [1.0, 0.5], [-2.0, 1.0]]);
    let teacher = Numbers::new(201).array((4, 3), 2.0);
    for loss in [
        rkd_distance(&student, &teacher),
        rkd_angle(&student, &teacher),
        similarity_preserving(&student, &teacher),
        probabilistic_transfer(&student, &teacher),
        CorrelationCongruence::default().loss(&student, &teacher),
    ] {
        let (value, gradient) = loss.unwrap();
        assert!(value > 0.0 && gradient.iter().all(|g| g.is_finite()));
        assert!(gradient.iter().any(|&g| g != 0.0));
    }
}

#[test]
fn opposite_samples_have_a_finite_divergence() {
    let student = arr2(&[[1.0, 0.0], [-1.0, 0.0], [0.5, 0.0]]);
    let teacher = arr2(&[[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]]);
    let (value, gradient) = probabilistic_transfer(&student, &teacher).unwrap();
    assert!(value > 1.0 && gradient.iter().all(|g: &f64| g.is_finite()));
}

#[test]
fn a_single_sample_has_no_relations() {
    let mut numbers = Numbers::new(202);
    let (x, y) = (numbers.array((1, 3), 2.0), numbers.array((1, 5), 2.0));
    is_nothing(rkd_distance(&x, &y));
    is_nothing(rkd_angle(&x, &y));
    is_nothing(similarity_preserving(&x, &y));
    is_nothing(probabilistic_transfer(&x, &y));
    is_nothing(CorrelationCongruence::default().loss(&x, &y));
}

#[test]
fn a_single_class_is_certain() {
    let (x, y) = (arr2(&[[3.0], [-1.0]]), arr2(&[[0.0], [8.0]]));
    is_nothing(kl_divergence(&x, &y, 2.0));
    is_nothing(KdLoss::default().loss(&x, &y, &arr1(&[0, 0])));
}

#[test]
fn a_dead_head_gives_finite_contrast() {
    let zeros = Array2::<f64>::zeros((2, 3));
    let config = CrdConfig::default().with_negatives(4);
    let mut crd = Crd::new(Negatives::among(6, 0).unwrap(), 3, 0, config).unwrap();
    let (value, gradients) = crd.step(&zeros, &zeros, &arr1(&[1, 2])).unwrap();
    assert!(value > 0.0 && gradients.student.iter().all(|&g| g == 0.0));
}
