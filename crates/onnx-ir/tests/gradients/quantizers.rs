//! Straight-through gradients of quantizing and dequantizing, against the formulas of LSQ (arXiv:1902.08153).

use crate::harness::{near, run, sound};
use compress_tensor::{DType, Tensor};
use onnx_ir::gradient::{GradientError, GradientRequest, gradient};
use onnx_ir::{Catalog, Fact, Graph, Model, Node, ValueId};

const X: [f32; 6] = [-3.0, -0.61, 0.04, 0.33, 1.27, 9.0];
const DY: [f32; 6] = [0.7, -1.1, 0.4, 1.3, -0.2, 0.9];

/// `x -> QuantizeLinear -> (between) -> DequantizeLinear -> y`.
fn pair(scale: Tensor, zero_point: Option<Tensor>, between: Option<[i64; 2]>, axis: i64) -> Model {
    let mut g = Graph::new("pair");
    let x = g
        .add_value("x", Fact::tensor(DType::F32, [2usize, 3]))
        .unwrap();
    g.add_input(x);
    let scale = g.add_initializer("scale", scale).unwrap();
    let zero = zero_point.map(|z| g.add_initializer("zero", z).unwrap());
    let q = g.add_value("q", Fact::Unknown).unwrap();
    let with_zero = |first: ValueId| {
        [Some(first), Some(scale), zero]
            .into_iter()
            .take(if zero.is_some() { 3 } else { 2 })
    };
    let quantize = Node::new("QuantizeLinear", with_zero(x), [Some(q)]);
    g.add_node(quantize.with("axis", axis)).unwrap();
    let mut ints = q;
    if let Some(shape) = between {
        let shape = g
            .add_initializer("shape", Tensor::vector(shape.to_vec()))
            .unwrap();
        ints = g.add_value("reshaped", Fact::Unknown).unwrap();
        g.add_node(Node::new("Reshape", [q, shape], [ints]))
            .unwrap();
    }
    let y = g.add_value("y", Fact::Unknown).unwrap();
    let dequantize = Node::new("DequantizeLinear", with_zero(ints), [Some(y)]);
    g.add_node(dequantize.with("axis", axis)).unwrap();
    g.add_output(y);
    let mut model = Model::new(g, 21);
    model.ir_version = 10;
    model
}

fn gradients(model: &Model, of: &[&str]) -> Vec<Vec<f64>> {
    let request = GradientRequest::of(["y"], of.iter().copied()).seeded_by_inputs();
    let (trained, _) = gradient(model, &request, Catalog::standard()).unwrap();
    let trained = sound(&trained).unwrap();
    let y = trained
        .fact("y")
        .unwrap()
        .as_tensor()
        .unwrap()
        .sizes()
        .unwrap();
    let feeds = [
        (
            "x".to_owned(),
            Tensor::from_vec(&[2, 3], X.to_vec()).unwrap(),
        ),
        (
            "adjoint/y".to_owned(),
            Tensor::from_vec(&y, DY.to_vec()).unwrap(),
        ),
    ];
    let outputs = run(&trained, &feeds).unwrap();
    outputs[1..]
        .iter()
        .map(|t| t.to_f64_vec().unwrap())
        .collect()
}

/// `dx`, `dscale` and `dzero_point` by the formulas; element `i` has scale `i % scales.len()`.
fn by_formula(scales: &[f32], zero: f32, range: [f32; 2]) -> [Vec<f64>; 3] {
    let mut dx = Vec::new();
    let (mut dscale, mut dzero) = (vec![0.0; scales.len()], vec![0.0; scales.len()]);
    for (i, (x, dy)) in X.into_iter().zip(DY).enumerate() {
        let s = i % scales.len();
        let (v, dy) = (f64::from(x) / f64::from(scales[s]), f64::from(dy));
        let whole = f64::from((x / scales[s]).round_ties_even());
        let [min, max] = range.map(|r| f64::from(r - zero));
        if (min..=max).contains(&whole) {
            dx.push(dy);
            dscale[s] += dy * (whole - v);
        } else {
            dx.push(0.0);
            dscale[s] += dy * whole.clamp(min, max);
            dzero[s] -= dy * f64::from(scales[s]);
        }
    }
    [dx, dscale, dzero]
}

fn assert_near(found: &[Vec<f64>], expected: &[Vec<f64>]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        // The gradients come as f32.
        let (f, e): (Vec<f64>, Vec<f64>) =
            (f.clone(), e.iter().map(|&v| f64::from(v as f32)).collect());
        near("gradient", &f, &e).unwrap();
    }
}

#[test]
fn a_pair_passes_what_lies_within_the_range_and_moves_the_scale() {
    let model = pair(
        Tensor::scalar(0.05f32),
        Some(Tensor::scalar(100u8)),
        None,
        1,
    );
    let found = gradients(&model, &["x", "scale", "zero"]);
    assert_near(&found, &by_formula(&[0.05], 100.0, [0.0, 255.0]));
    let model = pair(Tensor::scalar(0.05f32), None, None, 1);
    let found = gradients(&model, &["x", "scale"]);
    assert_near(&found, &by_formula(&[0.05], 0.0, [0.0, 255.0])[..2]);
}

