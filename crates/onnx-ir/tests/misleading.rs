//! Models that invite a wrong step: each was taken once.

use compress_tensor::{DType, Tensor};
use onnx_ir::check::check;
use onnx_ir::eval::Evaluator;
use onnx_ir::infer::infer_shapes;
use onnx_ir::passes::{Dialect, EliminateIdentity, FoldBatchNorm, FuseAttention, simplify};
use onnx_ir::rewrite::{self, Rewrite};
use onnx_ir::{Attribute, Catalog, Dim, Fact, Function, Graph, Model, Node, Value, ValueId};
use std::sync::Arc;

fn floats(shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    let values = (0..count).map(|i| ((i * 37 + 11) % 97) as f32 / 48.5 - 1.0);
    Tensor::from_vec(shape, values.collect()).unwrap()
}

fn input(graph: &mut Graph, name: &str, fact: Fact) -> ValueId {
    let id = graph.add_value(name, fact).unwrap();
    graph.add_input(id);
    id
}

fn named(graph: &mut Graph, name: &str) -> ValueId {
    graph.value_named(name).unwrap()
}

fn add(graph: &mut Graph, node: Node, output: &str) -> ValueId {
    let y = named(graph, output);
    graph.add_node(node.with_outputs(vec![Some(y)])).unwrap();
    y
}

fn op(graph: &mut Graph, op: &str, inputs: &[ValueId], output: &str) -> ValueId {
    let none: [ValueId; 0] = [];
    add(graph, Node::new(op, inputs.to_vec(), none), output)
}

fn run(model: &Model, inputs: &[(&str, Tensor)]) -> Tensor {
    let inputs = inputs
        .iter()
        .map(|(n, t)| ((*n).to_owned(), Value::from(t.clone())));
    let found = Evaluator::new(model).unwrap().run(inputs).unwrap();
    found[0].as_tensor().unwrap().clone()
}

/// How often the rewrite applies to a model of one output.
fn applied(graph: Graph, opset: i64, rewrite: &dyn Rewrite) -> usize {
    let mut model = Model::new(graph, opset);
    infer_shapes(&mut model, Catalog::standard()).unwrap();
    let report = rewrite::apply(&mut model, Catalog::standard(), &[rewrite]);
    report.unwrap().total()
}

/// `F(a, c) = If(c) { x = 5; o = x + a }`, called with a value that is named `x` outside.
#[test]
fn a_name_within_a_function_is_not_that_of_the_caller() {
    let mut then = Graph::new("then");
    let five = Node::new("Constant", [None::<ValueId>; 0], [None::<ValueId>; 0])
        .with("value", Attribute::from(Tensor::scalar(5f32)));
    let x = add(&mut then, five, "x");
    let mut inner = Graph::new("inner");
    let (outer_x, outer_a) = (named(&mut inner, "x"), named(&mut inner, "a"));
    let o = op(&mut inner, "Add", &[outer_x, outer_a], "o");
    inner.add_output(o);
    let c = named(&mut then, "c");
    let inner = Arc::new(inner);
    let none: [ValueId; 0] = [];
    let both = Node::new("If", [c], none)
        .with("then_branch", Attribute::Graph(inner.clone()))
        .with("else_branch", Attribute::Graph(inner));
    let chosen = add(&mut then, both, "chosen");
    let sum = op(&mut then, "Add", &[chosen, x], "sum");
    then.add_output(sum);
    let mut otherwise = Graph::new("else");
    let a = named(&mut otherwise, "a");
    let same = op(&mut otherwise, "Identity", &[a], "same");
    otherwise.add_output(same);

    let mut body = Graph::new("F");
    let _ = input(&mut body, "a", Fact::Unknown);
    let c = input(&mut body, "c", Fact::Unknown);
    let choice = Node::new("If", [c], none)
        .with("then_branch", Attribute::Graph(Arc::new(then)))
        .with("else_branch", Attribute::Graph(Arc::new(otherwise)));
    let r = add(&mut body, choice, "r");
    body.add_output(r);
    let mut function = Function {
        domain: "local".to_owned(),
        name: "F".to_owned(),
        body,
        ..Function::default()
    };
    function.opsets.set("", 17);

    let mut graph = Graph::new("main");
    let x = input(&mut graph, "x", Fact::tensor(DType::F32, [1usize]));
    let c = input(&mut graph, "c", Fact::tensor(DType::Bool, [0usize; 0]));
    let y = add(
        &mut graph,
        Node::new("F", [x, c], none).in_domain("local"),
        "y",
    );
    graph.add_output(y);
    let mut model = Model::new(graph, 17);
    model.opsets.set("local", 1);
    model.functions.push(function);
    let inputs = [
        ("x", Tensor::vector(vec![2f32])),
        ("c", Tensor::scalar(true)),
    ];
    // (5 + 2) + 5, where taking one x for the other gives another sum.
    assert_eq!(run(&model, &inputs).as_slice::<f32>().unwrap(), [12.0]);
}

