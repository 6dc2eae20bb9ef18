//! Gradients of the losses between samples, and small cases by hand.

use crate::differences::{close, holds};
use crate::samples::Numbers;
use compress_kd::relations::{
    CorrelationCongruence, CorrelationKernel, probabilistic_transfer, rkd_angle, rkd_distance,
    similarity_preserving,
};
use ndarray::{Array2, arr2};

fn each(mut test: impl FnMut(&Array2<f64>, &Array2<f64>)) {
    let shapes = [(2, 1, 3), (2, 3, 1), (3, 2, 2), (5, 4, 7), (8, 3, 2)];
    for (seed, (n, d_s, d_t)) in shapes.into_iter().enumerate() {
        let mut numbers = Numbers::new(60 + seed as u64);
        test(&numbers.array((n, d_s), 2.0), &numbers.array((n, d_t), 2.0));
    }
}

#[test]
fn relational_losses_have_their_gradients() {
    each(|student, teacher| {
        holds(student, |x| rkd_distance(x, teacher));
        holds(student, |x| rkd_angle(x, teacher));
    });
}

#[test]
fn distances_far_apart_have_hubers_other_gradient() {
    let mut numbers = Numbers::new(71);
    let mut student = numbers.array((6, 2), 1.0);
    student.row_mut(0).mapv_inplace(|x| 50.0 * x);
    let teacher = numbers.array((6, 3), 1.0);
    holds(&student, |x| rkd_distance(x, &teacher));
    // Sides of the student 0 (ten times) and 5 (five times), whose mean without zeros is 5; the teacher's are all the same. So
    // five pairs agree and ten differ by 1, where both sides of the loss meet at 1/2.
    let student = Array2::from_shape_fn((6, 1), |(i, _)| if i == 0 { 5.0 } else { 0.0 });
    let teacher = Array2::eye(6);
    close(
        rkd_distance(&student, &teacher).unwrap().0,
        2.0 * 10.0 * 0.5 / 36.0,
        1e-14,
    );
    // The sides of the far sample are beyond.
    let student = arr2(&[[0.0], [1.0], [2.0], [3.0], [100.0]]);
    let sides = [1.0, 2.0, 3.0, 100.0, 1.0, 2.0, 99.0, 1.0, 98.0, 97.0];
    let mean: f64 = sides.iter().sum::<f64>() / 10.0;
    let of = |side: f64| {
        let x: f64 = side / mean - 1.0;
        if x > 1.0 { x - 0.5 } else { 0.5 * x * x }
    };
    let expected = 2.0 * sides.map(of).iter().sum::<f64>() / 25.0;
    close(
        rkd_distance(&student, &Array2::eye(5)).unwrap().0,
        expected,
        1e-14,
    );
}

#[test]
fn similarity_and_correlation_have_their_gradients() {
    each(|student, teacher| {
        holds(student, |x| similarity_preserving(x, teacher));
        for kernel in [
            CorrelationKernel::Bilinear,
            CorrelationKernel::Gaussian(0.4),
        ] {
            holds(student, |x| {
                CorrelationCongruence::new(kernel).loss(x, teacher)
            });
        }
    });
}

#[test]
fn probabilistic_transfer_has_its_gradient() {
    each(|student, teacher| {
        // Opposite samples of one feature stand at the kink of ε.
        if student.ncols() > 1 {
            holds(student, |x| probabilistic_transfer(x, teacher));
        }
    });
}

#[test]
fn images_are_taken_as_their_rows() {
    let mut numbers = Numbers::new(70);
    let (student, teacher) = (numbers.array((3, 2, 2, 1), 2.0), numbers.array((3, 5), 2.0));
    let flat = student.to_shape((3, 4)).unwrap().to_owned();
    let (value, gradient) = rkd_distance(&student, &teacher).unwrap();
    let (expected, expected_gradient) = rkd_distance(&flat, &teacher).unwrap();
    assert_eq!(value, expected);
    assert_eq!(gradient.to_shape((3, 4)).unwrap(), expected_gradient);
}

#[test]
fn distances_of_a_triangle() {
    // Student 3, 4, 5 (mean 4), teacher 1, 1, 2 (mean 4/3), each pair counted twice among nine.
    let student = arr2(&[[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]);
    let teacher = arr2(&[[0.0], [1.0], [-1.0]]);
    let huber = |x: f64| 0.5 * x * x;
    let sum = huber(0.75 - 0.75) + huber(1.0 - 0.75) + huber(1.25 - 1.5);
    close(
        rkd_distance(&student, &teacher).unwrap().0,
        2.0 * sum / 9.0,
        1e-14,
    );
}

#[test]
fn angles_of_a_triangle() {
    // Cosines at the vertices: student 0, 3/5, 4/5; teacher (on a line) -1, 1, 1; each angle counted twice among 27.
    let student = arr2(&[[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]);
    let teacher = arr2(&[[0.0], [1.0], [-1.0]]);
    let sum = 0.5 + 0.5 * 0.4 * 0.4 + 0.5 * 0.2 * 0.2;
    close(
        rkd_angle(&student, &teacher).unwrap().0,
        2.0 * sum / 27.0,
        1e-14,
    );
}

#[test]
fn similarities_of_two_samples() {
    // G_S = I; G_T = [[1, 1], [1, 1]] with rows of length 1.
    let student = arr2(&[[1.0, 0.0], [0.0, 2.0]]);
    let teacher = arr2(&[[1.0], [3.0]]);
    let teacher = rescaled(&teacher);
    let (a, b) = (1.0 - 0.5f64.sqrt(), 0.5f64.sqrt());
    let expected = (2.0 * a * a + 2.0 * b * b) / 4.0;
    close(
        similarity_preserving(&student, &teacher).unwrap().0,
        expected,
        1e-14,
    );
}

/// Both samples at length 1.
fn rescaled(teacher: &Array2<f64>) -> Array2<f64> {
    teacher.mapv(f64::signum)
}

#[test]
fn correlations_of_two_samples() {
    let student = arr2(&[[1.0, 0.0], [0.0, 2.0]]);
    let teacher = arr2(&[[1.0], [2.0]]);
    // x'y: [[1, 0], [0, 4]] against [[1, 2], [2, 4]].
    let bilinear = CorrelationCongruence::new(CorrelationKernel::Bilinear);
    close(bilinear.loss(&student, &teacher).unwrap().0, 2.0, 1e-15);
    // Squared distances 5 and 1.
    let gaussian = CorrelationCongruence::new(CorrelationKernel::Gaussian(0.4));
    let difference = (-2f64).exp() - (-0.4f64).exp();
    let (value, _) = gaussian.loss(&student, &teacher).unwrap();
    close(value, 2.0 * difference * difference / 4.0, 1e-14);
}

#[test]
fn neighbours_of_three_samples() {
    // Cosines of sample 0 with 1 and 2: student 0 and 1, teacher 1 and 0; of the others by symmetry.
    let student = arr2(&[[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]);
    let teacher = arr2(&[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
    let third = 1.0 / 3.0;
    let kl = |p: [f64; 2], q: [f64; 2]| -> f64 { (0..2).map(|k| p[k] * (p[k] / q[k]).ln()).sum() };
    let near = [1.0 - third, third];
    let of_0 = kl(near, [third, 1.0 - third]);
    let of_1 = kl(near, [0.5, 0.5]);
    let of_2 = kl([0.5, 0.5], [1.0 - third, third]);
    let (value, _) = probabilistic_transfer(&student, &teacher).unwrap();
    // ε moves the probabilities by less than 1e-7.
    close(value, (of_0 + of_1 + of_2) / 3.0, 1e-6);
}
