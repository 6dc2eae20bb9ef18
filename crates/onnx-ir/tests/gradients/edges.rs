//! Where differences say nothing: ties, zeros, kinks and constant inputs. The numbers are PyTorch's, for the same formulas in f64.

use crate::harness::{Case, case, run, sound};
use compress_tensor::{CastOptions, DType, Tensor};
use onnx_ir::Catalog;
use onnx_ir::gradient::{GradientRequest, gradient};

fn tensor(shape: &[usize], values: &[f64]) -> Tensor {
    Tensor::from_vec(shape, values.to_vec()).unwrap()
}

fn vector(values: &[f64]) -> Tensor {
    tensor(&[values.len()], values)
}

/// The gradients of `sum(dy * y)`, or of `sum(y)`, with respect to the differentiated inputs.
fn gradients(case: &Case, dy: Option<&[f64]>) -> Vec<Vec<f64>> {
    let model = case.model(false);
    let request = GradientRequest::of(["y0"], case.names_of_reals());
    let request = match dy {
        Some(_) => request.seeded_by_inputs(),
        None => request,
    };
    let (trained, _) = gradient(&model, &request, Catalog::standard()).unwrap();
    let trained = sound(&trained).unwrap();
    let mut feeds = case.feeds();
    if let Some(dy) = dy {
        let shape = trained.fact("y0").unwrap().as_tensor().unwrap().sizes();
        feeds.push(("adjoint/y0".to_owned(), tensor(&shape.unwrap(), dy)));
    }
    let outputs = run(&trained, &feeds).unwrap();
    let gradients = outputs[case.outputs..].iter();
    gradients.map(|t| t.to_f64_vec().unwrap()).collect()
}

fn assert_gradients(case: &Case, dy: Option<&[f64]>, expected: &[&[f64]]) {
    let found = gradients(case, dy);
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert_eq!(f.len(), e.len());
        for (f, e) in f.iter().zip(*e) {
            let near = f == e || (f - e).abs() <= 1e-6 * e.abs() || (f.is_nan() && e.is_nan());
            assert!(near, "{:?}: {found:?}, expected {expected:?}", case.op());
        }
    }
}

#[test]
fn a_product_with_a_zero_has_the_product_of_the_others_as_its_slope() {
    let all = |x: &[f64]| case("ReduceProd").given(vector(x)).with("keepdims", 0i64);
    assert_gradients(&all(&[0.0, 2.0, 3.0]), None, &[&[6.0, 0.0, 0.0]]);
    assert_gradients(&all(&[0.0, 2.0, 0.0]), None, &[&[0.0, 0.0, 0.0]]);
    let x = tensor(&[3, 3], &[0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0, 7.0]);
    let rows = case("ReduceProd").given(x).ints(&[1], &[1]);
    let expected = [6.0, 0.0, 0.0, 60.0, 48.0, 40.0, 0.0, 0.0, 0.0];
    assert_gradients(&rows, Some(&[1.0, 2.0, 3.0]), &[&expected]);
}

#[test]
fn running_products_go_through_zeros() {
    let dy = [1.0, 2.0, 3.0, 4.0, 5.0];
    let running = |x: &[f64]| case("CumProd").opset(26).given(vector(x)).ints(&[], &[0]);
    let one = running(&[2.0, 0.0, 3.0, 4.0, 5.0]);
    assert_gradients(&one, Some(&dy), &[&[1.0, 718.0, 0.0, 0.0, 0.0]]);
    let two = running(&[2.0, 0.0, 3.0, 0.0, 5.0]);
    assert_gradients(&two, Some(&dy), &[&[1.0, 22.0, 0.0, 0.0, 0.0]]);
    // y = [x1 x2, x2, 1]: dx0 = 0, dx1 = dy0 x2, dx2 = dy0 x1 + dy1.
    let turned = running(&[5.0, 0.0, 3.0])
        .with("exclusive", 1i64)
        .with("reverse", 1i64);
    assert_gradients(&turned, Some(&[1.0, 2.0, 3.0]), &[&[0.0, 3.0, 2.0]]);
}

#[test]
fn updates_of_zero_that_are_multiplied_in_have_a_slope() {
    let scattered = |op: &str, shape: &[usize]| {
        case(op)
            .given(vector(&[2.0, 3.0, 4.0]))
            .ints(shape, &[0, 0, 2, 2, 1])
            .given(vector(&[0.0, 5.0, 0.0, 0.0, 7.0]))
            .with("reduction", "mul")
    };
    for case in [
        scattered("ScatterElements", &[5]),
        scattered("ScatterND", &[5, 1]),
    ] {
        let expected: [&[f64]; 2] = [&[0.0, 14.0, 0.0], &[10.0, 0.0, 0.0, 0.0, 6.0]];
        assert_gradients(&case, Some(&[1.0, 2.0, 3.0]), &expected);
    }
}

#[test]
fn powers_of_zero_and_to_zero_have_their_limits() {
    let base = vector(&[0.0, 0.0, 2.0, -1.5, 0.0]);
    let exponent = vector(&[0.0, 2.0, 0.0, 3.0, 1.0]);
    let power = case("Pow").given(base.clone()).given(exponent.clone());
    let dy = [0.5, 1.0, 2.0, -1.0, 3.0];
    let of_base = [0.0, 0.0, 0.0, -6.75, 3.0];
    let of_exponent = [0.0, 0.0, 1.386_294_361_119_890_6, f64::NAN, 0.0];
    assert_gradients(&power, Some(&dy), &[&of_base, &of_exponent]);
    let constant = case("Pow").given(base).constant(exponent);
    assert_gradients(&constant, Some(&dy), &[&of_base]);
    let poles = case("Pow")
        .given(vector(&[0.0, 0.0]))
        .given(vector(&[-1.0, 0.5]));
    let infinity = f64::INFINITY;
    assert_gradients(&poles, None, &[&[-infinity, infinity], &[-infinity, 0.0]]);
}

