//! What a session promises whatever its kernels are.

use compress_tensor::{DType, Tensor};
use onnx_ir::eval::Evaluator;
use onnx_ir::operator::{EvalError, Limits};
use onnx_ir::{Attribute, Dim, Fact, Graph, Model, Node, Value, ValueId};
use runtime_session::{OptimizationLevel, Session, SessionError, SessionOptions, StepError};
use std::sync::Arc;

fn value(g: &mut Graph, name: &str) -> ValueId {
    g.add_value(name, Fact::Unknown).unwrap()
}

/// `y = leaky(leaky(x) + leaky(x)) + c` over `[batch, 3]`.
fn branches() -> Model {
    let mut g = Graph::new("branches");
    let x = g
        .add_value(
            "x",
            Fact::tensor(DType::F32, [Dim::symbol("batch"), 3usize.into()]),
        )
        .unwrap();
    g.add_input(x);
    let c = g
        .add_initializer("c", Tensor::vector(vec![1.0f32, -2.0, 0.5]))
        .unwrap();
    let [a, b, s, t, y] = ["a", "b", "s", "t", "y"].map(|n| value(&mut g, n));
    let leaky = |x, y, slope: f32| Node::new("LeakyRelu", [x], [y]).with("alpha", slope);
    g.add_node(leaky(x, a, 0.5)).unwrap();
    g.add_node(leaky(x, b, 0.25)).unwrap();
    g.add_node(Node::new("Add", [a, b], [s])).unwrap();
    g.add_node(leaky(s, t, 2.0)).unwrap();
    g.add_node(Node::new("Add", [t, c], [y])).unwrap();
    g.add_output(y);
    Model::new(g, 17)
}

fn batch(n: usize) -> Tensor {
    let data = (0..n * 3).map(|i| i as f32 - 4.0).collect();
    Tensor::from_vec(&[n, 3], data).unwrap()
}

fn reference(model: &Model, x: &Tensor) -> Vec<f32> {
    let feeds = [("x".to_owned(), Value::Tensor(x.clone()))];
    let mut outputs = Evaluator::new(model).unwrap().run(feeds).unwrap();
    outputs.remove(0).into_tensor().unwrap().into_vec().unwrap()
}

#[test]
fn every_optimization_level_and_batch_gives_the_reference_result() {
    let model = branches();
    for level in [
        OptimizationLevel::None,
        OptimizationLevel::Basic,
        OptimizationLevel::Full,
    ] {
        let options = SessionOptions::default().with_optimization(level);
        let session = Session::new(model.clone(), &options).unwrap();
        for n in [1, 4, 2, 4, 200, 0] {
            let x = batch(n);
            let y = session.run(&[("x", x.clone())]).unwrap().remove(0);
            assert_eq!(y.shape(), [n, 3]);
            assert_eq!(
                y.as_slice::<f32>().unwrap(),
                reference(&model, &x),
                "{level:?} {n}"
            );
        }
    }
}

#[test]
fn a_session_can_be_run_from_several_threads_at_once() {
    let model = branches();
    let session = Session::new(model.clone(), &SessionOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for n in 1..5 {
            let (session, model) = (&session, &model);
            scope.spawn(move || {
                let x = batch(n);
                let expected = reference(model, &x);
                for _ in 0..20 {
                    let y = session.run(&[("x", x.clone())]).unwrap();
                    assert_eq!(y[0].as_slice::<f32>().unwrap(), expected);
                }
            });
        }
    });
}

