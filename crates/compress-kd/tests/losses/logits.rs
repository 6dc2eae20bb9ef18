//! Gradients of the losses on logits, and what their settings mean.

use crate::differences::{close, holds};
use crate::samples::Numbers;
use compress_kd::logits::{
    BinaryKdLoss, CrossEntropy, DecoupledKd, KdLoss, kl_divergence, log_softmax, logit_regression,
    reverse_kl_divergence, softmax,
};
use ndarray::{Array1, Array2, Axis, arr1, arr2};

const SHAPES: [(usize, usize); 5] = [(1, 1), (1, 5), (4, 1), (3, 2), (6, 10)];

/// Calls with student, teacher and numbers for more, for each shape and temperature.
fn each(mut test: impl FnMut(&Array2<f64>, &Array2<f64>, f64, &mut Numbers)) {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        for temperature in [0.5, 1.0, 4.0, 20.0] {
            let mut numbers = Numbers::new(seed as u64);
            let (student, teacher) = (numbers.array(shape, 5.0), numbers.array(shape, 5.0));
            test(&student, &teacher, temperature, &mut numbers);
        }
    }
}

#[test]
fn divergences_have_their_gradients() {
    each(|student, teacher, t, _| {
        holds(student, |s| kl_divergence(s, teacher, t));
        holds(student, |s| reverse_kl_divergence(s, teacher, t));
    });
}

#[test]
fn regression_has_its_gradient() {
    each(|student, teacher, _, _| holds(student, |s| logit_regression(s, teacher)));
}

#[test]
fn cross_entropy_has_its_gradient_with_every_setting() {
    each(|student, _, _, numbers| {
        let (n, c) = student.dim();
        let mut labels = numbers.labels(n, c);
        let weights: Vec<f64> = (0..c).map(|k| 0.5 + k as f64).collect();
        let soft = numbers.distributions(n, c);
        let plain = CrossEntropy::default();
        let smooth = plain.clone().with_label_smoothing(0.1);
        let weighted = smooth.clone().with_class_weights(weights);
        for settings in [plain, smooth, weighted] {
            holds(student, |s| settings.loss(s, &labels));
            holds(student, |s| settings.loss_soft(s, &soft));
            labels[0] = -100;
            let settings = settings.with_ignore_index(-100);
            holds(student, |s| settings.loss(s, &labels));
            labels[0] = 0;
        }
    });
}

#[test]
fn the_mixed_loss_has_its_gradient_with_hard_and_soft_targets() {
    each(|student, teacher, t, numbers| {
        let (n, c) = student.dim();
        let (labels, soft) = (numbers.labels(n, c), numbers.distributions(n, c));
        let cross_entropy = CrossEntropy::default().with_label_smoothing(0.2);
        for alpha in [0.0, 0.3, 1.0] {
            let loss = KdLoss::new(alpha, t).with_cross_entropy(cross_entropy.clone());
            holds(student, |s| loss.loss(s, teacher, &labels));
            holds(student, |s| loss.loss_soft(s, teacher, &soft));
        }
    });
}

#[test]
fn the_multi_label_loss_has_its_gradient() {
    each(|student, teacher, t, numbers| {
        let (n, c) = student.dim();
        let targets = numbers.array((n, c), 1.0).mapv(f64::abs);
        let weights = (0..c).map(|k| 0.5 + k as f64).collect();
        let plain = BinaryKdLoss::new(0.4, t);
        for loss in [plain.clone(), plain.with_positive_weights(weights)] {
            holds(student, |s| loss.loss(s, teacher, &targets));
        }
    });
}

#[test]
fn the_decoupled_loss_has_its_gradient() {
    each(|student, teacher, t, numbers| {
        let (n, c) = student.dim();
        if c > 1 {
            let labels = numbers.labels(n, c);
            let loss = DecoupledKd::new(1.5, 8.0, t);
            holds(student, |s| loss.loss(s, teacher, &labels));
        }
    });
}

#[test]
fn alpha_zero_is_cross_entropy_and_alpha_one_is_the_divergence() {
    each(|student, teacher, t, numbers| {
        let labels = numbers.labels(student.nrows(), student.ncols());
        let mixed = |alpha| {
            KdLoss::new(alpha, t)
                .loss(student, teacher, &labels)
                .unwrap()
        };
        assert_eq!(
            mixed(0.0),
            CrossEntropy::default().loss(student, &labels).unwrap()
        );
        let (value, gradient) = kl_divergence(student, teacher, t).unwrap();
        let (found, found_gradient) = mixed(1.0);
        assert!((found - value).abs() <= 1e-15 * value);
        assert!(
            gradient
                .iter()
                .zip(&found_gradient)
                .all(|(a, b)| (a - b).abs() <= 1e-15)
        );
    });
}

