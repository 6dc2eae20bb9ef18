//! CRD: gradients, its formula written out, memories and repeatability.

use crate::differences::{close, holds};
use crate::samples::Numbers;
use compress_kd::KdError;
use compress_kd::contrast::{Crd, CrdConfig, MemoryBank, Negatives};
use ndarray::{Array1, Array2, arr1, arr2};

const SAMPLES: usize = 12;

fn crd(dimensions: usize, negatives: usize) -> Crd<f64> {
    let config = CrdConfig::default().with_negatives(negatives);
    Crd::new(Negatives::among(SAMPLES, 3).unwrap(), dimensions, 5, config).unwrap()
}

#[test]
fn contrast_has_its_gradients_by_both_networks() {
    for (n, d, negatives) in [(1, 1, 1), (2, 4, 3), (5, 3, 20)] {
        let mut numbers = Numbers::new(n as u64);
        let (student, teacher) = (numbers.array((n, d), 2.0), numbers.array((n, d), 2.0));
        let mut crd = crd(d, negatives);
        let contrast = crd.draw(&Array1::from_iter(0..n)).unwrap();
        crd.fit_partition(&student, &teacher, &contrast).unwrap();
        holds(&student, |x| {
            let (value, g) = crd.loss(x, &teacher, &contrast)?;
            Ok((value, g.student))
        });
        holds(&teacher, |x| {
            let (value, g) = crd.loss(&student, x, &contrast)?;
            Ok((value, g.teacher))
        });
    }
}

#[test]
fn the_value_is_the_papers_formula() {
    let mut numbers = Numbers::new(7);
    let (student, teacher) = (numbers.array((2, 3), 2.0), numbers.array((2, 3), 2.0));
    let mut crd = crd(3, 4);
    let contrast = crd.draw(&arr1(&[8, 1])).unwrap();
    crd.fit_partition(&student, &teacher, &contrast).unwrap();
    let [memory_s, memory_t] = crd.memories().map(|m| m.embeddings().clone());
    let mut expected = 0.0;
    for (anchors, memory) in [(&student, memory_t), (&teacher, memory_s)] {
        let exponentials = Array2::from_shape_fn((2, 5), |(i, j)| {
            let anchor = anchors.row(i);
            let dot = anchor.dot(&memory.row(contrast[[i, j]])) / anchor.dot(&anchor).sqrt();
            (dot / 0.07).exp()
        });
        let z = exponentials.mean().unwrap() * SAMPLES as f64;
        let x = exponentials / z;
        let noise = 4.0 / SAMPLES as f64;
        for i in 0..2 {
            expected -= (x[[i, 0]] / (x[[i, 0]] + noise)).ln() / 2.0;
            for j in 1..5 {
                expected -= (noise / (x[[i, j]] + noise)).ln() / 2.0;
            }
        }
    }
    close(
        crd.loss(&student, &teacher, &contrast).unwrap().0,
        expected,
        1e-12,
    );
}

#[test]
fn memories_follow_their_samples_and_no_others() {
    let (student, teacher) = (arr2(&[[0.0, 3.0]]), arr2(&[[-2.0, 0.0]]));
    let config = CrdConfig::default().with_negatives(2).with_momentum(0.0);
    let mut crd = Crd::new(Negatives::among(4, 0).unwrap(), 2, 0, config).unwrap();
    let before = crd.memories().map(|m| m.embeddings().clone());
    crd.step(&student, &teacher, &arr1(&[2])).unwrap();
    let after = crd.memories().map(|m| m.embeddings().clone());
    // Without momentum a memory is the direction itself.
    assert_eq!(after[0].row(2), arr1(&[0.0, 1.0]));
    assert_eq!(after[1].row(2), arr1(&[-1.0, 0.0]));
    for sample in [0, 1, 3] {
        assert_eq!(after[0].row(sample), before[0].row(sample));
    }
    assert_eq!(crd.steps(), 1);
}

