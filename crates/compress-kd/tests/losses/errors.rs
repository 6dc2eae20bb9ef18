//! What is refused, and in which words.

use compress_kd::KdError;
use compress_kd::features::{
    AttentionDistance, AttentionTransfer, CosineEmbedding, Projection, cosine_embedding, hint,
};
use compress_kd::logits::{
    BinaryKdLoss, CrossEntropy, DecoupledKd, KdLoss, kl_divergence, logit_regression,
    reverse_kl_divergence, softmax,
};
use compress_kd::relations::{
    CorrelationCongruence, CorrelationKernel, probabilistic_transfer, rkd_angle, rkd_distance,
    similarity_preserving,
};
use compress_kd::teachers::{SelfDistillation, TeacherMean, ensemble};
use compress_kd::transformer::{
    Relations, attention_divergence, attention_regression, hidden_state,
};
use ndarray::{Array2, Array3, Array4, Axis, arr1, arr2};

#[track_caller]
fn says<T: std::fmt::Debug>(found: Result<T, KdError>, expected: &str) {
    assert_eq!(found.unwrap_err().to_string(), expected);
}

#[test]
fn shapes_are_named_with_what_they_are_held_against() {
    let (a, b) = (Array2::<f32>::zeros((2, 3)), Array2::<f32>::zeros((2, 4)));
    let expected =
        "the shape of the teacher's logits is [2, 4], with the student's logits it must be [2, 3]";
    says(kl_divergence(&a, &b, 1.0), expected);
    says(reverse_kl_divergence(&a, &b, 1.0), expected);
    says(logit_regression(&a, &b), expected);
    says(KdLoss::default().loss(&a, &b, &arr1(&[0, 0])), expected);
    says(
        KdLoss::default().loss(&a, &a, &arr1(&[0])),
        "the shape of the labels is [1], with the student's logits it must be [2]",
    );
    says(
        KdLoss::default().loss_soft(&a, &a, &b),
        "the shape of the targets is [2, 4], with the student's logits it must be [2, 3]",
    );
    let expected = "the shape of the teacher's features is [3, 3], with the student's features it must be [2, 3]";
    let longer = Array2::<f32>::zeros((3, 3));
    says(rkd_distance(&a, &longer), expected);
    says(rkd_angle(&a, &longer), expected);
    says(similarity_preserving(&a, &longer), expected);
    says(probabilistic_transfer(&a, &longer), expected);
    says(CorrelationCongruence::default().loss(&a, &longer), expected);
    says(cosine_embedding(&a, &longer), expected);
    says(
        hint(&a, &b, Axis(1), None),
        "the shape of the teacher's features is [2, 4], with the student's projection it must be [2, 3]",
    );
    let (x, y) = (
        Array3::<f32>::zeros((1, 2, 3)),
        Array3::<f32>::zeros((1, 2, 4)),
    );
    says(
        AttentionTransfer::default().loss(&x, &y),
        "the shape of the teacher's features is [1, 2, 4], with the student's features it must be [1, 2, 3]",
    );
    says(
        AttentionTransfer::default().loss(&a, &a),
        "the shape of the student's features is [2, 3], the loss needs at least 3 axes",
    );
    says(
        Relations::new(1).within(&x, &Array3::zeros((1, 3, 3)), None),
        "the shape of the teacher's vectors is [1, 3, 3], with the student's vectors it must be [1, 2, 3]",
    );
    says(
        Relations::new(1).within(&x, &x, Some(&Array2::from_elem((1, 3), true))),
        "the shape of the mask is [1, 3], with the student's vectors it must be [1, 2]",
    );
    says(
        Relations::new(2).within(&x, &x, None),
        "a token has 3 features in the student's vectors, which do not divide among 2 heads",
    );
    says(
        hidden_state(&x, &y, None, None),
        "the shape of the teacher's features is [1, 2, 4], with the student's projection it must be [1, 2, 3]",
    );
    let (p, q) = (
        Array4::<f32>::zeros((1, 1, 2, 2)),
        Array4::<f32>::zeros((1, 2, 2, 2)),
    );
    let expected = "the shape of the teacher's attention scores is [1, 2, 2, 2], with the student's attention scores it must be [1, 1, 2, 2]";
    says(attention_divergence(&p, &q, None), expected);
    says(attention_regression(&p, &q, None), expected);
}

