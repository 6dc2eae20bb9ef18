//! Recurrent layers: a run in windows against sequences one by one, and what is refused. Their values are held against
//! the reference evaluator by the session's tests.

use runtime_kernels::recurrent::{
    Cell, Directions, GateBias, PackedGates, RecurrentLayer, RecurrentShape, RecurrentState,
    SequenceLayout, recurrent,
};
use runtime_kernels::{Context, KernelError, Scratch};

fn floats(n: usize, seed: u32) -> Vec<f32> {
    let mut x = seed;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

const LSTM: Cell = Cell::Lstm {
    input_forget: false,
};

/// The weights of an LSTM in both directions.
struct Weights {
    w: PackedGates,
    r: PackedGates,
    bias: GateBias,
}

impl Weights {
    fn new(ctx: &Context, hidden: usize, input: usize) -> Self {
        let rows = 4 * hidden;
        let scale = |v: Vec<f32>| -> Vec<f32> { v.iter().map(|x| x * 0.2).collect() };
        let (w, r) = (floats(2 * rows * input, 1), floats(2 * rows * hidden, 2));
        Self {
            w: PackedGates::of_input(ctx.isa, LSTM, [2, hidden, input], &scale(w)).unwrap(),
            r: PackedGates::of_state(ctx.isa, LSTM, [2, hidden], &scale(r)).unwrap(),
            bias: GateBias::new(LSTM, [2, hidden], &floats(4 * rows, 3)).unwrap(),
        }
    }

    fn layer(&self, layout: SequenceLayout) -> RecurrentLayer<'_> {
        RecurrentLayer {
            cell: LSTM,
            directions: Directions::Bidirectional,
            layout,
            clip: None,
            input_weights: &self.w,
            state_weights: &self.r,
            bias: Some(&self.bias),
            peephole: None,
        }
    }
}

/// `y`, `h` and `c` from states of zero.
fn run(
    ctx: &Context,
    layer: &RecurrentLayer<'_>,
    shape: RecurrentShape,
    x: &[f32],
    lengths: &[i32],
) -> [Vec<f32>; 3] {
    let states = 2 * shape.batch * shape.hidden;
    let (mut h, mut c) = (vec![0.0; states], vec![0.0; states]);
    let mut y = vec![f32::NAN; shape.time * states];
    let state = RecurrentState {
        h: &mut h,
        c: &mut c,
    };
    let input = (x, Some(lengths));
    recurrent(ctx, &mut Scratch::new(), layer, shape, input, state, &mut y).unwrap();
    [y, h, c]
}

/// The steps of 20 sequences of 250 units do not fit one window; those of one sequence do.
#[test]
fn windows_give_what_single_sequences_give() {
    let ctx = Context::default();
    let (time, batch, input, hidden) = (37, 20, 3, 250);
    let weights = Weights::new(&ctx, hidden, input);
    let x = floats(batch * time * input, 4);
    let lengths: Vec<i32> = (0..batch).map(|n| (n * 2) as i32 % 38).collect();
    let shape = RecurrentShape {
        time,
        batch,
        input,
        hidden,
    };
    let layer = weights.layer(SequenceLayout::BatchFirst);
    let [y, h, c] = run(&ctx, &layer, shape, &x, &lengths);
    let mut by_time = vec![0.0; x.len()];
    for (i, &x) in x.iter().enumerate() {
        let (n, t, f) = (i / (time * input), i / input % time, i % input);
        by_time[(t * batch + n) * input + f] = x;
    }
    let time_first = weights.layer(SequenceLayout::TimeFirst);
    let [y_by_time, ..] = run(&ctx, &time_first, shape, &by_time, &lengths);
    for n in 0..batch {
        let alone = RecurrentShape { batch: 1, ..shape };
        let own = &x[n * time * input..(n + 1) * time * input];
        let [y_own, h_own, c_own] = run(&ctx, &layer, alone, own, &lengths[n..=n]);
        let close = |a: &[f32], b: &[f32]| {
            assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().zip(b) {
                assert!((a - b).abs() < 1e-5, "sequence {n}: {a} is not {b}");
            }
        };
        let row = 2 * hidden;
        close(&y[n * time * row..(n + 1) * time * row], &y_own);
        close(&h[n * row..(n + 1) * row], &h_own);
        close(&c[n * row..(n + 1) * row], &c_own);
        for t in 0..time {
            for d in 0..2 {
                let at = ((t * 2 + d) * batch + n) * hidden;
                let from = (t * 2 + d) * hidden;
                close(&y_by_time[at..at + hidden], &y_own[from..from + hidden]);
            }
        }
        let past = usize::try_from(lengths[n]).unwrap() * row;
        assert!(y_own[past..].iter().all(|&y| y == 0.0));
    }
}

#[test]
fn extents_that_do_not_fit_are_refused() {
    let ctx = Context::default();
    let weights = Weights::new(&ctx, 4, 3);
    let layer = weights.layer(SequenceLayout::TimeFirst);
    let shape = RecurrentShape {
        time: 2,
        batch: 1,
        input: 3,
        hidden: 4,
    };
    let run = |layer: &RecurrentLayer<'_>, shape, x: &[f32], lengths: &[i32], c: &mut [f32]| {
        let (mut h, mut y) = ([0.0; 8], [0.0; 16]);
        let state = RecurrentState { h: &mut h, c };
        let input = (x, Some(lengths));
        recurrent(
            &ctx,
            &mut Scratch::new(),
            layer,
            shape,
            input,
            state,
            &mut y,
        )
    };
    let (x, mut c) = ([0.0; 6], [0.0; 8]);
    assert_eq!(run(&layer, shape, &x, &[2], &mut c), Ok(()));
    let length = run(&layer, shape, &x[1..], &[2], &mut c);
    assert!(matches!(
        length,
        Err(KernelError::Length {
            operand: "input",
            ..
        })
    ));
    let length = run(&layer, shape, &x, &[2], &mut c[1..]);
    assert!(matches!(
        length,
        Err(KernelError::Length {
            operand: "cell state",
            ..
        })
    ));
    for lengths in [3, -1] {
        let invalid = run(&layer, shape, &x, &[lengths], &mut c);
        assert!(matches!(invalid, Err(KernelError::Invalid { .. })));
    }
    let wide = RecurrentShape {
        input: 2,
        time: 3,
        ..shape
    };
    assert!(run(&layer, wide, &x, &[2], &mut c).is_err());
    let huge = RecurrentShape {
        time: usize::MAX,
        ..shape
    };
    assert!(run(&layer, huge, &x, &[2], &mut c).is_err());
    let gru = Cell::Gru {
        linear_before_reset: true,
    };
    let other = RecurrentLayer { cell: gru, ..layer };
    assert!(run(&other, shape, &x, &[2], &mut []).is_err());
    let peephole = RecurrentLayer {
        peephole: Some(&[0.0; 5]),
        ..layer
    };
    assert!(run(&peephole, shape, &x, &[2], &mut c).is_err());
}