#[test]
fn scales_per_channel_have_gradients_of_their_own() {
    let scales = [0.02f32, 0.01, 0.03];
    let zero = Tensor::vector(vec![0i8; 3]);
    let model = pair(Tensor::vector(scales.to_vec()), Some(zero), None, 1);
    let found = gradients(&model, &["x", "scale"]);
    assert_near(&found, &by_formula(&scales, 0.0, [-128.0, 127.0])[..2]);
}

#[test]
fn adjoints_go_through_integers_that_are_moved_between_the_two() {
    let model = pair(
        Tensor::scalar(0.05f32),
        Some(Tensor::scalar(3i8)),
        Some([3, 2]),
        1,
    );
    let found = gradients(&model, &["x", "scale"]);
    assert_near(&found, &by_formula(&[0.05], 3.0, [-128.0, 127.0])[..2]);
}

#[test]
fn a_scale_of_constant_integers_has_a_gradient() {
    let mut g = Graph::new("weights");
    let q = g
        .add_initializer(
            "q",
            Tensor::from_vec(&[2, 3], vec![1i8, -2, 3, 4, 5, -6]).unwrap(),
        )
        .unwrap();
    let scale = g
        .add_initializer("scale", Tensor::vector(vec![0.5f32, 0.25]))
        .unwrap();
    let y = g.add_value("y", Fact::Unknown).unwrap();
    g.add_node(Node::new("DequantizeLinear", [q, scale], [y]).with("axis", 0i64))
        .unwrap();
    g.add_output(y);
    let mut model = Model::new(g, 21);
    model.ir_version = 10;
    let request = GradientRequest::of(["y"], ["scale"]).seeded_by_inputs();
    let (trained, _) = gradient(&model, &request, Catalog::standard()).unwrap();
    let trained = sound(&trained).unwrap();
    let dy = Tensor::from_vec(&[2, 3], DY.to_vec()).unwrap();
    let outputs = run(&trained, &[("adjoint/y".to_owned(), dy)]).unwrap();
    let expected = [0.7 + 2.2 + 1.2, 1.3 * 4.0 - 1.0 - 5.4];
    let found = outputs[1].to_f64_vec().unwrap();
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 1e-6, "{found:?}");
    }
}

/// The model with its quantizers in ONNX Runtime's domain.
fn in_microsoft_domain(mut model: Model) -> Model {
    let nodes: Vec<_> = model.graph.nodes().map(|(id, n)| (id, n.clone())).collect();
    for (id, node) in nodes {
        if node.op_type.ends_with("quantizeLinear") || node.op_type == "QuantizeLinear" {
            let node = node.in_domain("com.microsoft");
            model.graph.replace_node(id, node).unwrap();
        }
    }
    model.opsets.set("com.microsoft", 1);
    model
}

#[test]
fn pairs_of_the_microsoft_domain_have_the_same_gradients() {
    let scale = Tensor::scalar(0.05f32);
    let together = pair(scale.clone(), Some(Tensor::scalar(100u8)), None, 1);
    let found = gradients(&in_microsoft_domain(together), &["x", "scale", "zero"]);
    assert_near(&found, &by_formula(&[0.05], 100.0, [0.0, 255.0]));
    let apart = pair(scale, Some(Tensor::scalar(3i8)), Some([3, 2]), 1);
    let found = gradients(&in_microsoft_domain(apart), &["x", "scale"]);
    assert_near(&found, &by_formula(&[0.05], 3.0, [-128.0, 127.0])[..2]);
}

#[test]
fn quantizing_and_dequantizing_along_different_axes_is_no_pair() {
    let mut g = Graph::new("crossed");
    let x = g
        .add_value("x", Fact::tensor(DType::F32, [2usize, 2]))
        .unwrap();
    g.add_input(x);
    let scale = Tensor::vector(vec![0.01f32, 0.1]);
    let scale = g.add_initializer("scale", scale).unwrap();
    let zero = Tensor::vector(vec![0i8; 2]);
    let zero = g.add_initializer("zero", zero).unwrap();
    let [q, y] = ["q", "y"].map(|name| g.add_value(name, Fact::Unknown).unwrap());
    let node = Node::new("QuantizeLinear", [x, scale, zero], [q]);
    g.add_node(node.with("axis", 0i64)).unwrap();
    let node = Node::new("DequantizeLinear", [q, scale, zero], [y]);
    g.add_node(node.with("axis", 1i64)).unwrap();
    g.add_output(y);
    let mut model = Model::new(g, 21);
    model.ir_version = 10;
    let request = GradientRequest::of(["y"], ["x"]);
    let (trained, _) = gradient(&model, &request, Catalog::standard()).unwrap();
    let trained = sound(&trained).unwrap();
    let x = Tensor::from_vec(&[2, 2], vec![0.5f32, 2.0, 0.5, 2.0]).unwrap();
    let outputs = run(&trained, &[("x".to_owned(), x)]).unwrap();
    // `dx = dy * scale[column] / scale[row]`; 2.0 is out of the range of the first row, 1.27, and within that of the second.
    let found = outputs[1].to_f64_vec().unwrap();
    for (f, e) in found.iter().zip([1.0, 0.0, 0.1, 1.0]) {
        assert!((f - e).abs() < 1e-6, "{found:?}");
    }
}