#[test]
fn taps_see_inputs_constants_intermediates_and_outputs() {
    let session = Session::new(branches(), &SessionOptions::default()).unwrap();
    let mut seen = Vec::new();
    let names = ["x", "c", "s", "y", "t"];
    session
        .run_with_taps(&[("x", batch(1))], &names, |name, tensor| {
            seen.push((name.to_owned(), tensor.data::<f32>().unwrap().into_owned()));
        })
        .unwrap();
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    let of = |name: &str, data: [f32; 3]| (name.to_owned(), data.to_vec());
    let expected = [
        of("c", [1.0, -2.0, 0.5]),
        of("s", [-3.0, -2.25, -1.5]),
        of("t", [-6.0, -4.5, -3.0]),
        of("x", [-4.0, -3.0, -2.0]),
        of("y", [-5.0, -6.5, -2.5]),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn an_unknown_tap_is_an_error() {
    let session = Session::new(branches(), &SessionOptions::default()).unwrap();
    let refused = session.run_with_taps(&[("x", batch(1))], &["nothing"], |_, _| {});
    assert!(matches!(refused, Err(SessionError::UnknownValue { name }) if name == "nothing"));
}

#[test]
fn inputs_are_checked_against_their_declaration() {
    let session = Session::new(branches(), &SessionOptions::default()).unwrap();
    let message = |inputs: &[(&str, Tensor)]| session.run(inputs).unwrap_err().to_string();
    assert_eq!(message(&[]), "input `x` was not given");
    assert_eq!(
        message(&[("z", batch(1))]),
        "the model has no input `z`; it takes x"
    );
    let wide = Tensor::full(&[2, 4], 0.0f32).unwrap();
    assert_eq!(
        message(&[("x", wide)]),
        "input `x`: expected f32[batch, 3], found f32[2, 4]"
    );
    let bytes = Tensor::full(&[2, 3], 0u8).unwrap();
    assert_eq!(
        message(&[("x", bytes)]),
        "input `x`: expected f32[batch, 3], found u8[2, 3]"
    );
}

#[test]
fn an_output_may_be_an_input_or_a_constant() {
    let mut model = branches();
    for name in ["x", "c"] {
        let id = model.graph.value_by_name(name).unwrap();
        model.graph.add_output(id);
    }
    let session = Session::new(model, &SessionOptions::default()).unwrap();
    let outputs = session.run(&[("x", batch(1))]).unwrap();
    assert_eq!(outputs[1].as_slice::<f32>().unwrap(), [-4.0, -3.0, -2.0]);
    assert_eq!(outputs[2].as_slice::<f32>().unwrap(), [1.0, -2.0, 0.5]);
}

#[test]
fn an_input_that_is_listed_twice_is_given_once() {
    let mut g = Graph::new("twice");
    let x = g
        .add_value("x", Fact::tensor(DType::F32, [2usize]))
        .unwrap();
    let y = g.add_value("y", Fact::Unknown).unwrap();
    g.add_node(Node::new("Add", [x, x], [y])).unwrap();
    g.set_inputs(vec![x, x]);
    g.add_output(y);
    let session = Session::new(Model::new(g, 17), &SessionOptions::default()).unwrap();
    let fed = Tensor::vector(vec![1.0f32, 2.0]);
    let outputs = session.run(&[("x", fed)]).unwrap();
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [2.0, 4.0]);
}

#[test]
fn a_result_beyond_the_memory_limit_names_the_node() {
    let options =
        SessionOptions::default().with_limits(Limits::default().with_max_tensor_bytes(1000));
    let session = Session::new(branches(), &options).unwrap();
    assert!(session.run(&[("x", batch(80))]).is_ok());
    let message = session.run(&[("x", batch(90))]).unwrap_err().to_string();
    assert!(message.starts_with("node "), "{message}");
    assert!(
        message.ends_with("larger than the limit of 1000 bytes"),
        "{message}"
    );
}

#[test]
fn the_profile_counts_calls_and_bytes_per_node() {
    let session = Session::new(branches(), &SessionOptions::default().with_profile()).unwrap();
    for _ in 0..3 {
        session.run(&[("x", batch(2))]).unwrap();
    }
    let profile = session.profile();
    let add = profile.rows.iter().find(|r| r.node == "Add -> y").unwrap();
    assert_eq!((add.calls, add.bytes_written), (3, 3 * 24));
    assert_eq!(profile.rows.iter().map(|r| r.calls).max(), Some(3));
    let silent = Session::new(branches(), &SessionOptions::default()).unwrap();
    silent.run(&[("x", batch(2))]).unwrap();
    assert_eq!(silent.profile().rows, []);
}

#[test]
fn an_unknown_operator_is_named_when_the_session_is_made() {
    let mut model = branches();
    let g = &mut model.graph;
    let y = g.value_by_name("y").unwrap();
    let z = value(g, "z");
    g.add_node(Node::new("Frobnicate", [y], [z]).named("odd"))
        .unwrap();
    g.set_outputs(vec![z]);
    let message = Session::new(model, &SessionOptions::default())
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        message,
        "node odd (Frobnicate): operator Frobnicate is not in the catalog"
    );
}

