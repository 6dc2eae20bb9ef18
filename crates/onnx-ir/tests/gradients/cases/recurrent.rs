//! Recurrent layers: directions, lengths, peepholes, activations, both layouts.

use crate::harness::{Case, case};
use compress_tensor::Tensor;

const HIDDEN: usize = 2;

/// A layer over 3 steps of 2 sequences of 3 numbers, with biases.
fn layer(op: &str, gates: usize, directions: usize) -> Case {
    let rows = gates * HIDDEN;
    case(op)
        .real(&[3, 2, 3], -1.0, 1.0)
        .real(&[directions, rows, 3], -0.8, 0.8)
        .real(&[directions, rows, HIDDEN], -0.8, 0.8)
        .real(&[directions, 2 * rows], -0.3, 0.3)
}

fn lengths() -> Tensor {
    Tensor::vector(vec![3i32, 2])
}

fn state(case: Case, directions: usize) -> Case {
    case.real(&[directions, 2, HIDDEN], -0.5, 0.5)
}

fn named(case: Case, names: &[&str]) -> Case {
    let names = names.iter().map(|n| n.as_bytes().to_vec()).collect();
    case.with("activations", onnx_ir::Attribute::Strings(names))
}

pub(crate) fn cases() -> Vec<Case> {
    let lstm = |directions: usize| {
        let case = layer("LSTM", 4, directions).constant(lengths());
        state(state(case, directions), directions).real(&[directions, 3 * HIDDEN], -0.5, 0.5)
    };
    vec![
        layer("LSTM", 4, 1),
        lstm(1).outputs(3),
        lstm(2).outputs(3).with("direction", "bidirectional"),
        lstm(1)
            .with("direction", "reverse")
            .with("input_forget", 1i64),
        layer("LSTM", 4, 1)
            .outputs(3)
            .ignoring(&[0, 1])
            .with("clip", 0.9f32),
        named(
            layer("LSTM", 4, 1),
            &["HardSigmoid", "Softsign", "Softplus"],
        ),
        named(layer("LSTM", 4, 1), &["Sigmoid", "Elu", "ScaledTanh"]),
        layer("LSTM", 4, 1).with("layout", 1i64),
        layer("GRU", 3, 1).outputs(2),
        state(layer("GRU", 3, 1).constant(lengths()), 1).with("linear_before_reset", 1i64),
        state(layer("GRU", 3, 2).without(), 2)
            .outputs(2)
            .with("direction", "bidirectional"),
        layer("RNN", 1, 1).outputs(2),
        state(
            named(layer("RNN", 1, 1), &["Affine"]).constant(lengths()),
            1,
        )
        .with("direction", "reverse"),
        named(layer("RNN", 1, 1), &["LeakyRelu"]),
    ]
}