#[test]
fn integers_that_an_operator_without_gradient_writes_do_not_cut_the_path() {
    let mut g = Graph::new("residual");
    let x = g
        .add_value("x", Fact::tensor(DType::F32, [1usize, 1, 2, 2]))
        .unwrap();
    g.add_input(x);
    let scale = g.add_initializer("scale", Tensor::scalar(0.1f32)).unwrap();
    let zero = g.add_initializer("zero", Tensor::scalar(0u8)).unwrap();
    let w = Tensor::from_vec(&[1, 1, 1, 1], vec![3u8]).unwrap();
    let w = g.add_initializer("w", w).unwrap();
    let [q, c, d, y] = ["q", "c", "d", "y"].map(|n| g.add_value(n, Fact::Unknown).unwrap());
    g.add_node(Node::new("QuantizeLinear", [x, scale, zero], [q]))
        .unwrap();
    let conv = [q, scale, zero, w, scale, zero, scale, zero];
    g.add_node(Node::new("QLinearConv", conv, [c]).named("conv"))
        .unwrap();
    g.add_node(Node::new("DequantizeLinear", [c, scale, zero], [d]))
        .unwrap();
    g.add_node(Node::new("Add", [x, d], [y])).unwrap();
    g.add_output(y);
    let model = Model::new(g, 17);
    let request = GradientRequest::of(["y"], ["x"]);
    let error = gradient(&model, &request, Catalog::standard()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "node conv (QLinearConv) is not differentiable: no gradient of this operator is defined"
    );
    // Nothing that is asked for lies behind it.
    let request = GradientRequest::of(["y"], ["d"]);
    assert!(gradient(&model, &request, Catalog::standard()).is_ok());
}

#[test]
fn values_in_float8_are_refused_while_the_graph_is_built() {
    let zero = Tensor::from_f32(DType::F8E4M3FN, &[], vec![0.0]).unwrap();
    let model = pair(Tensor::scalar(0.05f32), Some(zero), None, 1);
    let request = GradientRequest::of(["y"], ["x"]);
    let error = gradient(&model, &request, Catalog::standard()).unwrap_err();
    let GradientError::NotDifferentiable { reason, .. } = &error else {
        panic!("{error}");
    };
    assert!(reason.contains("float8"), "{reason}");
}

#[test]
fn integers_between_the_two_keep_the_type_of_the_adjoint() {
    for op in ["Relu", "MaxPool"] {
        let mut g = Graph::new("between");
        let x = g
            .add_value("x", Fact::tensor(DType::F32, [1usize, 1, 2, 2]))
            .unwrap();
        g.add_input(x);
        let scale = g.add_initializer("scale", Tensor::scalar(0.1f32)).unwrap();
        let zero = g.add_initializer("zero", Tensor::scalar(0i8)).unwrap();
        let [q, m, y] = ["q", "m", "y"].map(|n| g.add_value(n, Fact::Unknown).unwrap());
        g.add_node(Node::new("QuantizeLinear", [x, scale, zero], [q]))
            .unwrap();
        let mut node = Node::new(op, [q], [m]);
        if op == "MaxPool" {
            node = node.with("kernel_shape", vec![2i64, 2]);
        }
        g.add_node(node).unwrap();
        g.add_node(Node::new("DequantizeLinear", [m, scale, zero], [y]))
            .unwrap();
        g.add_output(y);
        let model = Model::new(g, 17);
        let request = GradientRequest::of(["y"], ["x"]);
        let (trained, _) = gradient(&model, &request, Catalog::standard()).unwrap();
        let found = trained.fact("grad/x").unwrap().to_string();
        assert_eq!(found, "f32[1, 1, 2, 2]");
        let trained = sound(&trained).unwrap();
        let x = Tensor::from_vec(&[1, 1, 2, 2], vec![-1.0f32, 2.0, 1.0, 0.5]).unwrap();
        let outputs = run(&trained, &[("x".to_owned(), x)]).unwrap();
        let expected = match op {
            "Relu" => [0.0, 1.0, 1.0, 1.0],
            _ => [0.0, 1.0, 0.0, 0.0],
        };
        let found = outputs[1].to_f64_vec().unwrap();
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-6, "{op}: {found:?}");
        }
    }
}
