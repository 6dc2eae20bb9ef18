//! What must hold for any input.

use crate::differences::close;
use crate::samples::Numbers;
use compress_kd::features::{AttentionTransfer, cosine_embedding};
use compress_kd::logits::{
    BinaryKdLoss, CrossEntropy, DecoupledKd, KdLoss, kl_divergence, reverse_kl_divergence,
};
use compress_kd::relations::{
    CorrelationCongruence, CorrelationKernel, probabilistic_transfer, rkd_angle, rkd_distance,
    similarity_preserving,
};
use compress_kd::transformer::{Relations, attention_divergence};
use ndarray::{Array2, Axis};
use proptest::prelude::*;

/// A random rotation (or reflection) of `d` dimensions, by Gram-Schmidt.
fn rotation(numbers: &mut Numbers, d: usize) -> Array2<f64> {
    let mut q: Array2<f64> = numbers.array((d, d), 1.0);
    for i in 0..d {
        // Twice is enough.
        for j in (0..i).chain(0..i) {
            let along = q.row(i).dot(&q.row(j));
            let other = q.row(j).to_owned();
            q.row_mut(i).scaled_add(-along, &other);
        }
        let length = q.row(i).dot(&q.row(i)).sqrt();
        q.row_mut(i).mapv_inplace(|x| x / length);
    }
    q
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn losses_are_not_negative(seed: u64, n in 1usize..6, c in 2usize..8, size in 0.0f64..1e3, t in 0.1f64..50.0) {
        let mut numbers = Numbers::new(seed);
        let student = numbers.array((n, c), size);
        // Near the teacher too, where rounding is all there is.
        let far = numbers.array((n, c), size);
        let near = &student + &numbers.array((n, c), 1e-9);
        let labels = numbers.labels(n, c);
        let targets = numbers.distributions(n, c);
        for teacher in [far, near] {
            let mixed = KdLoss::new(0.5, t);
            let values = [
                kl_divergence(&student, &teacher, t).unwrap().0,
                reverse_kl_divergence(&student, &teacher, t).unwrap().0,
                mixed.loss(&student, &teacher, &labels).unwrap().0,
                mixed.loss_soft(&student, &teacher, &targets).unwrap().0,
                BinaryKdLoss::new(0.5, t).loss(&student, &teacher, &targets).unwrap().0,
                DecoupledKd::default().loss(&student, &teacher, &labels).unwrap().0,
                cosine_embedding(&student, &teacher).unwrap().0,
                rkd_distance(&student, &teacher).unwrap().0,
                rkd_angle(&student, &teacher).unwrap().0,
                similarity_preserving(&student, &teacher).unwrap().0,
                probabilistic_transfer(&student, &teacher).unwrap().0,
            ];
            prop_assert!(values.iter().all(|&v| v >= 0.0), "{values:?}");
        }
    }

    #[test]
    fn constants_added_to_logits_change_nothing(seed: u64, n in 1usize..6, c in 1usize..8, t in 0.2f64..20.0) {
        let mut numbers = Numbers::new(seed);
        let (student, teacher) = (numbers.array((n, c), 10.0), numbers.array((n, c), 10.0));
        let labels = numbers.labels(n, c);
        let moved = &student + &numbers.array((n, 1), 30.0);
        let other = &teacher + &numbers.array((n, 1), 30.0);
        for loss in [kl_divergence, reverse_kl_divergence] {
            let (value, gradient) = loss(&student, &teacher, t).unwrap();
            let (found, found_gradient) = loss(&moved, &other, t).unwrap();
            prop_assert!((value - found).abs() <= 1e-10 * value.max(1.0));
            prop_assert!(gradient.iter().zip(&found_gradient).all(|(a, b)| (a - b).abs() < 1e-10 * t.max(1.0)));
        }
        let (value, _) = KdLoss::new(0.4, t).loss(&student, &teacher, &labels).unwrap();
        let (found, _) = KdLoss::new(0.4, t).loss(&moved, &other, &labels).unwrap();
        prop_assert!((value - found).abs() <= 1e-10 * value.max(1.0));
    }

    #[test]
    fn gradients_by_logits_sum_to_zero_over_the_classes(seed: u64, n in 1usize..6, c in 2usize..8, t in 0.2f64..20.0) {
        let mut numbers = Numbers::new(seed);
        let (student, teacher) = (numbers.array((n, c), 10.0), numbers.array((n, c), 10.0));
        let labels = numbers.labels(n, c);
        let smooth = CrossEntropy::default().with_label_smoothing(0.1);
        let gradients = [
            kl_divergence(&student, &teacher, t).unwrap().1,
            reverse_kl_divergence(&student, &teacher, t).unwrap().1,
            smooth.loss(&student, &labels).unwrap().1,
            DecoupledKd::default().loss(&student, &teacher, &labels).unwrap().1,
        ];
        for gradient in gradients {
            let greatest = gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
            for sum in gradient.sum_axis(Axis(1)) {
                prop_assert!(sum.abs() <= 1e-13 * greatest.max(1.0), "{sum}");
            }
        }
    }

    #[test]
    fn relations_do_not_change_with_rotation_scale_and_place(seed: u64, n in 2usize..7, d in 1usize..5, scale in 0.01f64..100.0) {
        let mut numbers = Numbers::new(seed);
        let (student, teacher) = (numbers.array((n, d), 2.0), numbers.array((n, 3), 2.0));
        let rotation = rotation(&mut numbers, d);
        let turned = scale * student.dot(&rotation);
        let moved = &turned + &numbers.array((1, d), scale);
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-8 * a.abs().max(1e-3);
        for loss in [rkd_distance, rkd_angle] {
            let value = loss(&student, &teacher).unwrap().0;
            prop_assert!(near(value, loss(&moved, &teacher).unwrap().0));
        }
        for loss in [similarity_preserving, probabilistic_transfer] {
            let value = loss(&student, &teacher).unwrap().0;
            prop_assert!(near(value, loss(&turned, &teacher).unwrap().0));
        }
        // Not invariant to scale: rotation alone.
        let only_turned = student.dot(&rotation);
        for kernel in [CorrelationKernel::Bilinear, CorrelationKernel::Gaussian(0.4)] {
            let loss = CorrelationCongruence::new(kernel);
            let value = loss.loss(&student, &teacher).unwrap().0;
            prop_assert!(near(value, loss.loss(&only_turned, &teacher).unwrap().0));
        }
    }

    #[test]
    fn the_order_of_the_batch_does_not_matter(seed: u64, n in 2usize..7) {
        let mut numbers = Numbers::new(seed);
        let (student, teacher) = (numbers.array((n, 3), 2.0), numbers.array((n, 4), 2.0));
        let order: Vec<usize> = (0..n).rev().collect();
        let turned = |x: &Array2<f64>| x.select(Axis(0), &order);
        for loss in [rkd_distance, rkd_angle, similarity_preserving, probabilistic_transfer] {
            let (value, gradient) = loss(&student, &teacher).unwrap();
            let (found, found_gradient) = loss(&turned(&student), &turned(&teacher)).unwrap();
            prop_assert!((value - found).abs() <= 1e-12 * value.max(1e-3));
            let both = turned(&gradient);
            prop_assert!(both.iter().zip(&found_gradient).all(|(a, b)| (a - b).abs() < 1e-10));
        }
    }

    #[test]
    fn attention_does_not_change_with_scale_or_sign(seed: u64, scale in 0.01f64..100.0) {
        let mut numbers = Numbers::new(seed);
        let (student, teacher) = (numbers.array((2, 3, 4), 2.0), numbers.array((2, 2, 4), 2.0));
        let transfer = AttentionTransfer::default();
        let (value, _) = transfer.loss(&student, &teacher).unwrap();
        let (found, _) = transfer.loss(&(-scale * &student), &(scale * &teacher)).unwrap();
        prop_assert!((value - found).abs() <= 1e-12);
    }

    #[test]
    fn a_constant_per_query_changes_no_attention(seed: u64) {
        let mut numbers = Numbers::new(seed);
        let (student, teacher) = (numbers.array((2, 2, 3, 3), 5.0), numbers.array((2, 2, 3, 3), 5.0));
        let moved = &student + &numbers.array((2, 2, 3, 1), 9.0);
        let (value, _) = attention_divergence(&student, &teacher, None).unwrap();
        let (found, _) = attention_divergence(&moved, &teacher, None).unwrap();
        prop_assert!((value - found).abs() <= 1e-12 * value.max(1.0));
    }

    #[test]
    fn relations_of_heads_do_not_depend_on_a_rotation_within_them(seed: u64) {
        let mut numbers = Numbers::new(seed);
        let (student, teacher) = (numbers.array((2, 4, 3), 2.0), numbers.array((2, 4, 5), 2.0));
        let rotation = rotation(&mut numbers, 3);
        let rows = student.to_shape((8, 3)).unwrap();
        let turned = rows.dot(&rotation).into_shape_with_order((2, 4, 3)).unwrap();
        let relations = Relations::new(1);
        let (value, _) = relations.within(&student, &teacher, None).unwrap();
        let (found, _) = relations.within(&turned, &teacher, None).unwrap();
        prop_assert!((value - found).abs() <= 1e-9 * value.max(1.0));
    }

    #[test]
    fn cross_entropy_of_mixed_targets_is_mixed(seed: u64, share in 0.0f64..1.0) {
        let mut numbers = Numbers::new(seed);
        let logits = numbers.array((3, 4), 5.0);
        let (a, b) = (numbers.distributions(3, 4), numbers.distributions(3, 4));
        let of = |targets: &Array2<f64>| CrossEntropy::default().loss_soft(&logits, targets).unwrap().0;
        let mixed = share * &a + (1.0 - share) * &b;
        close(of(&mixed), share * of(&a) + (1.0 - share) * of(&b), 1e-12);
    }
}
