//! Ensembles, and the exits of one network.

use crate::differences::{close, holds};
use crate::samples::Numbers;
use compress_kd::logits::{CrossEntropy, KdLoss, kl_divergence, softmax};
use compress_kd::teachers::{SelfDistillation, TeacherMean, ensemble};
use ndarray::{Array2, Axis, arr1};

#[test]
fn the_ensemble_has_the_mean_of_the_distributions() {
    let mut numbers = Numbers::new(100);
    let teachers: Vec<Array2<f64>> = (0..3).map(|_| numbers.array((4, 5), 6.0)).collect();
    let views: Vec<_> = teachers.iter().map(|t| t.view()).collect();
    let weights = [1.0, 0.0, 3.0];
    let t = 2.5;
    let arithmetic = ensemble(&views, Some(&weights), t, TeacherMean::Arithmetic).unwrap();
    let p: Vec<_> = teachers.iter().map(|z| softmax(z, t).unwrap()).collect();
    let expected = 0.25 * &p[0] + 0.75 * &p[2];
    let found = softmax(&arithmetic, t).unwrap();
    assert!(
        found
            .iter()
            .zip(&expected)
            .all(|(a, b)| (a - b).abs() < 1e-15)
    );

    let geometric = ensemble(&views, None, t, TeacherMean::Geometric).unwrap();
    let mean = (&teachers[0] + &teachers[1] + &teachers[2]) / 3.0;
    let (found, expected) = (softmax(&geometric, t).unwrap(), softmax(&mean, t).unwrap());
    assert!(
        found
            .iter()
            .zip(&expected)
            .all(|(a, b)| (a - b).abs() < 1e-15)
    );
}

#[test]
fn the_ensemble_of_one_teacher_teaches_the_same() {
    let mut numbers = Numbers::new(101);
    let (student, teacher) = (numbers.array((3, 4), 900.0), numbers.array((3, 4), 900.0));
    for mean in [TeacherMean::Arithmetic, TeacherMean::Geometric] {
        let one = ensemble(&[teacher.view()], None, 2.0, mean).unwrap();
        let (value, _) = kl_divergence(&student, &one, 2.0).unwrap();
        close(
            value,
            kl_divergence(&student, &teacher, 2.0).unwrap().0,
            1e-13,
        );
    }
}

#[test]
fn shallow_exits_learn_from_the_deepest_which_learns_from_labels() {
    let mut numbers = Numbers::new(102);
    let exits: Vec<Array2<f64>> = (0..3).map(|_| numbers.array((4, 5), 3.0)).collect();
    let labels = numbers.labels(4, 5);
    let kd = KdLoss::new(0.3, 2.0);
    let of = SelfDistillation::new(kd.clone()).with_weights(vec![0.5, 1.0, 2.0]);
    let views: Vec<_> = exits.iter().map(|e| e.view()).collect();
    let (value, gradients) = of.loss(&views, &labels).unwrap();
    let shallow = [0, 1].map(|i| kd.loss(&exits[i], &exits[2], &labels).unwrap());
    let (deep, by_deep) = CrossEntropy::default().loss(&exits[2], &labels).unwrap();
    close(value, 0.5 * shallow[0].0 + shallow[1].0 + 2.0 * deep, 1e-14);
    assert_eq!(gradients[0], 0.5 * &shallow[0].1);
    assert_eq!(gradients[1], shallow[1].1);
    // The deepest exit gets no gradient as a teacher.
    assert_eq!(gradients[2], 2.0 * by_deep);
    for exit in 0..2 {
        holds(&exits[exit], |x| {
            let mut exits = exits.clone();
            exits[exit] = x.clone();
            let views: Vec<_> = exits.iter().map(|e| e.view()).collect();
            let (value, mut gradients) = of.loss(&views, &labels)?;
            Ok((value, gradients.swap_remove(exit)))
        });
    }
}

#[test]
fn a_single_exit_learns_from_labels() {
    let mut numbers = Numbers::new(103);
    let exit = numbers.array((2, 3), 3.0);
    let labels = arr1(&[0, 2]);
    let (value, gradients) = SelfDistillation::default()
        .loss(&[exit.view()], &labels)
        .unwrap();
    let (expected, gradient) = CrossEntropy::default().loss(&exit, &labels).unwrap();
    assert_eq!((value, &gradients[..]), (expected, &[gradient][..]));
    assert_eq!(gradients[0].len_of(Axis(0)), 2);
}
