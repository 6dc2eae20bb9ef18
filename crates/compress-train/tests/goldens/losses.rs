//! Values and gradients in double precision from single-precision outputs, and gradients by differences.

use super::Goldens;
use compress_tensor::Tensor;
use compress_train::loss::{
    BinaryCrossEntropy, CrossEntropy, Huber, L1, Loss, LossError, Mse, OnNamed, Outputs, SmoothL1,
    Target, Targets, WeightedSum,
};
use ndarray::{ArrayD, arr1, arr2};
use serde_json::Value;

type Cases = Vec<(String, Value, String, String)>;

fn loss(kind: &str, settings: &Value) -> Box<dyn Loss> {
    let settings = settings.clone();
    match kind {
        "cross-entropy" => Box::new(serde_json::from_value::<CrossEntropy>(settings).unwrap()),
        "mse" => Box::new(serde_json::from_value::<Mse>(settings).unwrap()),
        "l1" => Box::new(serde_json::from_value::<L1>(settings).unwrap()),
        "huber" => Box::new(serde_json::from_value::<Huber>(settings).unwrap()),
        "smooth-l1" => Box::new(serde_json::from_value::<SmoothL1>(settings).unwrap()),
        _ => Box::new(serde_json::from_value::<BinaryCrossEntropy>(settings).unwrap()),
    }
}

enum Held {
    Classes(ArrayD<i64>),
    Values(ArrayD<f32>),
}

impl Held {
    fn of(tensor: &Tensor) -> Self {
        match tensor.view::<i64>() {
            Ok(classes) => Self::Classes(classes.to_owned()),
            Err(_) => Self::Values(tensor.view::<f32>().unwrap().to_owned()),
        }
    }

    fn targets(&self) -> Targets<'_> {
        let target = match self {
            Self::Classes(classes) => Target::Classes(classes.view()),
            Self::Values(values) => Target::Values(values.view()),
        };
        Targets::new([("t", target)])
    }
}

/// Every case with its output and target.
fn each(mut check: impl FnMut(usize, &str, &dyn Loss, &ArrayD<f32>, &Held, &Goldens<Cases>)) {
    let goldens: Goldens<Cases> = Goldens::read("losses");
    assert_eq!(goldens.cases.len(), 14);
    for (index, (kind, settings, output, target)) in goldens.cases.iter().enumerate() {
        let output = goldens.contents.tensors[output]
            .view::<f32>()
            .unwrap()
            .to_owned();
        let target = Held::of(&goldens.contents.tensors[target]);
        let name = format!("{kind} {settings}");
        check(
            index,
            &name,
            &*loss(kind, settings),
            &output,
            &target,
            &goldens,
        );
    }
}

#[test]
fn values_and_gradients_are_those_of_torch() {
    each(|index, name, loss, output, target, goldens| {
        let found = loss
            .loss(&Outputs::new([("y", output.view())]), &target.targets())
            .unwrap();
        let expected = goldens.f64(&format!("value-{index}"))[0];
        assert!(
            (found.value / expected - 1.0).abs() < 1e-13,
            "{name}: {} {expected}",
            found.value
        );
        let gradient = found.gradients[0].as_ref().unwrap();
        assert_eq!(gradient.shape(), output.shape());
        for (g, e) in gradient
            .iter()
            .zip(goldens.f64(&format!("gradient-{index}")))
        {
            // The gradient is rounded once, to single precision.
            assert!(
                (f64::from(*g) - e).abs() <= 6e-8 * e.abs() + 1e-12,
                "{name}: {g} {e}"
            );
        }
    });
}

#[test]
fn gradients_are_central_differences() {
    each(|_, name, loss, output, target, _| {
        let value = |y: &ArrayD<f32>| {
            loss.loss(&Outputs::new([("y", y.view())]), &target.targets())
                .unwrap()
                .value
        };
        let found = loss
            .loss(&Outputs::new([("y", output.view())]), &target.targets())
            .unwrap();
        let gradient = found.gradients[0].as_ref().unwrap();
        for at in 0..output.len() {
            // (8 (f(x+h) − f(x−h)) − (f(x+2h) − f(x−2h))) / 12h: the error is of order h⁴.
            let moved = |by: f64| {
                let mut y = output.clone();
                let x = &mut y.as_slice_mut().unwrap()[at];
                *x = (f64::from(*x) + by) as f32;
                let x = f64::from(*x);
                (value(&y), x)
            };
            let h = 1.0 / 512.0;
            let [(a, xa), (b, xb), (c, xc), (d, xd)] =
                [moved(-2.0 * h), moved(-h), moved(h), moved(2.0 * h)];
            let (near, far) = ((c - b) / (xc - xb), (d - a) / (xd - xa));
            let difference = (4.0 * near - far) / 3.0;
            let g = f64::from(gradient.as_slice().unwrap()[at]);
            assert!(
                (g - difference).abs() < 2e-7 * g.abs().max(1.0),
                "{name} at {at}: {g} {difference}"
            );
        }
    });
}