/// A loop of unknown length whose body finds out another size: two symbols.
#[test]
fn sizes_from_a_body_are_not_the_number_of_its_runs() {
    let mut body = Graph::new("body");
    let _ = input(&mut body, "i", Fact::Unknown);
    let goes_on = input(&mut body, "goes_on", Fact::Unknown);
    let more = op(&mut body, "Identity", &[goes_on], "more");
    let v = named(&mut body, "v");
    let places = op(&mut body, "NonZero", &[v], "places");
    body.add_output(more);
    body.add_output(places);
    let mut graph = Graph::new("main");
    let trips = input(&mut graph, "trips", Fact::tensor(DType::I64, [0usize; 0]));
    let _ = input(
        &mut graph,
        "v",
        Fact::tensor(DType::F32, [Dim::symbol("n")]),
    );
    let node = Node::new("Loop", [Some(trips), None], [None::<ValueId>; 0])
        .with("body", Attribute::Graph(Arc::new(body)));
    let all = add(&mut graph, node, "all");
    graph.add_output(all);
    let mut model = Model::new(graph, 17);
    let report = infer_shapes(&mut model, Catalog::standard()).unwrap();
    assert_eq!(report.issues, []);
    let shape = model
        .fact("all")
        .unwrap()
        .as_tensor()
        .unwrap()
        .shape
        .clone();
    let shape = shape.unwrap();
    assert!(!shape[0].is_same(&shape[2]), "{shape:?}");
}

/// A bias per row has as many elements as one per column, where there are as many of both.
#[test]
fn a_bias_per_row_is_none_per_channel() {
    for (shape, times) in [([4usize, 1], 0), ([1, 4], 1)] {
        let mut graph = Graph::new("main");
        let x = input(&mut graph, "x", Fact::tensor(DType::F32, [4usize, 8]));
        let w = graph.add_initializer("w", floats(&[8, 4])).unwrap();
        let b = graph.add_initializer("b", floats(&shape)).unwrap();
        let mut inputs = vec![op(&mut graph, "Gemm", &[x, w, b], "product")];
        for name in ["gamma", "beta", "mean", "var"] {
            let statistics = Tensor::vector(vec![0.5f32, 1.0, 1.5, 2.0]);
            inputs.push(graph.add_initializer(name, statistics).unwrap());
        }
        let y = op(&mut graph, "BatchNormalization", &inputs, "y");
        graph.add_output(y);
        assert_eq!(applied(graph, 17, &FoldBatchNorm), times, "{shape:?}");
    }
}