/// `y = Loop(x)` that never ends: one node per iteration.
fn endless() -> Model {
    let mut body = Graph::new("body");
    let iteration = body
        .add_value("i", Fact::tensor(DType::I64, [0usize; 0]))
        .unwrap();
    let condition = body
        .add_value("c", Fact::tensor(DType::Bool, [0usize; 0]))
        .unwrap();
    let state = value(&mut body, "s");
    let next = value(&mut body, "n");
    body.add_input(iteration);
    body.add_input(condition);
    body.add_input(state);
    body.add_node(Node::new("Neg", [state], [next])).unwrap();
    body.add_output(condition);
    body.add_output(next);
    let mut g = Graph::new("endless");
    let x = g
        .add_value("x", Fact::tensor(DType::F32, [1usize]))
        .unwrap();
    let y = value(&mut g, "y");
    g.add_input(x);
    let mut node = Node::new("Loop", [None, None, Some(x)], [y]);
    node.name = "forever".to_owned();
    g.add_node(node.with("body", Attribute::Graph(Arc::new(body))))
        .unwrap();
    g.add_output(y);
    Model::new(g, 17)
}

#[test]
fn a_limit_that_ends_a_subgraph_is_the_typed_error() {
    let options = SessionOptions::default().with_max_steps(100);
    let session = Session::new(endless(), &options).unwrap();
    let run = session.run(&[("x", Tensor::vector(vec![1f32]))]);
    match run.unwrap_err() {
        SessionError::Step { node, error } => {
            assert!(node.contains("forever"), "{node}");
            assert_eq!(error, StepError::Eval(EvalError::StepLimit { limit: 100 }));
        }
        other => panic!("{other}"),
    }
}

/// `y = Loop(10, x)` whose body is the endless loop.
fn nested() -> Model {
    let inner = endless().graph;
    let (_, forever) = inner.nodes().next().unwrap();
    let body = forever.attributes.graphs().next().unwrap().clone();
    let mut outer = Graph::new("outer");
    let scalar = |g: &mut Graph, name: &str, dtype| {
        g.add_value(name, Fact::tensor(dtype, [0usize; 0])).unwrap()
    };
    let iteration = scalar(&mut outer, "j", DType::I64);
    let condition = scalar(&mut outer, "d", DType::Bool);
    let (state, next) = (value(&mut outer, "t"), value(&mut outer, "u"));
    for v in [iteration, condition, state] {
        outer.add_input(v);
    }
    let node = Node::new("Loop", [None, None, Some(state)], [next]);
    outer
        .add_node(node.with("body", Attribute::Graph(body)))
        .unwrap();
    outer.add_output(condition);
    outer.add_output(next);
    around(outer)
}

/// `y = Loop(10, x)` with this body.
fn around(body: Graph) -> Model {
    let mut g = Graph::new("around");
    let x = g
        .add_value("x", Fact::tensor(DType::F32, [1usize]))
        .unwrap();
    g.add_input(x);
    let count = g.add_initializer("count", Tensor::scalar(10i64)).unwrap();
    let y = value(&mut g, "y");
    let node = Node::new("Loop", [Some(count), None, Some(x)], [y]);
    g.add_node(node.with("body", Attribute::Graph(Arc::new(body))))
        .unwrap();
    g.add_output(y);
    Model::new(g, 17)
}

fn error_of(model: Model, limits: Limits) -> Option<StepError> {
    let options = SessionOptions::default().with_limits(limits);
    let session = Session::new(model, &options).unwrap();
    match session.run(&[("x", Tensor::vector(vec![1f32]))]) {
        Ok(_) => None,
        Err(SessionError::Step { error, .. }) => Some(error),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_loop_without_end_in_a_loop_is_the_typed_error() {
    let limits = Limits::default().with_max_iterations(50);
    let expected = StepError::Eval(EvalError::IterationLimit { limit: 50 });
    assert_eq!(error_of(nested(), limits), Some(expected));
    let limits = Limits::default().with_max_steps(50);
    let expected = StepError::Eval(EvalError::StepLimit { limit: 50 });
    assert_eq!(error_of(nested(), limits), Some(expected));
}

#[test]
fn iterations_without_a_node_count_as_steps() {
    let mut body = Graph::new("empty");
    let iteration = body
        .add_value("i", Fact::tensor(DType::I64, [0usize; 0]))
        .unwrap();
    let condition = body
        .add_value("c", Fact::tensor(DType::Bool, [0usize; 0]))
        .unwrap();
    let state = value(&mut body, "s");
    for v in [iteration, condition, state] {
        body.add_input(v);
    }
    body.add_output(condition);
    body.add_output(state);
    // The loop itself and ten iterations.
    let model = around(body);
    let limits = |steps| Limits::default().with_max_steps(steps);
    assert_eq!(error_of(model.clone(), limits(11)), None);
    let expected = StepError::Eval(EvalError::StepLimit { limit: 10 });
    assert_eq!(error_of(model, limits(10)), Some(expected));
}
