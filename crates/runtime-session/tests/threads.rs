//! Runs at the same time, on threads that sessions share.

use compress_tensor::{DType, Tensor};
use onnx_ir::{Dim, Fact, Graph, Model, Node};
use runtime_session::{Parallelism, Session, SessionOptions};

fn numbers(shape: &[usize], seed: u32) -> Tensor {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let count = shape.iter().product::<usize>();
    Tensor::from_vec(shape, (0..count).map(|_| next()).collect::<Vec<_>>()).unwrap()
}

/// Products that are worth sharing out, and functions of their elements.
fn layers(seed: u32) -> Model {
    let mut g = Graph::new("layers");
    let dims = [Dim::symbol("rows"), 192usize.into()];
    let mut x = g.add_value("x", Fact::tensor(DType::F32, dims)).unwrap();
    g.add_input(x);
    for layer in 0..3 {
        let w = numbers(&[192, 192], seed + layer);
        let w = g.add_initializer(&format!("w{layer}"), w).unwrap();
        for (op, inputs) in [("MatMul", vec![x, w]), ("Tanh", vec![])] {
            let y = g.add_value(format!("{op}{layer}"), Fact::Unknown).unwrap();
            let inputs = if inputs.is_empty() { vec![x] } else { inputs };
            g.add_node(Node::new(op, inputs, [y])).unwrap();
            x = y;
        }
    }
    g.add_output(x);
    Model::new(g, 17)
}

#[test]
fn many_callers_of_sessions_with_one_pool_get_what_one_caller_alone_gets() {
    let shared = Parallelism::with_threads(2).unwrap();
    let sequential = SessionOptions::default();
    let options = SessionOptions::default().with_parallelism(shared);
    let models = [layers(1), layers(2)];
    let sessions = [&sequential, &options].map(|options| {
        models
            .each_ref()
            .map(|m| Session::new(m.clone(), options).unwrap())
    });
    let [alone, together] = sessions;
    let inputs = [150, 64, 151].map(|rows| numbers(&[rows, 192], rows as u32));
    let expected = alone.map(|session| {
        inputs
            .each_ref()
            .map(|x| session.run(&[("x", x.clone())]).unwrap().remove(0))
    });
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let (together, inputs, expected) = (&together, &inputs, &expected);
            scope.spawn(move || {
                let mut outputs = Vec::new();
                for run in 0..12 {
                    let (model, input) = ((caller + run) % 2, (caller / 2 + run) % 3);
                    let feeds = [("x", inputs[input].clone())];
                    together[model].run_into(&feeds, &mut outputs).unwrap();
                    assert_eq!(outputs[0].bytes(), expected[model][input].bytes());
                }
            });
        }
    });
}

#[test]
fn plans_made_and_dropped_and_taps_do_not_disturb_other_callers() {
    let mut options = SessionOptions::default()
        .with_threads(2)
        .with_runs_at_once(usize::MAX);
    // Fewer than the callers have shapes: plans are dropped while others run them.
    options.cached_plans = 2;
    let session = Session::new(layers(3), &options).unwrap();
    let alone = Session::new(layers(3), &SessionOptions::default()).unwrap();
    let inputs: Vec<Tensor> = (0..5)
        .map(|i| numbers(&[40 + 30 * i, 192], i as u32))
        .collect();
    let (mut expected, mut tapped) = (Vec::new(), Vec::new());
    for x in &inputs {
        let tap = |_: &str, value: &Tensor| tapped.push(value.clone());
        let outputs = alone.run_with_taps(&[("x", x.clone())], &["MatMul1"], tap);
        expected.push(outputs.unwrap().remove(0));
    }
    std::thread::scope(|scope| {
        for caller in 0..6 {
            let (session, inputs, expected, tapped) = (&session, &inputs, &expected, &tapped);
            scope.spawn(move || {
                for run in 0..10 {
                    let i = (caller + run) % inputs.len();
                    let feeds = [("x", inputs[i].clone())];
                    let mut taps = 0;
                    let outputs = if caller % 3 == 0 {
                        session.run_with_taps(&feeds, &["MatMul1"], |_, value| {
                            assert_eq!(value.bytes(), tapped[i].bytes());
                            taps += 1;
                        })
                    } else {
                        session.run(&feeds)
                    };
                    assert_eq!(taps, usize::from(caller % 3 == 0));
                    assert_eq!(outputs.unwrap()[0].bytes(), expected[i].bytes());
                }
            });
        }
    });
}
