//! Attention, as an operator and node by node, and `Where`.

use super::net::Net;
use compress_tensor::Tensor;
use onnx_ir::{Node, ValueId};

const BATCH: usize = 2;
const ROWS: usize = 7;
const HEADS: usize = 3;
const SIZE: usize = 5;

impl Net {
    fn permuted(&mut self, x: ValueId, perm: [i64; 4]) -> ValueId {
        let node = Node::new("Transpose", [Some(x)], [None::<ValueId>; 0]);
        self.node(node.with("perm", perm.to_vec()))
    }

    fn softmax(&mut self, x: ValueId, axis: i64) -> ValueId {
        let node = Node::new("Softmax", [Some(x)], [None::<ValueId>; 0]);
        self.node(node.with("axis", axis))
    }

    /// Three products of the input with weights, split into heads: `[batch, rows, heads, size]`.
    fn projections(&mut self) -> [ValueId; 3] {
        let split = Tensor::vector(vec![0i64, 0, HEADS as i64, SIZE as i64]);
        std::array::from_fn(|_| {
            let (x, w) = (self.x, self.weight(&[HEADS * SIZE, HEADS * SIZE]));
            let (m, split) = (self.op("MatMul", &[x, w]), self.constant(split.clone()));
            self.op("Reshape", &[m, split])
        })
    }

    fn scaled(&mut self, op: &str, scores: ValueId, factor: f32) -> ValueId {
        let factor = self.constant(Tensor::scalar(factor));
        self.op(op, &[scores, factor])
    }
}

/// Attention, and the projections, whose results are split without a copy.
const WITH_PROJECTIONS: [&str; 7] = [
    "attention.f32",
    "view",
    "gemm.f32",
    "view",
    "gemm.f32",
    "view",
    "gemm.f32",
];

fn net() -> Net {
    Net::new(&[BATCH, ROWS, HEADS * SIZE])
}

#[test]
fn heads_are_read_where_projections_put_them() {
    for (masked, op) in [(false, "Mul"), (true, "Mul"), (true, "Div")] {
        let mut net = net();
        let [q, k, v] = net.projections();
        let q = net.permuted(q, [0, 2, 1, 3]);
        let k = net.permuted(k, [0, 2, 3, 1]);
        let v = net.permuted(v, [0, 2, 1, 3]);
        let product = net.op("MatMul", &[q, k]);
        let mut scores = net.scaled(op, product, 0.3);
        if masked {
            let mask = net.weight(&[BATCH, 1, 1, ROWS]);
            scores = net.op("Add", &[mask, scores]);
        }
        let shares = net.softmax(scores, -1);
        let heads = net.op("MatMul", &[shares, v]);
        let y = net.permuted(heads, [0, 2, 1, 3]);
        net.check_close(y, &WITH_PROJECTIONS);
    }
}

#[test]
fn heads_that_were_moved_together_are_taken_as_they_are() {
    for rows in [ROWS, 0] {
        let mut net = Net::new(&[BATCH, HEADS, rows, SIZE]);
        let x = net.x;
        let turned = net.permuted(x, [0, 1, 3, 2]);
        let scores = net.op("MatMul", &[x, turned]);
        let mask = net.weight(&[rows, rows]);
        let scores = net.op("Add", &[scores, mask]);
        let shares = net.softmax(scores, 3);
        let y = net.op("MatMul", &[shares, x]);
        net.check_close(y, &["attention.f32"]);
    }
}

#[test]
fn what_is_no_attention_runs_node_by_node() {
    // Softmax over the queries; a mask that gives the scores another shape. The product reads the keys turned where they stand.
    let products = ["gemm.f32", "softmax.f32", "gemm.f32"];
    let mut net = Net::new(&[BATCH, HEADS, ROWS, SIZE]);
    let x = net.x;
    let turned = net.permuted(x, [0, 1, 3, 2]);
    let scores = net.op("MatMul", &[x, turned]);
    let shares = net.softmax(scores, 2);
    let y = net.op("MatMul", &[shares, x]);
    net.check_close(y, &products);

    let mut net = Net::new(&[1, HEADS, ROWS, SIZE]);
    let x = net.x;
    let turned = net.permuted(x, [0, 1, 3, 2]);
    let scores = net.op("MatMul", &[x, turned]);
    let mask = net.weight(&[BATCH, 1, ROWS, ROWS]);
    let scores = net.op("Add", &[scores, mask]);
    let shares = net.softmax(scores, -1);
    let y = net.op("MatMul", &[shares, x]);
    net.check_close(
        y,
        &["gemm.f32", "softmax.f32", "elementwise.f32", "gemm.f32"],
    );
}