#[test]
fn between_them_the_mixed_loss_is_their_mean() {
    let mut numbers = Numbers::new(3);
    let (student, teacher) = (numbers.array((7, 9), 4.0), numbers.array((7, 9), 4.0));
    let labels = numbers.labels(7, 9);
    let (hard, by_hard) = CrossEntropy::default().loss(&student, &labels).unwrap();
    let (soft, by_soft) = kl_divergence(&student, &teacher, 3.0).unwrap();
    let (value, gradient) = KdLoss::new(0.7, 3.0)
        .loss(&student, &teacher, &labels)
        .unwrap();
    close(value, 0.3 * hard + 0.7 * soft, 1e-14);
    let expected = 0.3 * by_hard + 0.7 * by_soft;
    assert!(
        gradient
            .iter()
            .zip(&expected)
            .all(|(a, b)| (a - b).abs() < 1e-15)
    );
}

#[test]
fn as_the_temperature_grows_the_divergence_becomes_matched_logits() {
    let mut numbers = Numbers::new(5);
    let (n, c) = (6, 10);
    let (student, teacher) = (numbers.array((n, c), 5.0), numbers.array((n, c), 5.0));
    let centred = |z: &Array2<f64>| z - &z.mean_axis(Axis(1)).unwrap().insert_axis(Axis(1));
    let difference = centred(&student) - centred(&teacher);
    let limit = difference.mapv(|d| d * d).sum() / (2.0 * (n * c) as f64);
    let gradient_limit = &difference / (n * c) as f64;
    // The distance to the limit falls as 1/T.
    for (temperature, bound) in [(1e2, 1e-1), (1e3, 1e-2), (1e4, 1e-3)] {
        let (value, gradient) = kl_divergence(&student, &teacher, temperature).unwrap();
        close(value, limit, bound);
        for (g, expected) in gradient.iter().zip(&gradient_limit) {
            assert!((g - expected).abs() < bound * 0.1, "{g} {expected}");
        }
    }
}

#[test]
fn plain_distillation_is_the_decoupled_loss_with_the_teachers_own_weights() {
    // KD = TCKD + (1 - p_t) NCKD, sample by sample (Zhao et al. 2022, eq. 6).
    let mut numbers = Numbers::new(6);
    let t = 3.0;
    for label in 0..5 {
        let (student, teacher) = (numbers.array((1, 5), 6.0), numbers.array((1, 5), 6.0));
        let beta = 1.0 - softmax(&teacher, t).unwrap()[[0, label]];
        let labels = arr1(&[label as i64]);
        let decoupled = DecoupledKd::new(1.0, beta, t);
        let (value, gradient) = decoupled.loss(&student, &teacher, &labels).unwrap();
        let (expected, expected_gradient) = kl_divergence(&student, &teacher, t).unwrap();
        close(value, expected, 1e-12);
        let both = gradient.iter().zip(&expected_gradient);
        assert!(both.into_iter().all(|(a, b)| (a - b).abs() < 1e-13));
    }
}

#[test]
fn ignored_samples_count_for_nothing() {
    let mut numbers = Numbers::new(7);
    let logits = numbers.array((3, 4), 3.0);
    let settings = CrossEntropy::default().with_ignore_index(-1);
    let (value, gradient) = settings.loss(&logits, &arr1(&[2, -1, 0])).unwrap();
    let kept = logits.select(Axis(0), &[0, 2]);
    let (expected, expected_gradient) =
        CrossEntropy::default().loss(&kept, &arr1(&[2, 0])).unwrap();
    assert_eq!(value, expected);
    assert_eq!(gradient.select(Axis(0), &[0, 2]), expected_gradient);
    assert_eq!(gradient.row(1).to_vec(), [0.0; 4]);
    // A class that lies among the others can be ignored as well.
    let (value, _) = CrossEntropy::default()
        .with_ignore_index(1)
        .loss(&logits, &arr1(&[2, 1, 0]))
        .unwrap();
    assert_eq!(value, expected);
}

