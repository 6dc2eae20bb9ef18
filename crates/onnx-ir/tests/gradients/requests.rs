//! What is asked for, what comes back, and what is refused.

use crate::harness::{run, sound};
use compress_tensor::{DType, Tensor};
use onnx_ir::gradient::{GradientError, GradientReport, GradientRequest, gradient};
use onnx_ir::{Catalog, Dim, Fact, Graph, Model, Node, TensorFact};

/// `y = relu(x * w + b) * v`, `loss = sum(y)`, with a batch of open size.
fn model() -> Model {
    let mut g = Graph::new("g");
    let dims = vec![Dim::symbol("batch"), 3i64.into()];
    let fact = TensorFact::with_shape(Some(DType::F32), Some(dims));
    let x = g.add_value("x", fact.into()).unwrap();
    g.add_input(x);
    let tensor = |shape: &[usize]| {
        let count = shape.iter().product();
        let values = (0..count).map(|i| 0.3 * i as f32 - 0.7).collect();
        Tensor::from_vec(shape, values).unwrap()
    };
    let w = g.add_initializer("w", tensor(&[3, 2])).unwrap();
    let b = g.add_initializer("b", tensor(&[2])).unwrap();
    let v = g.add_initializer("v", tensor(&[2, 2])).unwrap();
    let [p, s, h, y, loss] =
        ["p", "s", "h", "y", "loss"].map(|name| g.add_value(name, Fact::Unknown).unwrap());
    g.add_node(Node::new("MatMul", [x, w], [p])).unwrap();
    g.add_node(Node::new("Add", [p, b], [s])).unwrap();
    g.add_node(Node::new("Relu", [s], [h])).unwrap();
    g.add_node(Node::new("MatMul", [h, v], [y])).unwrap();
    g.add_node(Node::new("ReduceSum", [y], [loss]).with("keepdims", 0i64))
        .unwrap();
    g.add_output(loss);
    Model::new(g, 17)
}

fn differentiate(
    model: &Model,
    request: &GradientRequest,
) -> Result<(Model, GradientReport), GradientError> {
    gradient(model, request, Catalog::standard())
}

#[test]
fn a_frozen_subgraph_costs_nothing() {
    let request = GradientRequest::of(["loss"], ["v"]);
    let (trained, report) = differentiate(&model(), &request).unwrap();
    // The sum and the product; nothing of what comes before.
    assert_eq!(report.differentiated, 2);
    let ops: Vec<&str> = trained
        .graph
        .nodes()
        .map(|(_, n)| n.op_type.as_str())
        .collect();
    assert!(!ops.contains(&"ReluGrad"), "{ops:?}");
    let whole = differentiate(&model(), &GradientRequest::of(["loss"], ["w", "b", "v"])).unwrap();
    assert_eq!(whole.1.differentiated, 5);
    assert!(whole.1.added > report.added);
}

#[test]
fn gradients_of_an_open_batch_need_no_sizes() {
    let request = GradientRequest::of(["loss"], ["w", "b", "v", "x"]);
    let (trained, report) = differentiate(&model(), &request).unwrap();
    let names: Vec<&str> = report.gradients.iter().map(|g| g.output.as_str()).collect();
    assert_eq!(names, ["grad/w", "grad/b", "grad/v", "grad/x"]);
    let ops: Vec<&str> = trained
        .graph
        .nodes()
        .map(|(_, n)| n.op_type.as_str())
        .collect();
    assert!(!ops.contains(&"ReduceToShape"), "{ops:?}");
    assert_eq!(trained.fact("grad/x").unwrap().to_string(), "f32[batch, 3]");
    assert_eq!(trained.fact("grad/b").unwrap().to_string(), "f32[2]");
    let trained = sound(&trained).unwrap();
    for batch in [1, 4] {
        let x = Tensor::full(&[batch, 3], 0.5f32).unwrap();
        let outputs = run(&trained, &[("x".to_owned(), x)]).unwrap();
        assert_eq!(outputs[4].shape(), [batch, 3]);
    }
}

#[test]
fn values_between_inputs_and_losses_have_gradients_too() {
    let (trained, _) = differentiate(&model(), &GradientRequest::of(["loss"], ["h", "s"])).unwrap();
    assert_eq!(trained.fact("grad/h").unwrap().to_string(), "f32[batch, 2]");
    assert_eq!(trained.graph.outputs().len(), 3);
}

