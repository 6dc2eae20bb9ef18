//! Facts that onnx's shape inference finds and that were once missed, or wrong, here.

use std::sync::Arc;

use compress_tensor::{DType, Tensor};
use onnx_ir::infer::{infer_shapes, infer_shapes_within};
use onnx_ir::{Attribute, Catalog, Dim, Fact, Graph, Model, Node, TensorFact, ValueId};

/// What an input of the node under test is.
enum Input {
    Absent,
    Of(DType, Vec<Dim>),
    Constant(Tensor),
}

use Input::{Absent, Constant, Of};

fn f32s(dims: impl IntoIterator<Item = impl Into<Dim>>) -> Input {
    Of(DType::F32, dims.into_iter().map(Into::into).collect())
}

fn ints(values: &[i64]) -> Input {
    Constant(Tensor::vector(values.to_vec()))
}

/// A model of one node, which writes `y0`, `y1`, …
fn model(
    op: &str,
    opset: i64,
    inputs: Vec<Input>,
    outputs: usize,
    attributes: Vec<(&str, Attribute)>,
) -> Model {
    let mut graph = Graph::new("g");
    let mut read: Vec<Option<ValueId>> = Vec::new();
    for (i, input) in inputs.into_iter().enumerate() {
        let name = format!("x{i}");
        read.push(match input {
            Absent => None,
            Constant(tensor) => Some(graph.add_initializer(&name, tensor).unwrap()),
            Of(dtype, dims) => {
                let fact = TensorFact::with_shape(Some(dtype), Some(dims)).into();
                let id = graph.add_value(&name, fact).unwrap();
                graph.add_input(id);
                Some(id)
            }
        });
    }
    let written: Vec<ValueId> = (0..outputs)
        .map(|i| graph.add_value(format!("y{i}"), Fact::Unknown).unwrap())
        .collect();
    let mut node = Node::new(op, read, written.clone());
    for (name, value) in attributes {
        node.attributes.set(name, value);
    }
    graph.add_node(node).unwrap();
    for id in written {
        graph.add_output(id);
    }
    Model::new(graph, opset)
}

/// The inferred fact of `y0`.
fn inferred(mut model: Model) -> String {
    let report = infer_shapes(&mut model, Catalog::standard()).unwrap();
    assert_eq!(report.issues, []);
    model.fact("y0").unwrap().to_string()
}

#[test]
fn sizes_of_resize_may_be_of_some_axes_and_keep_the_aspect_ratio() {
    let attributes = vec![
        ("axes", vec![2i64, 3].into()),
        ("keep_aspect_ratio_policy", "not_larger".into()),
    ];
    let inputs = vec![f32s([1i64, 1, 2, 4]), Absent, Absent, ints(&[1, 3])];
    let model = model("Resize", 19, inputs, 1, attributes);
    assert_eq!(inferred(model), "f32[1, 1, 1, 2]");
}

#[test]
fn a_transposed_convolution_is_not_padded_beyond_its_kernel() {
    let size = |kernel: i64, stride: i64, output_padding: i64| {
        let attributes = vec![
            ("auto_pad", "SAME_UPPER".into()),
            ("strides", vec![stride].into()),
            ("output_padding", vec![output_padding].into()),
        ];
        let inputs = vec![f32s([1i64, 1, 3]), f32s([1i64, 1, kernel])];
        inferred(model("ConvTranspose", 17, inputs, 1, attributes))
    };
    // As onnxruntime has it.
    assert_eq!(size(3, 2, 0), "f32[1, 1, 6]");
    assert_eq!(size(3, 2, 1), "f32[1, 1, 6]");
    assert_eq!(size(2, 3, 0), "f32[1, 1, 8]");
    assert_eq!(size(2, 3, 1), "f32[1, 1, 9]");
    assert_eq!(size(1, 2, 0), "f32[1, 1, 5]");
}

#[test]
fn more_than_there_are_cannot_be_the_largest() {
    let mut model = model("TopK", 17, vec![f32s([2i64, 3]), ints(&[4])], 2, vec![]);
    let report = infer_shapes(&mut model, Catalog::standard()).unwrap();
    assert!(report.first_error().is_some());
}

#[test]
fn a_split_has_as_many_parts_as_outputs() {
    let split = |parts: i64, outputs: usize| {
        let attributes = vec![("num_outputs", parts.into())];
        let mut model = model("Split", 18, vec![f32s([7i64])], outputs, attributes);
        let report = infer_shapes(&mut model, Catalog::standard()).unwrap();
        report.first_error().map(ToString::to_string)
    };
    assert_eq!(split(3, 3), None);
    // onnx and onnxruntime abort on both.
    assert!(split(2, 3).unwrap().contains("2 parts, 3 outputs"));
    assert!(split(3, 2).unwrap().contains("3 parts, 2 outputs"));
    let sizes = vec![f32s([7i64]), ints(&[3, 4])];
    let mut sized = model("Split", 13, sizes, 1, vec![]);
    let report = infer_shapes(&mut sized, Catalog::standard()).unwrap();
    assert!(report.first_error().is_some());
}

#[test]
fn a_transform_along_an_unknown_axis_keeps_all_sizes() {
    let axis = Of(DType::I64, Vec::new());
    let inputs = vec![f32s([1i64, 10, 12, 1]), Absent, axis];
    assert_eq!(
        inferred(model("DFT", 20, inputs, 1, vec![])),
        "f32[1, 10, 12, 2]"
    );
}