#[test]
fn what_runs_in_training_mode_is_neither_folded_nor_removed() {
    // By default opset 6 trains; 14 and later where they say so.
    for (opset, attribute, times) in [
        (6, None, 0),
        (6, Some(("is_test", 1i64)), 1),
        (17, Some(("training_mode", 1)), 0),
        (17, None, 1),
    ] {
        let mut graph = Graph::new("main");
        let x = input(&mut graph, "x", Fact::tensor(DType::F32, [1usize, 2, 3, 3]));
        let w = graph.add_initializer("w", floats(&[2, 2, 1, 1])).unwrap();
        let mut inputs = vec![op(&mut graph, "Conv", &[x, w], "c")];
        for name in ["gamma", "beta", "mean", "var"] {
            let statistics = Tensor::vector(vec![0.5f32, 1.0]);
            inputs.push(graph.add_initializer(name, statistics).unwrap());
        }
        let mut node = Node::new("BatchNormalization", inputs, [None::<ValueId>; 0]);
        if let Some((name, value)) = attribute {
            node = node.with(name, value);
        }
        let y = add(&mut graph, node, "y");
        graph.add_output(y);
        assert_eq!(
            applied(graph, opset, &FoldBatchNorm),
            times,
            "{opset} {attribute:?}"
        );
    }
    for (is_test, times) in [(0i64, 0), (1, 1)] {
        let mut graph = Graph::new("main");
        let x = input(&mut graph, "x", Fact::tensor(DType::F32, [3usize]));
        let x = op(&mut graph, "Relu", &[x], "relu");
        let node = Node::new("Dropout", [x], [None::<ValueId>; 0]).with("is_test", is_test);
        let y = add(&mut graph, node, "y");
        graph.add_output(y);
        assert_eq!(applied(graph, 6, &EliminateIdentity), times);
    }
}

/// `softmax(x · xᵀ + mask) · v`.
fn attention(batch: usize, mask: &[usize], values: &[usize]) -> Graph {
    let mut graph = Graph::new("main");
    let fact = Fact::tensor(DType::F32, [batch, 2, 5, 4]);
    let x = input(&mut graph, "x", fact);
    let m = graph.add_initializer("m", floats(mask)).unwrap();
    let v = graph.add_initializer("v", floats(values)).unwrap();
    let none: [ValueId; 0] = [];
    let turn = Node::new("Transpose", [x], none).with("perm", vec![0i64, 1, 3, 2]);
    let keys = add(&mut graph, turn, "keys");
    let scores = op(&mut graph, "MatMul", &[x, keys], "scores");
    let masked = op(&mut graph, "Add", &[scores, m], "masked");
    let weights = add(
        &mut graph,
        Node::new("Softmax", [masked], none).with("axis", -1i64),
        "weights",
    );
    let y = op(&mut graph, "MatMul", &[weights, v], "y");
    graph.add_output(y);
    graph
}

#[test]
fn attention_takes_masks_and_batches_that_mean_the_same_to_it() {
    let values = [1, 2, 5, 3];
    for (batch, mask, values, times) in [
        (1, &[5usize, 5][..], values, 1),
        (1, &[1, 1, 1, 5], values, 1),
        // A mask without a column for each key leaves the others out.
        (1, &[1, 1, 1, 1], values, 0),
        (1, &[2, 5, 1], values, 0),
        // One that spreads the scores.
        (1, &[3, 1, 5, 5], values, 0),
        // Values of another batch.
        (2, &[5, 5], values, 0),
        (1, &[5, 5], [1, 1, 5, 3], 0),
    ] {
        let graph = attention(batch, mask, &values);
        assert_eq!(
            applied(graph, 23, &FuseAttention),
            times,
            "{mask:?} {values:?}"
        );
    }
}

