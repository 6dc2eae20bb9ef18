//! A session that runs the same shapes again allocates nothing.
//!
//! The allocator counts for the whole process; hence one test, so that nothing runs beside it.

mod models;

use modelpress::ir::Model;
use modelpress::quant::graph::{QuantizeConfig, calibrate, quantize_dynamic, quantize_static};
use modelpress::session::{Autotune, Session, SessionOptions};
use modelpress::tensor::Tensor;
use models::numbers;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations of a call, larger and smaller buffers counted too.
fn allocations(call: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    call();
    let change = region.change();
    change.allocations + change.reallocations
}

/// Of an output that is handed out: the vector of outputs, and for each its elements and their count of owners.
fn handed_out(outputs: usize) -> usize {
    1 + 2 * outputs
}

fn quantized(model: &Model, x: &Tensor) -> Model {
    let config = QuantizeConfig::default();
    let samples = [vec![("x".to_owned(), x.clone())]].map(Ok::<_, String>);
    let options = SessionOptions::default();
    let calibration = calibrate(model, samples, &config, &options).unwrap();
    quantize_static(model, &calibration, &config).unwrap().0
}

fn cases() -> Vec<(&'static str, Model, Vec<Tensor>)> {
    let demo = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../modelpress-cli/demo/digits_cnn.onnx"
    );
    let demo = Model::load(demo).unwrap();
    let sizes = demo
        .graph
        .value(demo.graph.inputs()[0])
        .fact
        .as_tensor()
        .unwrap();
    let sizes: Vec<usize> = sizes
        .shape
        .iter()
        .flatten()
        .map(|d| d.as_size().unwrap_or(1))
        .collect();
    let digit = numbers(&sizes, 1);
    let images = [1, 3].map(|batch| numbers(&[batch, 3, 16, 16], 2));
    let bytes = [1, 3].map(|batch| numbers(&[batch, 3, 6, 6], 4));
    let ids = [[2, 7], [1, 5]].map(|[batch, sequence]| {
        let ids = (0..batch * sequence)
            .map(|i| i as i64 * 7 % 50)
            .collect::<Vec<_>>();
        Tensor::from_vec(&[batch, sequence], ids).unwrap()
    });
    let signals = [[4, 1], [7, 2]].map(|[steps, batch]| numbers(&[steps, batch, 6], 3));
    let (convolutional, encoder) = (models::convolutional(), models::encoder());
    let config = QuantizeConfig::default();
    let dynamic = quantize_dynamic(&encoder, &config).unwrap().0;
    vec![
        ("digits", demo, vec![digit]),
        (
            "convolutional int8",
            quantized(&convolutional, &images[0]),
            images.to_vec(),
        ),
        ("convolutional", convolutional, images.to_vec()),
        ("asymmetric int8", models::asymmetric(), bytes.to_vec()),
        ("encoder int8", quantized(&encoder, &ids[0]), ids.to_vec()),
        ("encoder dynamic int8", dynamic, ids.to_vec()),
        ("encoder", encoder, ids.to_vec()),
        ("recurrent", models::recurrent(), signals.to_vec()),
        (
            "large windows",
            models::large_windows(),
            [1, 2].map(|batch| numbers(&[batch, 3, 40, 40], 5)).to_vec(),
        ),
    ]
}

/// Holds that a session that has chosen its steps by measuring allocates nothing either.
fn tuned_runs_allocate_nothing(
    name: &str,
    model: &Model,
    feeds: &[[(&str, Tensor); 1]],
    options: &SessionOptions,
) {
    let autotune = Autotune::default()
        .without_cache()
        .with_max_time(Duration::from_millis(200));
    let session = Session::new(model.clone(), &options.clone().with_autotune(autotune)).unwrap();
    let mut outputs = Vec::new();
    for feeds in feeds.iter().chain(feeds) {
        session.run_into(feeds, &mut outputs).unwrap();
    }
    for feeds in feeds {
        let count = allocations(|| session.run_into(feeds, &mut outputs).unwrap());
        assert_eq!(count, 0, "{name}, tuned");
    }
}

#[test]
fn a_run_of_shapes_seen_before_allocates_nothing_but_outputs_that_are_handed_out() {
    for (name, model, inputs) in cases() {
        let input = model.graph.name_of(model.graph.inputs()[0]).to_owned();
        let feeds: Vec<_> = inputs.into_iter().map(|x| [(input.as_str(), x)]).collect();
        for threads in [1, 2] {
            let options = SessionOptions::default().with_threads(threads);
            // Of another session: what is handed out leaves the memory of the one that is looked at.
            let other = Session::new(model.clone(), &options).unwrap();
            let expected: Vec<_> = feeds.iter().map(|f| other.run(f).unwrap()).collect();
            let session = Session::new(model.clone(), &options).unwrap();
            let mut outputs = Vec::new();
            for feeds in &feeds {
                session.run_into(feeds, &mut outputs).unwrap();
            }
            // Back and forth between the shapes, so that buffers of each serve the other.
            for round in 0..20 {
                for (feeds, expected) in feeds.iter().zip(&expected) {
                    let count = allocations(|| session.run_into(feeds, &mut outputs).unwrap());
                    assert_eq!(count, 0, "{name}, {threads} threads, round {round}");
                    for (y, expected) in outputs.iter().zip(expected) {
                        assert_eq!(y.shape(), expected.shape());
                        assert_eq!(y.bytes(), expected.bytes(), "{name}");
                    }
                }
            }
            let mut outputs = Vec::new();
            let count = allocations(|| outputs = session.run(&feeds[0]).unwrap());
            assert!(count <= handed_out(outputs.len()), "{name}: {count}");
            tuned_runs_allocate_nothing(name, &model, &feeds, &options);
        }
    }
    // A node with subgraphs is evaluated by its operator, which takes and gives vectors; the count is the same each time.
    let session = Session::new(models::branching(), &SessionOptions::default()).unwrap();
    let mut outputs = Vec::new();
    let mut run = |x: f32| {
        let feeds = [("x", Tensor::scalar(x))];
        let count = allocations(|| session.run_into(&feeds, &mut outputs).unwrap());
        assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [-x.abs()]);
        count
    };
    run(2.0);
    let count = run(2.0);
    assert!((1..40).contains(&count), "{count}");
    assert_eq!((run(3.0), run(4.0)), (count, count));
}