#[test]
fn the_operator_follows_the_reference() {
    for (masked, causal, cap) in [
        (false, 0i64, 0.0f32),
        (true, 0, 0.0),
        (true, 1, 2.0),
        (false, 1, 0.0),
    ] {
        let mut net = net();
        net.opset = 24;
        let x = net.x;
        let mut inputs = vec![Some(x); 3];
        if masked {
            inputs.push(Some(net.weight(&[ROWS, ROWS])));
        }
        let node = Node::new("Attention", inputs, [None::<ValueId>; 0]);
        let node = node
            .with("q_num_heads", HEADS as i64)
            .with("kv_num_heads", HEADS as i64);
        let y = net.node(node.with("is_causal", causal).with("softcap", cap));
        net.check_close(y, &["attention.f32"]);
    }
    // A column of the mask short, and the scores as an output: by reference.
    let mut net = Net::new(&[BATCH, HEADS, ROWS, SIZE]);
    net.opset = 24;
    let (x, mask) = (net.x, net.weight(&[ROWS, ROWS - 1]));
    let node = Node::new("Attention", [x, x, x, mask].map(Some), [None::<ValueId>; 0]);
    let y = net.node(node);
    net.check_close(y, &["reference"]);

    let mut net = Net::new(&[BATCH, HEADS, ROWS, SIZE]);
    net.opset = 24;
    let x = net.x;
    let [_, _, _, scores] = net.outputs(Node::new("Attention", [x; 3], [None::<ValueId>; 0]));
    net.check_close(scores, &["reference"]);
}

#[test]
fn the_operator_takes_masks_of_truth_values() {
    for dims in [&[ROWS, ROWS][..], &[BATCH, 1, 1, ROWS]] {
        let mut net = Net::new(&[BATCH, HEADS, ROWS, SIZE]);
        net.opset = 24;
        let seen = Net::numbers(3, dims.iter().product());
        let seen = seen.into_iter().map(|x| x > -0.2).collect();
        let (x, mask) = (net.x, net.constant(Tensor::from_vec(dims, seen).unwrap()));
        let node = Node::new("Attention", [x, x, x, mask].map(Some), [None::<ValueId>; 0]);
        let y = net.node(node);
        net.check_close(y, &["attention.f32"]);
    }
}

#[test]
fn the_operator_puts_keys_and_values_behind_those_of_earlier_runs() {
    const PAST: usize = 4;
    for (packed, past, causal, output) in [
        (false, true, 1i64, 0),
        (true, true, 1, 0),
        (true, true, 0, 1),
        (false, true, 0, 2),
        (true, false, 1, 0),
        (true, false, 0, 2),
        (false, false, 0, 1),
    ] {
        let mut net = match packed {
            true => net(),
            false => Net::new(&[BATCH, HEADS, ROWS, SIZE]),
        };
        net.opset = 24;
        let x = net.x;
        let mut inputs = vec![Some(x); 3];
        if past {
            let keys = ROWS + PAST;
            let (mask, k) = (
                net.weight(&[ROWS, keys]),
                net.weight(&[BATCH, HEADS, PAST, SIZE]),
            );
            let v = net.weight(&[BATCH, HEADS, PAST, SIZE]);
            inputs.extend([mask, k, v].map(Some));
        }
        let node = Node::new("Attention", inputs, [None::<ValueId>; 0]).with("is_causal", causal);
        let node = match packed {
            true => node
                .with("q_num_heads", HEADS as i64)
                .with("kv_num_heads", HEADS as i64),
            false => node,
        };
        let outputs: [ValueId; 3] = net.outputs(node);
        net.check_close(outputs[output], &["attention.f32"]);
    }
}

#[test]
fn where_takes_a_mask_and_numbers() {
    for whole in [false, true] {
        let mut net = Net::new(&[BATCH, 1, ROWS, ROWS]);
        let (x, zero) = (net.x, net.constant(Tensor::scalar(0.0f32)));
        let negative = net.op("Less", &[x, zero]);
        let far = net.constant(Tensor::scalar(-1e4f32));
        let other = if whole { x } else { zero };
        let y = net.op("Where", &[negative, far, other]);
        net.check_close(y, &["where", "compare"]);
    }
    // A condition that is spread, and numbers that are.
    let mut net = Net::new(&[BATCH, 1, ROWS, 1]);
    let (x, zero, row) = (
        net.x,
        net.constant(Tensor::scalar(0.0f32)),
        net.weight(&[1, 1, 1, ROWS]),
    );
    let negative = net.op("Less", &[x, zero]);
    let y = net.op("Where", &[negative, zero, row]);
    net.check_close(y, &["where", "compare"]);
    // All three spread: by reference.
    let mut net = Net::new(&[BATCH, 1, ROWS, 1]);
    let (x, zero, row) = (
        net.x,
        net.constant(Tensor::scalar(0.0f32)),
        net.weight(&[1, 1, 1, ROWS]),
    );
    let negative = net.op("Less", &[x, zero]);
    let y = net.op("Where", &[negative, x, row]);
    net.check_close(y, &["reference", "compare"]);
}