#[test]
fn losses_add_up_and_become_outputs() {
    let one = differentiate(&model(), &GradientRequest::of(["loss"], ["b"]))
        .unwrap()
        .0;
    let two = differentiate(&model(), &GradientRequest::of(["loss", "y"], ["b"]))
        .unwrap()
        .0;
    let x = || [("x".to_owned(), Tensor::full(&[2, 3], 0.5f32).unwrap())];
    let (one, two) = (run(&one, &x()).unwrap(), run(&two, &x()).unwrap());
    let (one, two) = (one[1].to_f64_vec().unwrap(), two[2].to_f64_vec().unwrap());
    // The second loss is what the first one sums.
    for (a, b) in one.iter().zip(&two) {
        assert!((2.0 * a - b).abs() < 1e-6, "{one:?} {two:?}");
    }
}

#[test]
fn taken_names_are_numbered() {
    let mut taken = model();
    let id = taken.graph.value_by_name("p").unwrap();
    let free = taken.graph.add_value("grad/w", Fact::Unknown).unwrap();
    taken
        .graph
        .add_node(Node::new("Identity", [id], [free]))
        .unwrap();
    taken.graph.add_output(free);
    let (_, report) = differentiate(&taken, &GradientRequest::of(["loss"], ["w"])).unwrap();
    assert_eq!(report.gradients[0].output, "grad/w_1");
}

#[test]
fn what_no_loss_depends_on_is_an_error_or_zeros() {
    let mut unread = model();
    unread
        .graph
        .add_initializer("unread", Tensor::vector(vec![1f32, 2.0]))
        .unwrap();
    let request = GradientRequest::of(["loss"], ["unread"]);
    let error = differentiate(&unread, &request).unwrap_err();
    assert_eq!(error.to_string(), "no loss depends on `unread`");
    let (trained, _) = differentiate(&unread, &request.with_zeros()).unwrap();
    let x = Tensor::full(&[2, 3], 0.5f32).unwrap();
    let outputs = run(&trained, &[("x".to_owned(), x)]).unwrap();
    assert_eq!(outputs[1].to_f64_vec().unwrap(), [0.0, 0.0]);
}

#[test]
fn what_is_not_differentiable_is_named_only_where_it_is_needed() {
    let mut broken = model();
    let w = broken.graph.value_by_name("w").unwrap();
    let square = broken
        .graph
        .add_initializer("square", Tensor::full(&[2, 2], 2f32).unwrap())
        .unwrap();
    let det = broken.graph.add_value("det", Fact::Unknown).unwrap();
    let node = Node::new("Det", [square], [det]).named("volume");
    broken.graph.add_node(node).unwrap();
    let sum = broken.graph.add_value("total", Fact::Unknown).unwrap();
    let loss = broken.graph.value_by_name("loss").unwrap();
    broken
        .graph
        .add_node(Node::new("Add", [det, loss], [sum]))
        .unwrap();
    broken.graph.add_output(sum);
    assert!(broken.graph.uses(w).len() == 1);
    assert!(differentiate(&broken, &GradientRequest::of(["total"], ["w"])).is_ok());
    let error = differentiate(&broken, &GradientRequest::of(["total"], ["square"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "node volume (Det) is not differentiable: its gradient needs an inverse, for which there is no operator"
    );
}

#[test]
fn names_that_are_not_there_and_losses_of_integers_are_refused() {
    let error = differentiate(&model(), &GradientRequest::of(["loss"], ["none"])).unwrap_err();
    assert_eq!(
        error,
        GradientError::NoSuchValue {
            name: "none".into()
        }
    );
    let none: [&str; 0] = [];
    let error = differentiate(&model(), &GradientRequest::of(none, ["w"])).unwrap_err();
    assert_eq!(error, GradientError::NoLoss);
    let mut ints = model();
    let y = ints.graph.value_by_name("y").unwrap();
    let best = ints.graph.add_value("best", Fact::Unknown).unwrap();
    ints.graph
        .add_node(Node::new("ArgMax", [y], [best]))
        .unwrap();
    ints.graph.add_output(best);
    let error = differentiate(&ints, &GradientRequest::of(["best"], ["w"])).unwrap_err();
    assert!(matches!(error, GradientError::LossType { .. }), "{error}");
}

#[test]
fn old_opsets_are_converted() {
    let mut old = model();
    old.opsets.set("", 9);
    let (trained, _) = differentiate(&old, &GradientRequest::of(["loss"], ["w"])).unwrap();
    assert_eq!(trained.opset(), 13);
    sound(&trained).unwrap();
}