#[test]
fn momentum_mixes_directions() {
    let bank = MemoryBank::from_embeddings(&arr2(&[[2.0, 0.0], [0.0, 1.0]])).unwrap();
    let config = CrdConfig::default().with_negatives(1).with_momentum(0.75);
    let negatives = Negatives::among(2, 0).unwrap();
    let mut crd = Crd::resume(negatives, [bank.clone(), bank], None, 0, config).unwrap();
    crd.step(&arr2(&[[0.0, 5.0]]), &arr2(&[[-1.0, 0.0]]), &arr1(&[0]))
        .unwrap();
    let [student, teacher] = crd.memories();
    let length = 0.75f64.hypot(0.25);
    close(student.embeddings()[[0, 0]], 0.75 / length, 1e-15);
    close(student.embeddings()[[0, 1]], 0.25 / length, 1e-15);
    assert_eq!(teacher.embeddings().row(0), arr1(&[1.0, 0.0]));
}

#[test]
fn the_same_seed_gives_the_same_steps_and_a_checkpoint_goes_on_with_them() {
    let mut numbers = Numbers::new(9);
    let batches: Vec<(Array2<f64>, Array2<f64>)> = (0..4)
        .map(|_| (numbers.array((3, 2), 1.0), numbers.array((3, 2), 1.0)))
        .collect();
    let samples = arr1(&[0, 5, 11]);
    let (mut one, mut other) = (crd(2, 6), crd(2, 6));
    for (student, teacher) in &batches[..2] {
        let found = one.step(student, teacher, &samples).unwrap();
        assert_eq!(found, other.step(student, teacher, &samples).unwrap());
    }
    let memories = other.memories().map(Clone::clone);
    let (log_z, steps) = (other.log_partition(), other.steps());
    let negatives = Negatives::among(SAMPLES, 3).unwrap();
    let config = CrdConfig::default().with_negatives(6);
    let mut other = Crd::resume(negatives, memories, log_z, steps, config).unwrap();
    for (student, teacher) in &batches[2..] {
        let found = one.step(student, teacher, &samples).unwrap();
        assert_eq!(found, other.step(student, teacher, &samples).unwrap());
    }
}

#[test]
fn descending_brings_student_and_teacher_together() {
    // The student moves, the teacher stays: their cosine grows.
    let mut numbers = Numbers::new(10);
    let mut student = numbers.array((4, 3), 1.0);
    let teacher = numbers.array((4, 3), 1.0);
    let samples = arr1(&[0, 1, 2, 3]);
    let config = CrdConfig::default().with_negatives(3).with_temperature(0.5);
    let mut crd = Crd::new(Negatives::among(4, 1).unwrap(), 3, 2, config).unwrap();
    let distance = |student: &Array2<f64>| {
        compress_kd::features::cosine_embedding(student, &teacher)
            .unwrap()
            .0
    };
    let before = distance(&student);
    for _ in 0..300 {
        let (_, gradients) = crd.step(&student, &teacher, &samples).unwrap();
        student = student - 0.1 * gradients.student;
    }
    assert!(
        distance(&student) < 0.5 * before,
        "{} {before}",
        distance(&student)
    );
}

#[test]
fn what_does_not_fit_is_an_error() {
    let x = Array2::<f64>::from_elem((2, 3), 1.0);
    let mut crd = crd(3, 2);
    let contrast = arr2(&[[0usize, 1, 2], [1, 2, 12]]);
    assert_eq!(
        crd.loss(&x, &x, &contrast).unwrap_err(),
        KdError::NoPartition
    );
    let found = crd.fit_partition(&x, &x, &contrast).unwrap_err();
    assert!(
        matches!(
            found,
            KdError::NoSuchSample {
                index: 5,
                found: 12,
                ..
            }
        ),
        "{found}"
    );
    assert!(crd.step(&x, &x, &arr1(&[0, 99])).is_err());
    assert!(crd.step(&x, &x, &arr1(&[0])).is_err());
    let narrow = Array2::from_elem((2, 2), 1.0);
    let found = crd.step(&narrow, &narrow, &arr1(&[0, 1])).unwrap_err();
    assert!(matches!(found, KdError::Shape { .. }), "{found}");
    assert_eq!(crd.steps(), 0);
    for config in [
        CrdConfig::default().with_negatives(0),
        CrdConfig::default().with_temperature(0.0),
        CrdConfig::default().with_momentum(1.5),
    ] {
        let found = Crd::<f64>::new(Negatives::among(4, 0).unwrap(), 2, 0, config);
        assert!(matches!(found, Err(KdError::Setting { .. })));
    }
}