#[test]
fn extreme_logits_give_finite_losses() {
    let y = arr2(&[[1e30f32, -1e30, 0.0], [f32::MAX, f32::MAX, f32::MIN]]).into_dyn();
    let labels = arr1(&[0i64, 1]).into_dyn();
    let targets = Targets::new([("t", Target::Classes(labels.view()))]);
    let found = CrossEntropy::default()
        .loss(&Outputs::new([("y", y.view())]), &targets)
        .unwrap();
    assert!((found.value - 0.5 * 2f64.ln()).abs() < 1e-12);
    assert!(
        found.gradients[0]
            .as_ref()
            .unwrap()
            .iter()
            .all(|g| g.is_finite())
    );
    let y = arr1(&[1e30f32, -1e30, 800.0, -800.0]).into_dyn();
    let t = arr1(&[1.0f32, 0.0, 0.0, 1.0]).into_dyn();
    let targets = Targets::new([("t", Target::Values(t.view()))]);
    let found = BinaryCrossEntropy::default()
        .loss(&Outputs::new([("y", y.view())]), &targets)
        .unwrap();
    assert_eq!(found.value, 400.0);
    assert_eq!(
        found.gradients[0].as_ref().unwrap().as_slice().unwrap(),
        [0.0, 0.0, 0.25, -0.25]
    );
    // A class that is ruled out and not asked for costs nothing.
    let y = arr2(&[[f32::NEG_INFINITY, 1.0, 1.0]]).into_dyn();
    let labels = arr1(&[1i64]).into_dyn();
    let targets = Targets::new([("t", Target::Classes(labels.view()))]);
    let found = CrossEntropy::default()
        .loss(&Outputs::new([("y", y.view())]), &targets)
        .unwrap();
    assert!((found.value - 2f64.ln()).abs() < 1e-12);
}

#[test]
fn samples_that_are_all_ignored_cost_nothing() {
    let mut loss = CrossEntropy::default();
    loss.ignored_class = Some(-100);
    let (y, labels) = (
        arr2(&[[1.0f32, 2.0]]).into_dyn(),
        arr1(&[-100i64]).into_dyn(),
    );
    let targets = Targets::new([("t", Target::Classes(labels.view()))]);
    let found = loss
        .loss(&Outputs::new([("y", y.view())]), &targets)
        .unwrap();
    assert_eq!(
        (found.value, found.gradients[0].as_ref().unwrap().sum()),
        (0.0, 0.0)
    );
}

#[test]
fn axes_of_one_and_whole_numbers_go_where_they_cannot_be_mistaken() {
    let y = arr2(&[[0.5f32, -1.0], [2.0, 0.25]]).into_dyn();
    let logits = Outputs::new([("logits", y.view())]);
    let (flat, column) = (arr1(&[1i64, 0]).into_dyn(), arr2(&[[1i64], [0]]).into_dyn());
    let of = |loss: &dyn Loss, outputs: &Outputs<'_>, target: Target<'_>| {
        let found = loss.loss(outputs, &Targets::new([("label", target)]));
        let found = found.unwrap();
        (found.value, found.gradients[0].clone().unwrap())
    };
    let cross_entropy = CrossEntropy::default();
    assert_eq!(
        of(&cross_entropy, &logits, Target::Classes(flat.view())),
        of(&cross_entropy, &logits, Target::Classes(column.view()))
    );
    // One score for each sample, and labels with and without the axis, as truths and as shares.
    let y = arr2(&[[0.5f32], [-1.0]]).into_dyn();
    let scores = Outputs::new([("score", y.view())]);
    let shares = column.mapv(|n| n as f32);
    let binary = BinaryCrossEntropy::default();
    for loss in [&binary as &dyn Loss, &Mse::default(), &L1::default()] {
        let expected = of(loss, &scores, Target::Values(shares.view()));
        for numbers in [&flat, &column] {
            assert_eq!(of(loss, &scores, Target::Classes(numbers.view())), expected);
        }
        let flat = flat.mapv(|n| n as f32);
        assert_eq!(of(loss, &scores, Target::Values(flat.view())), expected);
    }
    let wrong = arr1(&[1i64, 2]).into_dyn();
    let wrong = Targets::new([("label", Target::Classes(wrong.view()))]);
    assert_eq!(
        binary.loss(&scores, &wrong).unwrap_err().to_string(),
        "target `label` holds class 2 at position 1, the output tells 0 to 1 apart"
    );
}