#[test]
fn kinks_belong_to_the_side_that_pytorch_gives_them_to() {
    let x = || vector(&[-1.0, 0.0, 2.0]);
    let of = |op: &str| case(op).given(x());
    for (case, expected) in [
        (
            of("Elu").with("alpha", 0.7f32),
            [0.257_515_608_820_009_6, 0.7, 1.0],
        ),
        (of("LeakyRelu").with("alpha", 0.1f32), [0.1, 0.1, 1.0]),
        (
            of("Selu"),
            [
                0.646_768_603_034_814,
                1.758_099_340_847_376_6,
                1.050_700_987_355_480_5,
            ],
        ),
        (
            of("Celu").opset(28).with("alpha", 1.7f32),
            [0.555_306_366_588_334_7, 1.0, 1.0],
        ),
        (of("Relu"), [0.0, 0.0, 1.0]),
        (of("Abs"), [-1.0, 0.0, 1.0]),
    ] {
        assert_gradients(&case, None, &[&expected]);
    }
    let prelu = of("PRelu").given(vector(&[0.25]));
    assert_gradients(&prelu, None, &[&[0.25, 0.25, 1.0], &[-1.0]]);
}

#[test]
fn bounds_that_cross_cut_everything_to_the_upper_one() {
    let scalar = |v: f64| tensor(&[], &[v]);
    let clip = |min: f64, max: f64| {
        case("Clip")
            .given(vector(&[-3.0, -1.0, 0.0, 1.0, 3.0]))
            .given(scalar(min))
            .given(scalar(max))
    };
    let dy = [1.0, 2.0, 3.0, 4.0, 5.0];
    assert_gradients(&clip(1.0, -1.0), Some(&dy), &[&[0.0; 5], &[0.0], &[15.0]]);
    let inside = [0.0, 2.0, 3.0, 4.0, 0.0];
    assert_gradients(&clip(-1.0, 1.0), Some(&dy), &[&inside, &[1.0], &[5.0]]);
}

#[test]
fn of_equal_elements_pooling_takes_the_first_and_reductions_share() {
    let planes = || tensor(&[1, 2, 2, 2], &[1.0, 3.0, 3.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    let first = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0];
    let global = case("GlobalMaxPool").given(planes());
    assert_gradients(&global, None, &[&first]);
    let window = case("MaxPool")
        .given(planes())
        .with("kernel_shape", vec![2i64, 2]);
    assert_gradients(&window, None, &[&first]);
    let rows = tensor(&[2, 3], &[1.0, 3.0, 3.0, 2.0, 2.0, 2.0]);
    let third = 1.0 / 3.0;
    let shares = [0.0, 0.5, 0.5, third, third, third];
    let max = case("ReduceMax").given(rows).ints(&[1], &[1]);
    assert_gradients(&max, None, &[&shares]);
    let max = case("Max")
        .given(vector(&[1.0, 2.0]))
        .given(vector(&[1.0, 3.0]));
    assert_gradients(&max, None, &[&[0.5, 0.0], &[0.5, 1.0]]);
}

#[test]
fn norms_of_zeros_have_no_slope() {
    for op in ["ReduceL1", "ReduceL2"] {
        let zeros = case(op).given(vector(&[0.0, 0.0]));
        assert_gradients(&zeros, None, &[&[0.0, 0.0]]);
    }
}

#[test]
fn a_constant_channel_is_normalised_with_a_finite_slope() {
    let x = tensor(&[2, 2], &[3.0, 3.0, 1.0, 2.0]);
    let case = case("MeanVarianceNormalization")
        .given(x)
        .with("axes", vec![1i64]);
    let found = gradients(&case, Some(&[1.0, 0.0, 1.0, 0.0]));
    // (dy - mean(dy)) / 1e-9, as y = (x - mean) / 1e-9 there to first order.
    assert!((found[0][0] / 0.5e9 - 1.0).abs() < 1e-6, "{found:?}");
    assert!((found[0][1] / -0.5e9 - 1.0).abs() < 1e-6, "{found:?}");
    assert!(found[0][2].is_finite() && found[0][3].is_finite());
}

#[test]
fn means_of_more_elements_than_f16_counts_have_a_gradient() {
    let many = 100_000;
    let ones = Tensor::from_vec(&[1, 1, many], vec![1f32; many]).unwrap();
    let ones = ones.cast(DType::F16, CastOptions::default()).unwrap();
    let mean = case("ReduceMean").given(ones.clone());
    for case in [mean, case("GlobalAveragePool").given(ones)] {
        for symbolic in [false, true] {
            let model = case.model(symbolic);
            let request = GradientRequest::of(["y0"], ["x0"]);
            let (trained, _) = gradient(&model, &request, Catalog::standard()).unwrap();
            let outputs = run(&sound(&trained).unwrap(), &case.feeds()).unwrap();
            assert_eq!(outputs[1].dtype(), DType::F16);
            let found = outputs[1].to_f64_vec().unwrap();
            // The number of f16 that is nearest to 1e-5.
            let expected = (1e-5 * 2f64.powi(24)).round() * 2f64.powi(-24);
            assert!(found.iter().all(|&f| f == expected), "{}", found[0]);
        }
    }
}