#[test]
fn a_batch_in_which_no_label_counts_has_no_loss() {
    let logits = Numbers::new(8).array((2, 3), 3.0);
    let ignored = CrossEntropy::default().with_ignore_index(-100);
    let nothing = (0.0, Array2::zeros((2, 3)));
    assert_eq!(
        ignored.loss(&logits, &arr1(&[-100, -100])).unwrap(),
        nothing
    );
    let weightless = CrossEntropy::default().with_class_weights(vec![0.0, 1.0, 1.0]);
    assert_eq!(weightless.loss(&logits, &arr1(&[0, 0])).unwrap(), nothing);
    // The teacher still counts.
    let teacher = Numbers::new(9).array((2, 3), 3.0);
    let mixed = KdLoss::new(0.25, 2.0).with_cross_entropy(ignored);
    let (value, _) = mixed.loss(&logits, &teacher, &arr1(&[-100, -100])).unwrap();
    close(
        value,
        0.25 * kl_divergence(&logits, &teacher, 2.0).unwrap().0,
        1e-14,
    );
}

#[test]
fn one_hot_targets_are_labels() {
    let mut numbers = Numbers::new(10);
    let logits = numbers.array((4, 3), 3.0);
    let labels = arr1(&[0i64, 2, 1, 2]);
    let one_hot = Array2::from_shape_fn((4, 3), |(i, k)| f64::from(labels[i] == k as i64));
    let settings = CrossEntropy::default().with_label_smoothing(0.1);
    let (hard, soft) = (
        settings.loss(&logits, &labels),
        settings.loss_soft(&logits, &one_hot),
    );
    assert_eq!(hard.unwrap(), soft.unwrap());
}

#[test]
fn extreme_logits_have_exact_values() {
    let student = arr2(&[[1e4, 0.0, -1e4]]);
    let teacher = arr2(&[[-1e4, 0.0, 1e4]]);
    let (value, gradient) = kl_divergence(&student, &teacher, 1.0).unwrap();
    assert_eq!(value, 2e4);
    assert_eq!(gradient, arr2(&[[1.0, 0.0, -1.0]]));
    let (value, gradient) = CrossEntropy::default().loss(&student, &arr1(&[2])).unwrap();
    assert_eq!((value, gradient), (2e4, arr2(&[[1.0, 0.0, -1.0]])));
    let (value, gradient) = BinaryKdLoss::new(0.0, 1.0)
        .loss(&student, &teacher, &arr2(&[[0.0, 0.5, 1.0]]))
        .unwrap();
    close(value, (2e4 + 2f64.ln()) / 3.0, 1e-15);
    assert_eq!(gradient, arr2(&[[1.0 / 3.0, 0.0, -1.0 / 3.0]]));
    // The label is certain for the teacher: masked logits would leave nothing of the others.
    let (value, _) = DecoupledKd::new(0.0, 1.0, 1.0)
        .loss(
            &arr2(&[[1e4, 0.0, 0.0]]),
            &arr2(&[[1e4, 3f64.ln(), 0.0]]),
            &arr1(&[0]),
        )
        .unwrap();
    close(value, 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln(), 1e-13);
}

#[test]
fn softmax_rows_sum_to_one_and_its_logarithm_is_the_logarithm() {
    let logits = Numbers::new(11).array((5, 7), 30.0);
    let (p, log_p) = (
        softmax(&logits, 2.0).unwrap(),
        log_softmax(&logits, 2.0).unwrap(),
    );
    for row in p.rows() {
        assert!((row.sum() - 1.0).abs() < 1e-15);
    }
    assert!(
        p.iter()
            .zip(&log_p)
            .all(|(p, l)| (p.ln() - l).abs() < 1e-12)
    );
    let tiny = log_softmax(&arr2(&[[0.0, -2000.0]]), 1.0).unwrap();
    assert_eq!(tiny[[0, 1]], -2000.0);
}

#[test]
fn a_million_samples_do_not_lose_digits() {
    // Each row has the same loss; a sum in f32 would be off in the fourth digit.
    let n = 1_000_000;
    let logits = Array2::from_shape_fn((n, 2), |(_, k)| if k == 0 { 0.1f32 } else { 0.0 });
    let (value, _) = CrossEntropy::default()
        .loss(&logits, &Array1::zeros(n))
        .unwrap();
    close(value, (1.0 + (-f64::from(0.1f32)).exp()).ln(), 1e-10);
}
