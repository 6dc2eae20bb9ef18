//! Gradients of quantization with learned steps, against the formulas of the papers.

use crate::harness::{near, run, sound};
use compress_tensor::{DType, Tensor};
use onnx_ir::gradient::{GradientRequest, gradient};
use onnx_ir::infer::infer_shapes;
use onnx_ir::{Catalog, Fact, Graph, Model, Node};

const X: [f32; 6] = [-3.0, -0.61, 0.04, 0.33, 1.27, 9.0];
const DY: [f32; 6] = [0.7, -1.1, 0.4, 1.3, -0.2, 0.9];
const STEPS: [f32; 3] = [0.2, 0.1, 0.3];
const CODES: [i64; 2] = [-8, 7];

/// `x [2, 3] -> y`, with a step for each column.
fn model(method: &str, offsets: Option<[f32; 3]>) -> Model {
    let mut g = Graph::new("learned");
    let x = g
        .add_value("x", Fact::tensor(DType::F32, [2usize, 3]))
        .unwrap();
    g.add_input(x);
    let row = |values: [f32; 3]| Tensor::from_vec(&[1, 3], values.to_vec()).unwrap();
    let mut inputs = vec![x, g.add_initializer("step", row(STEPS)).unwrap()];
    if let Some(offsets) = offsets {
        inputs.push(g.add_initializer("offset", row(offsets)).unwrap());
    }
    let y = g.add_value("y", Fact::Unknown).unwrap();
    let node = Node::new("LearnedFakeQuantize", inputs, [y])
        .in_domain("modelpress")
        .with("method", method)
        .with("q_min", CODES[0])
        .with("q_max", CODES[1])
        .with("delta", 0.5f32);
    g.add_node(node).unwrap();
    g.add_output(y);
    let mut model = Model::new(g, 21);
    model.ir_version = 10;
    model.opsets.set("modelpress", 1);
    model
}

fn gradients(model: &Model, of: &[&str]) -> Vec<Vec<f64>> {
    let request = GradientRequest::of(["y"], of.iter().copied()).seeded_by_inputs();
    let (trained, _) = gradient(model, &request, Catalog::standard()).unwrap();
    let trained = sound(&trained).unwrap();
    let tensor = |values: [f32; 6]| Tensor::from_vec(&[2, 3], values.to_vec()).unwrap();
    let feeds = [
        ("x".to_owned(), tensor(X)),
        ("adjoint/y".to_owned(), tensor(DY)),
    ];
    let outputs = run(&trained, &feeds).unwrap();
    let outputs = outputs[1..].iter().map(|t| t.to_f64_vec().unwrap());
    outputs.collect()
}

/// The sums of `slope(v, q, dy)` (of `x` and of the step) and what lies outside, by column; `scale` multiplies those of the steps.
fn by_formula(
    zeros: [f64; 3],
    scale: impl Fn(f64) -> f64,
    inside: impl Fn(f64, f64, f64) -> [f64; 2],
) -> [Vec<f64>; 3] {
    let mut dx = Vec::new();
    let (mut dstep, mut outside) = (vec![0.0; 3], vec![0.0; 3]);
    for (i, (x, dy)) in X.into_iter().zip(DY).enumerate() {
        let (v, dy) = (f64::from(x) / f64::from(STEPS[i % 3]), f64::from(dy));
        let z = zeros[i % 3].round_ties_even();
        let [low, high] = CODES.map(|q| q as f64 - z);
        let [of_x, of_step] = if v < low {
            [0.0, low]
        } else if v > high {
            [0.0, high]
        } else {
            inside(v, v.round_ties_even(), dy)
        };
        dx.push(dy * of_x);
        dstep[i % 3] += dy * of_step;
        outside[i % 3] += dy * (1.0 - of_x);
    }
    for c in 0..3 {
        let scale = scale(CODES[1] as f64 - zeros[c].round_ties_even());
        dstep[c] = scale * (dstep[c] + zeros[c] * outside[c]);
        outside[c] *= scale;
    }
    [dx, dstep, outside]
}

fn assert_near(found: &[Vec<f64>], expected: &[Vec<f64>]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        // The gradients come as f32.
        let e: Vec<f64> = e.iter().map(|&v| f64::from(v as f32)).collect();
        near("gradient", f, &e).unwrap();
    }
}

/// `1 / sqrt(n Q_P)` with the two elements of a column.
fn lsq(most: f64) -> f64 {
    1.0 / (2.0 * most).sqrt()
}