#[test]
fn empty_batches_are_refused() {
    let none = Array2::<f64>::zeros((0, 3));
    let expected =
        "the shape of the student's logits is [0, 3]: there is nothing to compute a loss of";
    says(kl_divergence(&none, &none, 1.0), expected);
    says(KdLoss::default().loss(&none, &none, &arr1(&[])), expected);
    says(CrossEntropy::default().loss(&none, &arr1(&[])), expected);
    says(BinaryKdLoss::default().loss(&none, &none, &none), expected);
    let expected =
        "the shape of the student's features is [0, 3]: there is nothing to compute a loss of";
    says(rkd_distance(&none, &none), expected);
    says(cosine_embedding(&none, &none), expected);
    says(hint(&none, &none, Axis(1), None), expected);
    let none = Array3::<f64>::zeros((2, 0, 3));
    assert!(matches!(
        hidden_state(&none, &none, None, None),
        Err(KdError::Empty { .. })
    ));
    assert!(matches!(
        Relations::new(1).within(&none, &none, None),
        Err(KdError::Empty { .. })
    ));
    let none = Array4::<f64>::zeros((2, 0, 3, 3));
    assert!(matches!(
        attention_divergence(&none, &none, None),
        Err(KdError::Empty { .. })
    ));
    assert!(matches!(
        Projection::<f64>::random(0, 3, 0),
        Err(KdError::Empty { .. })
    ));
}

#[test]
fn settings_out_of_their_range_are_refused() {
    let z = arr2(&[[0.0, 1.0]]);
    let labels = arr1(&[0]);
    for t in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let expected = format!("the temperature is {t}, it must be positive and finite");
        says(kl_divergence(&z, &z, t), &expected);
        says(reverse_kl_divergence(&z, &z, t), &expected);
        says(softmax(&z, t), &expected);
        says(KdLoss::new(0.5, t).loss(&z, &z, &labels), &expected);
        says(BinaryKdLoss::new(0.5, t).loss(&z, &z, &z), &expected);
        says(
            DecoupledKd::new(1.0, 1.0, t).loss(&z, &z, &labels),
            &expected,
        );
        says(
            ensemble(&[z.view()], None, t, TeacherMean::Arithmetic),
            &expected,
        );
        says(
            SelfDistillation::new(KdLoss::new(0.5, t)).loss(&[z.view()], &labels),
            &expected,
        );
    }
    for alpha in [-0.1, 1.1, f64::NAN] {
        let expected = format!("alpha is {alpha}, it must lie in [0, 1]");
        says(KdLoss::new(alpha, 1.0).loss(&z, &z, &labels), &expected);
        says(BinaryKdLoss::new(alpha, 1.0).loss(&z, &z, &z), &expected);
    }
    let smooth = CrossEntropy::default().with_label_smoothing(1.5);
    says(
        smooth.loss(&z, &labels),
        "label smoothing is 1.5, it must lie in [0, 1]",
    );
    let weights = |w| {
        CrossEntropy::default()
            .with_class_weights(w)
            .loss(&z, &labels)
    };
    says(weights(vec![1.0]), "there are 1 class weights instead of 2");
    says(
        weights(vec![1.0, -1.0]),
        "a class weight is -1, it must be finite and not negative",
    );
    let positive = |w| {
        BinaryKdLoss::default()
            .with_positive_weights(w)
            .loss(&z, &z, &z)
    };
    says(
        positive(vec![1.0]),
        "there are 1 positive weights instead of 2",
    );
    says(
        positive(vec![-2.0, 1.0]),
        "a positive weight is -2, it must be finite and not negative",
    );
    says(
        DecoupledKd::default().loss(&arr2(&[[1.0]]), &arr2(&[[1.0]]), &labels),
        "the number of classes is 1, there must be at least two",
    );
    let image = Array3::<f64>::ones((1, 1, 2));
    let transfer = |p, d| AttentionTransfer::new(p, d).loss(&image, &image);
    says(
        transfer(0.5, AttentionDistance::SquaredMean),
        "the power of the attention map is 0.5, it must be finite and at least 1",
    );
    says(
        transfer(2.0, AttentionDistance::Norm(0.0)),
        "the order of the norm is 0, it must be finite and at least 1",
    );
    says(
        CorrelationCongruence::new(CorrelationKernel::Gaussian(0.0)).loss(&z, &z),
        "gamma is 0, it must be positive and finite",
    );
    says(
        CosineEmbedding::new(2.0).loss(&z, &z, &arr1(&[1])),
        "the margin is 2, it must lie in [-1, 1]",
    );
    says(
        CosineEmbedding::default().loss(&z, &z, &arr1(&[0])),
        "the label of a pair is 0, it must be 1 or -1",
    );
    let tokens = Array3::<f64>::ones((1, 1, 2));
    says(
        Relations::new(0).within(&tokens, &tokens, None),
        "the number of heads is 0, it must be at least 1",
    );
    let of = |weights: &[f64]| ensemble(&[z.view()], Some(weights), 1.0, TeacherMean::Arithmetic);
    says(
        of(&[0.0]),
        "the sum of the teachers' weights is 0, it must be positive and finite",
    );
    says(
        of(&[1.0, 1.0]),
        "there are 2 weights of teachers instead of 1",
    );
    says(
        ensemble::<f64>(&[], None, 1.0, TeacherMean::Arithmetic),
        "there are 0 teachers instead of 1",
    );
    says(
        SelfDistillation::default().loss::<f64>(&[], &labels),
        "there are 0 exits instead of 1",
    );
}

