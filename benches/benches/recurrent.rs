//! Recurrent layers on one thread: a step of a stream, and sequences in a batch.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use runtime_kernels::recurrent::{
    Cell, Directions, GateBias, PackedGates, RecurrentLayer, RecurrentShape, RecurrentState,
    SequenceLayout, recurrent,
};
use runtime_kernels::{Context, Scratch};

/// Steps, sequences, features, units: a detector of speech, a language model's layer, a batch of sentences.
const SHAPES: [(usize, usize, usize, usize); 3] =
    [(1, 1, 128, 128), (100, 1, 256, 512), (50, 16, 128, 256)];

fn layers(c: &mut Criterion) {
    let cells = [
        (
            "lstm",
            Cell::Lstm {
                input_forget: false,
            },
        ),
        (
            "gru",
            Cell::Gru {
                linear_before_reset: true,
            },
        ),
        ("rnn", Cell::Rnn),
    ];
    for (time, batch, input, hidden) in SHAPES {
        let mut group = c.benchmark_group(format!("{time}x{batch}x{input}x{hidden}"));
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(600));
        for (name, cell) in cells {
            let rows = cell.gates() * hidden;
            let work = 2 * time * batch * rows * (input + hidden);
            group.throughput(Throughput::Elements(work as u64));
            let run = layer(
                cell,
                RecurrentShape {
                    time,
                    batch,
                    input,
                    hidden,
                },
            );
            group.bench_function(name, |bench| bench.iter(&run));
        }
    }
}

/// A run of a layer with made-up weights.
fn layer(cell: Cell, shape: RecurrentShape) -> impl Fn() {
    let ctx = Context::default();
    let RecurrentShape {
        time,
        batch,
        input,
        hidden,
    } = shape;
    let rows = cell.gates() * hidden;
    let (w, r) = (vec![0.01; rows * input], vec![-0.01; rows * hidden]);
    let w = PackedGates::of_input(ctx.isa, cell, [1, hidden, input], &w).expect("small weights");
    let r = PackedGates::of_state(ctx.isa, cell, [1, hidden], &r).expect("small weights");
    let bias = GateBias::new(cell, [1, hidden], &vec![0.1; 2 * rows]).expect("one bias per row");
    let x = vec![0.5; time * batch * input];
    let scratch = std::cell::RefCell::new((Scratch::new(), vec![0.0; time * batch * hidden]));
    move || {
        let (scratch, y) = &mut *scratch.borrow_mut();
        let (mut h, mut c) = (vec![0.0; batch * hidden], vec![0.0; batch * hidden]);
        if !matches!(cell, Cell::Lstm { .. }) {
            c.clear();
        }
        let layer = RecurrentLayer {
            cell,
            directions: Directions::Forward,
            layout: SequenceLayout::TimeFirst,
            clip: None,
            input_weights: &w,
            state_weights: &r,
            bias: Some(&bias),
            peephole: None,
        };
        let state = RecurrentState {
            h: &mut h,
            c: &mut c,
        };
        recurrent(&ctx, scratch, &layer, shape, (&x, None), state, y).expect("the extents fit");
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