#[test]
fn passes_leave_files_that_the_checker_takes() {
    // Before IR version 4 all initializers are inputs; folding makes one that is none.
    let mut graph = Graph::new("main");
    let x = input(&mut graph, "x", Fact::tensor(DType::F32, [1usize, 2, 3, 3]));
    let w = graph.add_initializer("w", floats(&[2, 2, 1, 1])).unwrap();
    graph.add_input(w);
    let two = Node::new("Constant", [None::<ValueId>; 0], [None::<ValueId>; 0])
        .with("value", Attribute::from(Tensor::scalar(2f32)));
    let two = add(&mut graph, two, "two");
    let c = op(&mut graph, "Conv", &[x, w], "c");
    let r = op(&mut graph, "Relu", &[c], "r");
    let y = op(&mut graph, "Mul", &[r, two], "y");
    graph.add_output(y);
    graph.value_mut(y).fact = Fact::tensor(DType::F32, [1usize, 2, 3, 3]);
    let mut model = Model::new(graph, 17);
    model.ir_version = 3;
    for dialect in [Dialect::Standard, Dialect::Microsoft] {
        let mut model = model.clone();
        simplify(dialect)
            .unwrap()
            .run(&mut model, Catalog::standard())
            .unwrap();
        let fused = model.graph.nodes().any(|(_, n)| n.op_type == "FusedConv");
        assert_eq!(fused, dialect == Dialect::Microsoft);
        assert_eq!(model.opsets.get("com.microsoft").is_some(), fused);
        let saved = Model::load_bytes(model.to_bytes().unwrap(), None).unwrap();
        assert_eq!(check(&saved), []);
    }
}

/// Loops in a loop, each with states that widen one after the other: their passes multiply.
#[test]
fn loops_within_loops_end_soon() {
    let mut body: Option<Graph> = None;
    for depth in 0..24 {
        let mut graph = Graph::new(format!("body{depth}"));
        let _ = input(&mut graph, "i", Fact::Unknown);
        let c = input(&mut graph, "c", Fact::Unknown);
        let s = input(&mut graph, "s", Fact::Unknown);
        let none: [ValueId; 0] = [];
        let double = Node::new("Concat", [s, s], none).with("axis", 0i64);
        let double = add(&mut graph, double, "double");
        let go = op(&mut graph, "Identity", &[c], "go");
        let last = match body.take() {
            None => double,
            Some(inner) => {
                let one = graph
                    .add_initializer("one", Tensor::vector(vec![1f32]))
                    .unwrap();
                let n = graph.add_initializer("n", Tensor::scalar(3i64)).unwrap();
                let node = Node::new("Loop", [Some(n), None, Some(one)], [None::<ValueId>; 0]);
                let inner = node.with("body", Attribute::Graph(Arc::new(inner)));
                let inner = add(&mut graph, inner, "inner");
                let both = Node::new("Concat", [double, inner], none).with("axis", 0i64);
                add(&mut graph, both, "both")
            }
        };
        graph.add_output(go);
        graph.add_output(last);
        body = Some(graph);
    }
    let mut graph = Graph::new("main");
    let x = input(&mut graph, "x", Fact::tensor(DType::F32, [1usize]));
    let n = graph.add_initializer("n", Tensor::scalar(3i64)).unwrap();
    let node = Node::new("Loop", [Some(n), None, Some(x)], [None::<ValueId>; 0]);
    let body = Attribute::Graph(Arc::new(body.unwrap()));
    let y = add(&mut graph, node.with("body", body), "y");
    graph.add_output(y);
    let mut model = Model::new(graph, 17);
    let report = infer_shapes(&mut model, Catalog::standard()).unwrap();
    let issue = report.first_error().expect("too much work").to_string();
    assert!(issue.contains("steps to infer"), "{issue}");
}

/// Each round multiplies what stands in a dimension with itself and hides it in a quotient.
#[test]
fn a_dimension_does_not_grow_without_bounds() {
    let mut d = Dim::symbol("n");
    for _ in 0..6 {
        for _ in 0..6 {
            d = d.clone() * d;
        }
        d = d.floor_div(&Dim::Known(3));
    }
    assert!(d.is_unknown());
    let mut steps = Dim::symbol("h");
    for _ in 0..8 {
        steps = (steps + Dim::Known(2)).floor_div(&Dim::Known(2));
    }
    assert!(!steps.is_unknown());
}