#[test]
fn the_attributes_of_col2im_tell_the_rank() {
    let unknown = || Of(DType::I64, vec![Dim::symbol("axes")]);
    let inputs = vec![f32s([1i64, 5, 6]), unknown(), unknown()];
    let strides = vec![("strides", vec![1i64, 1].into())];
    assert_eq!(
        inferred(model("Col2Im", 18, inputs, 1, strides)),
        "f32[1, ?, ?, ?]"
    );
}

/// `(state, x) -> (state + x)`.
fn sum() -> Graph {
    let mut body = Graph::new("body");
    let ids: Vec<ValueId> = ["state", "x", "next"]
        .iter()
        .map(|name| body.add_value(name, Fact::Unknown).unwrap())
        .collect();
    body.add_input(ids[0]);
    body.add_input(ids[1]);
    body.add_node(Node::new("Add", [ids[0], ids[1]], [ids[2]]))
        .unwrap();
    body.add_output(ids[2]);
    body
}

#[test]
fn the_state_of_a_scan_keeps_its_shape() {
    let scan = |state: Vec<Dim>, rows: Vec<Dim>| {
        let body = Attribute::Graph(Arc::new(sum()));
        let attributes = vec![("body", body), ("num_scan_inputs", 1i64.into())];
        model("Scan", 17, vec![f32s(state), f32s(rows)], 1, attributes)
    };
    let known = scan(vec![Dim::Known(2)], vec![Dim::Known(3), Dim::symbol("n")]);
    assert_eq!(inferred(known), "f32[2]");

    let mut growing = scan(vec![Dim::Known(1)], vec![Dim::Known(3), Dim::Known(4)]);
    let report = infer_shapes(&mut growing, Catalog::standard()).unwrap();
    let issue = report.first_error().expect("an issue").to_string();
    assert!(
        issue.contains("the state must keep its type and shape"),
        "{issue}"
    );
    let evaluator = onnx_ir::eval::Evaluator::new(&growing).unwrap();
    let inputs = [("x0", vec![1usize]), ("x1", vec![3, 4])];
    let ones = |(name, shape): (&str, Vec<usize>)| {
        (name.to_owned(), Tensor::full(&shape, 1f32).unwrap().into())
    };
    let error = evaluator.run(inputs.map(ones)).unwrap_err().to_string();
    assert!(
        error.contains("the state must keep its type and shape"),
        "{error}"
    );
}

#[test]
fn a_branch_that_never_runs_is_inferred_and_breaks_no_rule() {
    let branch = |name: &str, axis: i64| {
        let mut graph = Graph::new(name);
        let x = graph.value_named("x").unwrap();
        let y = graph.add_value(format!("{name}_y"), Fact::Unknown).unwrap();
        let z = graph.add_value(format!("{name}_z"), Fact::Unknown).unwrap();
        graph.add_node(Node::new("Relu", [x], [y])).unwrap();
        graph
            .add_node(Node::new("Softmax", [y], [z]).with("axis", axis))
            .unwrap();
        graph.add_output(z);
        Attribute::Graph(Arc::new(graph))
    };
    let branches = vec![
        ("then_branch", branch("then", 0)),
        ("else_branch", branch("else", 7)),
    ];
    let condition = Constant(Tensor::scalar(true));
    let mut model = model("If", 17, vec![condition], 1, branches);
    let x = model.graph.value_named("x").unwrap();
    model.graph.value_mut(x).fact = Fact::tensor(DType::F32, [2i64, 3]);
    model.graph.add_input(x);
    let report = infer_shapes_within(&mut model, Catalog::standard()).unwrap();
    assert_eq!(report.issues, []);
    assert_eq!(model.fact("y0").unwrap().to_string(), "f32[2, 3]");
    let (_, node) = model.graph.nodes().next().unwrap();
    let Some(Attribute::Graph(dead)) = node.attributes.get("else_branch") else {
        panic!("no branch");
    };
    let y = dead.value_by_name("else_y").unwrap();
    assert_eq!(dead.value(y).fact.to_string(), "f32[2, 3]");
}

#[test]
fn the_state_after_an_iteration_is_what_the_body_made() {
    let mut body = Graph::new("body");
    let ids: Vec<ValueId> = ["i", "c", "state", "next"]
        .iter()
        .map(|name| body.add_value(name, Fact::Unknown).unwrap())
        .collect();
    ids[..3].iter().for_each(|&id| body.add_input(id));
    let two = body
        .add_initializer("two", Tensor::vector(vec![1f32, 2.0]))
        .unwrap();
    body.add_node(Node::new("Identity", [two], [ids[3]]))
        .unwrap();
    body.add_output(ids[1]);
    body.add_output(ids[3]);
    let loop_ = |trips: Input| {
        let body = Attribute::Graph(Arc::new(body.clone()));
        model(
            "Loop",
            17,
            vec![trips, Absent, f32s([5i64])],
            1,
            vec![("body", body)],
        )
    };
    assert_eq!(inferred(loop_(Constant(Tensor::scalar(4i64)))), "f32[2]");
    assert_eq!(inferred(loop_(Of(DType::I64, Vec::new()))), "f32[?]");
}