#[test]
fn learned_steps_have_the_gradients_of_their_papers() {
    let straight = by_formula([0.0; 3], lsq, |v, q, _| [1.0, q - v]);
    assert_near(
        &gradients(&model("lsq", None), &["x", "step"]),
        &straight[..2],
    );
    let pact = by_formula([0.0; 3], |most| 1.0 / (most * most), |_, _, _| [1.0, 0.0]);
    assert_near(&gradients(&model("pact", None), &["x", "step"]), &pact[..2]);
    let ewgs = by_formula([0.0; 3], lsq, |v, q, dy| {
        let slope = 1.0 + 0.5 * dy.signum() * (v - q) / 15.0;
        [slope, q - v * slope]
    });
    assert_near(&gradients(&model("ewgs", None), &["x", "step"]), &ewgs[..2]);
    let dsq = by_formula([0.0; 3], lsq, |v, _, _| {
        // The derivative of the staircase, by differences of it.
        let kappa = (2.0f64 / 0.2 - 1.0).ln();
        let stair = |v: f64| v.floor() + 0.5 * (1.0 + (kappa * (v - v.floor() - 0.5)).tanh() / 0.8);
        let slope = (stair(v + 1e-5) - stair(v - 1e-5)) / 2e-5;
        [slope, stair(v) - v * slope]
    });
    let found = gradients(&model("dsq", None), &["x", "step"]);
    for (f, e) in found.iter().flatten().zip(dsq[..2].iter().flatten()) {
        assert!((f - e).abs() < 1e-6 * e.abs().max(1.0), "{f} {e}");
    }
    let ste = by_formula([0.0; 3], |_| 0.0, |_, _, _| [1.0, 0.0]);
    assert_near(&gradients(&model("ste", None), &["x"]), &ste[..1]);
}

#[test]
fn offsets_learn_from_what_lies_outside() {
    let offsets = [-0.33f32, 0.41, 0.0];
    let zeros = [0, 1, 2].map(|c| -f64::from(offsets[c]) / f64::from(STEPS[c]));
    let expected = by_formula(zeros, lsq, |v, q, _| [1.0, q - v]);
    let found = gradients(&model("lsq+", Some(offsets)), &["x", "step", "offset"]);
    assert_near(&found, &expected);
}

#[test]
fn a_step_that_stays_has_no_gradient() {
    let request = GradientRequest::of(["y"], ["step"]).seeded_by_inputs();
    let error = gradient(&model("ste", None), &request, Catalog::standard()).unwrap_err();
    assert!(error.to_string().contains("step"), "{error}");
}

#[test]
fn values_are_those_of_a_quantizer_and_a_dequantizer() {
    let mut learned = model("lsq", None);
    infer_shapes(&mut learned, Catalog::standard()).unwrap();
    let learned = sound(&learned).unwrap();
    let x = Tensor::from_vec(&[2, 3], X.to_vec()).unwrap();
    let y = run(&learned, &[("x".to_owned(), x)]).unwrap();
    let y = y[0].as_slice::<f32>().unwrap();
    for (i, (&y, x)) in y.iter().zip(X).enumerate() {
        let s = STEPS[i % 3];
        let code = (x / s).round_ties_even().clamp(-8.0, 7.0);
        assert_eq!(y, code * s);
    }
}

/// `b [3] -> y`, behind the steps of a layer.
fn bias_model(steps: [f32; 3]) -> Model {
    let mut g = Graph::new("bias");
    let b = g
        .add_value("b", Fact::tensor(DType::F32, [3usize]))
        .unwrap();
    g.add_input(b);
    let step_x = Tensor::from_vec(&[1, 1], vec![0.5f32]).unwrap();
    let step_w = Tensor::from_vec(&[1, 3], steps.to_vec()).unwrap();
    let step_x = g.add_initializer("step_x", step_x).unwrap();
    let step_w = g.add_initializer("step_w", step_w).unwrap();
    let y = g.add_value("y", Fact::Unknown).unwrap();
    let node = Node::new("FakeQuantizeBias", [b, step_x, step_w], [y])
        .in_domain("modelpress")
        .with("floor_w", 0.125f32);
    g.add_node(node).unwrap();
    g.add_output(y);
    let mut model = Model::new(g, 21);
    model.ir_version = 10;
    model.opsets.set("modelpress", 1);
    model
}

#[test]
fn a_bias_lies_on_the_products_of_steps_and_its_gradient_goes_straight_through() {
    let request = GradientRequest::of(["y"], ["b"]).seeded_by_inputs();
    let seen = |steps: [f32; 3], b: [f32; 3]| {
        let (trained, _) = gradient(&bias_model(steps), &request, Catalog::standard()).unwrap();
        let trained = sound(&trained).unwrap();
        let feeds = [
            ("b".to_owned(), Tensor::vector(b.to_vec())),
            (
                "adjoint/y".to_owned(),
                Tensor::vector(vec![0.7f32, -1.1, 0.4]),
            ),
        ];
        let outputs = run(&trained, &feeds).unwrap();
        assert_eq!(outputs[1].as_slice::<f32>().unwrap(), [0.7, -1.1, 0.4]);
        outputs[0].as_slice::<f32>().unwrap().to_vec()
    };
    // Steps of 0.5 times 0.5, 0.25 and the floor of 0.125; halves go to the even code.
    let found = seen([0.5, 0.25, -3.0], [1.1, -0.1875, 0.16]);
    assert_eq!(found, [1.0, -0.25, 0.1875]);
    // Codes of more than half of int32 leave all as they are.
    assert_eq!(seen([0.5, 0.25, 0.25], [1.1, 3e8, 0.16]), [1.1, 3e8, 0.16]);
    for trained in ["step_x", "step_w"] {
        let request = GradientRequest::of(["y"], [trained]).seeded_by_inputs();
        let error = gradient(&bias_model([0.5; 3]), &request, Catalog::standard()).unwrap_err();
        assert!(error.to_string().contains(trained), "{error}");
    }
}