#[test]
fn arrays_that_do_not_fit_are_told() {
    let (y, labels) = (
        arr2(&[[1.0f32, 2.0], [0.0, 1.0]]).into_dyn(),
        arr1(&[0i64, 2]).into_dyn(),
    );
    let outputs = Outputs::new([("logits", y.view())]);
    let classes = Targets::new([("label", Target::Classes(labels.view()))]);
    let of = |loss: &dyn Loss, targets: &Targets<'_>| {
        loss.loss(&outputs, targets).unwrap_err().to_string()
    };
    let cross_entropy = CrossEntropy::default();
    assert_eq!(
        of(&cross_entropy, &classes),
        "target `label` holds class 2 at position 1, the output tells 0 to 1 apart"
    );
    assert_eq!(
        of(&cross_entropy, &Targets::default()),
        "the loss needs target 0, there are 0: the samples have no labels beside what feeds the model's inputs"
    );
    assert_eq!(
        of(&Mse::default(), &classes),
        "target `label` has shape [2], the loss needs [2, 2]"
    );
    let short = arr1(&[0.5f32]).into_dyn();
    let short = Targets::new([("share", Target::Values(short.view()))]);
    assert_eq!(
        of(&cross_entropy, &short),
        "target `share` holds floating-point numbers of shape [1]: the loss needs classes, whole numbers (int64) of shape [2], or shares of classes, floating-point numbers of shape [2, 2]"
    );
    assert_eq!(
        of(&Mse::default(), &short),
        "target `share` has shape [1], the loss needs [2, 2]"
    );
    let mut far = CrossEntropy::default();
    far.axis = 2;
    assert_eq!(
        of(&far, &classes),
        "output `logits` has shape [2, 2], the loss needs classes at axis 2"
    );
    let mut weighted = CrossEntropy::default();
    weighted.class_weights = Some(vec![1.0]);
    assert_eq!(
        of(&weighted, &classes),
        "the number of class weights is 1, there must be one for each class"
    );
    let huber = Huber {
        delta: 0.0,
        ..Huber::default()
    };
    assert_eq!(
        of(&huber, &short),
        "delta is 0, it must be a positive number"
    );
    let empty = ArrayD::<f32>::zeros(vec![0, 2]);
    let outputs = Outputs::new([("logits", empty.view())]);
    let targets = Targets::new([("t", Target::Values(empty.view()))]);
    for loss in [&cross_entropy as &dyn Loss, &Mse::default()] {
        let error = loss.loss(&outputs, &targets).unwrap_err();
        assert_eq!(
            error,
            LossError::Empty {
                output: "logits".into()
            }
        );
    }
}

#[test]
fn composed_losses_add_up_by_output() {
    let (a, b) = (arr1(&[1.0f32, 3.0]).into_dyn(), arr1(&[2.0f32]).into_dyn());
    let (ta, tb) = (arr1(&[0.0f32, 0.0]).into_dyn(), arr1(&[5.0f32]).into_dyn());
    let outputs = Outputs::new([("a", a.view()), ("unused", b.view()), ("b", b.view())]);
    let targets = Targets::new([
        ("ta", Target::Values(ta.view())),
        ("tb", Target::Values(tb.view())),
    ]);
    let named = |output: &str, target: &str| OnNamed {
        loss: Mse::default(),
        outputs: vec![output.into()],
        targets: vec![target.into()],
    };
    let sum = WeightedSum::default()
        .with("first", 1.0, Mse::default())
        .with("second", 0.5, named("b", "tb"))
        .with("again", 2.0, named("a", "ta"));
    let found = sum.loss(&outputs, &targets).unwrap();
    // (1 + 9) / 2 = 5, (2 − 5)² = 9.
    assert_eq!(found.value, 5.0 + 4.5 + 10.0);
    let parts = [("first", 5.0), ("second", 4.5), ("again", 10.0)];
    assert_eq!(
        found.parts,
        parts.map(|(name, value)| (name.to_owned(), value))
    );
    let gradient = |at: usize| {
        found.gradients[at]
            .as_ref()
            .map(|g| g.as_slice().unwrap().to_vec())
    };
    assert_eq!(
        [gradient(0), gradient(1), gradient(2)],
        [Some(vec![3.0, 9.0]), None, Some(vec![-3.0])]
    );
    let error = named("c", "ta").loss(&outputs, &targets).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no output `c`, there are [\"a\", \"unused\", \"b\"]"
    );
    assert!(named("a", "t").loss(&outputs, &targets).is_err());
}
