//! Element types and strides: `f32` is `f64` rounded, and any view is its contiguous copy.

use crate::samples::Numbers;
use compress_kd::features::{AttentionTransfer, Projection, cosine_embedding, hint};
use compress_kd::logits::{DecoupledKd, KdLoss, kl_divergence};
use compress_kd::relations::{rkd_angle, rkd_distance, similarity_preserving};
use compress_kd::transformer::{Relations, attention_divergence};
use ndarray::{Array, Array1, Array2, ArrayView2, Axis, Dimension, ShapeBuilder};

fn narrow<D: Dimension>(x: &Array<f64, D>) -> Array<f32, D> {
    x.mapv(|x| x as f32)
}

/// A value and gradient of `f32` beside those of the same numbers in `f64`.
#[track_caller]
fn agree<D: Dimension>(found: (f64, Array<f32, D>), expected: (f64, Array<f64, D>)) {
    // All between is f64: the value is the same, the gradient is rounded once.
    assert_eq!(found.0, expected.0);
    assert_eq!(found.1, narrow(&expected.1));
}

#[test]
fn single_precision_is_rounded_once() {
    let mut numbers = Numbers::new(300);
    let mut pair = |shape| {
        let (s, t) = (
            narrow(&numbers.array(shape, 4.0)),
            narrow(&numbers.array(shape, 4.0)),
        );
        let wide = (s.mapv(f64::from), t.mapv(f64::from));
        (s, t, wide)
    };
    let (s, t, wide) = pair((6, 5));
    let labels = Array1::from_iter([0i64, 1, 2, 3, 4, 0]);
    agree(
        kl_divergence(&s, &t, 3.0).unwrap(),
        kl_divergence(&wide.0, &wide.1, 3.0).unwrap(),
    );
    let kd = KdLoss::new(0.5, 4.0);
    agree(
        kd.loss(&s, &t, &labels).unwrap(),
        kd.loss(&wide.0, &wide.1, &labels).unwrap(),
    );
    let dkd = DecoupledKd::default();
    agree(
        dkd.loss(&s, &t, &labels).unwrap(),
        dkd.loss(&wide.0, &wide.1, &labels).unwrap(),
    );
    agree(
        cosine_embedding(&s, &t).unwrap(),
        cosine_embedding(&wide.0, &wide.1).unwrap(),
    );
    agree(
        rkd_distance(&s, &t).unwrap(),
        rkd_distance(&wide.0, &wide.1).unwrap(),
    );
    agree(
        rkd_angle(&s, &t).unwrap(),
        rkd_angle(&wide.0, &wide.1).unwrap(),
    );
    agree(
        similarity_preserving(&s, &t).unwrap(),
        similarity_preserving(&wide.0, &wide.1).unwrap(),
    );
}

#[test]
fn half_precision_is_rounded_once() {
    let mut numbers = Numbers::new(305);
    let labels = numbers.labels(4, 6);
    let [student, teacher] =
        [(); 2].map(|()| numbers.array((4, 6), 4.0).mapv(half::bf16::from_f64));
    let wide = [&student, &teacher].map(|x| x.mapv(half::bf16::to_f64));
    let kd = KdLoss::new(0.5, 4.0);
    let (value, gradient) = kd.loss(&student, &teacher, &labels).unwrap();
    let (expected, expected_gradient) = kd.loss(&wide[0], &wide[1], &labels).unwrap();
    assert_eq!(value, expected);
    assert_eq!(gradient, expected_gradient.mapv(half::bf16::from_f64));
}

#[test]
fn views_of_any_strides_are_their_copies() {
    let mut numbers = Numbers::new(301);
    let big = numbers.array((10, 12), 4.0);
    let other = numbers.array((5, 6).f(), 4.0);
    // Every second row and column, backwards, and the transposed.
    let mut strided = big.slice(ndarray::s![..;2, ..;-2]);
    for _ in 0..2 {
        let copy = strided.as_standard_layout().to_owned();
        let teacher = other.view();
        let teacher = if strided.dim() == teacher.dim() {
            teacher
        } else {
            teacher.reversed_axes()
        };
        let standard = teacher.as_standard_layout().to_owned();
        let of = |s: &ArrayView2<'_, f64>, t: &ArrayView2<'_, f64>| {
            (
                kl_divergence(s, t, 2.0).unwrap(),
                rkd_distance(s, t).unwrap(),
                hint(s, t, Axis(1), None).unwrap(),
                cosine_embedding(s, t).unwrap(),
            )
        };
        assert_eq!(of(&strided, &teacher), of(&copy.view(), &standard.view()));
        strided = strided.reversed_axes();
    }
}

#[test]
fn a_broadcast_teacher_is_its_repetition() {
    let mut numbers = Numbers::new(302);
    let student = numbers.array((4, 3), 4.0);
    let teacher: Array1<f64> = numbers.array(3, 4.0);
    let broadcast = teacher.broadcast((4, 3)).unwrap();
    let repeated: Array2<f64> = broadcast.to_owned();
    let found = kl_divergence(&student, &broadcast, 2.0).unwrap();
    assert_eq!(found, kl_divergence(&student, &repeated, 2.0).unwrap());
    let found = similarity_preserving(&student, &broadcast).unwrap();
    assert_eq!(found, similarity_preserving(&student, &repeated).unwrap());
}

#[test]
fn channels_may_stand_anywhere_behind_the_samples() {
    let mut numbers = Numbers::new(303);
    let (student, teacher) = (
        numbers.array((2, 3, 4, 5), 2.0),
        numbers.array((2, 6, 4, 5), 2.0),
    );
    let projection = Projection::random(3, 6, 1).unwrap();
    let (value, gradient) = hint(&student, &teacher, Axis(1), Some(&projection)).unwrap();
    let last = |x: &ndarray::Array4<f64>| x.view().permuted_axes([0, 2, 3, 1]).to_owned();
    let (found, found_gradient) =
        hint(&last(&student), &last(&teacher), Axis(3), Some(&projection)).unwrap();
    assert_eq!(value, found);
    assert_eq!(last(&gradient.student), found_gradient.student);
    assert_eq!(gradient.projection, found_gradient.projection);
}

#[test]
fn permuted_images_and_tokens_are_their_copies() {
    let mut numbers = Numbers::new(304);
    let nhwc = numbers.array((2, 4, 5, 3), 2.0);
    let teacher = numbers.array((2, 2, 4, 5), 2.0);
    let image = nhwc.view().permuted_axes([0, 3, 1, 2]);
    let copy = image.as_standard_layout().to_owned();
    let transfer = AttentionTransfer::default();
    let found = transfer.loss(&image, &teacher.view()).unwrap();
    assert_eq!(found, transfer.loss(&copy, &teacher).unwrap());
    let found = attention_divergence(&image, &image, None).unwrap();
    assert_eq!(found, attention_divergence(&copy, &copy, None).unwrap());

    let tokens = numbers.array((4, 2, 6), 2.0);
    let view = tokens.view().permuted_axes([1, 0, 2]);
    let copy = view.as_standard_layout().to_owned();
    let teacher = numbers.array((2, 4, 3), 2.0);
    let found = Relations::new(3).within(&view, &teacher, None).unwrap();
    assert_eq!(
        found,
        Relations::new(3).within(&copy, &teacher, None).unwrap()
    );
}