#[test]
fn values_that_are_not_finite_are_found() {
    let good = arr2(&[[0.0, 1.0], [2.0, 3.0]]);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let wrong = arr2(&[[0.0, 1.0], [bad, 3.0]]);
        says(
            kl_divergence(&good, &wrong, 1.0),
            &format!("position 2 of the teacher's logits is {bad}, which is not finite"),
        );
        says(
            rkd_angle(&wrong, &good),
            &format!("position 2 of the student's features is {bad}, which is not finite"),
        );
        let projection = Projection::new(wrong.clone(), None);
        says(
            projection,
            &format!("position 2 of the weight of the projection is {bad}, which is not finite"),
        );
    }
    let scores = |x| Array4::from_elem((1, 1, 1, 2), x);
    let mut masked = scores(0.0);
    masked[[0, 0, 0, 1]] = f64::NEG_INFINITY;
    says(
        attention_divergence(&masked, &scores(0.0), None),
        "position 1 of the attention scores is masked for the student only",
    );
    says(
        attention_regression(&scores(0.0), &masked, None),
        "position 1 of the attention scores is masked for the teacher only",
    );
    says(
        attention_divergence(&scores(f64::NAN), &masked, None),
        "position 0 of the student's attention scores is NaN, which is not finite",
    );
    // A mask leaves the key out.
    let mask = arr2(&[[true, false]]);
    let square = |last| {
        let mut x = Array4::zeros((1, 1, 2, 2));
        x[[0, 0, 0, 1]] = last;
        x
    };
    attention_divergence(&square(f64::NEG_INFINITY), &square(-1e4), Some(&mask)).unwrap();
}

#[test]
fn results_beyond_the_element_type_are_found() {
    let (a, b) = (arr2(&[[1e200, 0.0]]), arr2(&[[-1e200, 0.0]]));
    says(
        logit_regression(&a, &b),
        "the loss is not finite: the inputs are too large for their element type",
    );
    let (a, b) = (arr2(&[[2e38f32]]), arr2(&[[-2e38f32]]));
    says(
        logit_regression(&a, &b),
        "the gradient is not finite: the inputs are too large for their element type",
    );
}

#[test]
fn labels_and_targets_must_be_some() {
    let z = arr2(&[[0.0, 1.0], [2.0, 3.0]]);
    for label in [2, -1, i64::MIN] {
        let expected = format!("label 1 is {label}, the logits tell classes 0 to 1 apart");
        let labels = arr1(&[0, label]);
        says(CrossEntropy::default().loss(&z, &labels), &expected);
        says(KdLoss::new(1.0, 1.0).loss(&z, &z, &labels), &expected);
        says(DecoupledKd::default().loss(&z, &z, &labels), &expected);
    }
    for p in [-0.5, 1.5, f64::NAN] {
        let targets = arr2(&[[0.0, 1.0], [0.5, p]]);
        let expected = format!("position 3 of the targets is {p}, which is no probability");
        says(CrossEntropy::default().loss_soft(&z, &targets), &expected);
        says(BinaryKdLoss::default().loss(&z, &z, &targets), &expected);
    }
}
