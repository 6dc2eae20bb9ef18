//! Convolutions one behind the other as one step.

use crate::net::Net;
use onnx_ir::{Node, ValueId};

fn conv(net: &mut Net, x: ValueId, weight: &[usize], stride: i64) -> ValueId {
    let w = net.weight(weight);
    let b = net.weight(&weight[..1]);
    let group = if weight[1] == 1 { weight[0] as i64 } else { 1 };
    net.node(
        Node::new("Conv", [x, w, b].map(Some), [None::<ValueId>; 0])
            .with("pads", vec![weight[2] as i64 / 2; 4])
            .with("strides", vec![stride; 2])
            .with("group", group),
    )
}

/// Widens, filters and narrows the image of 6 channels; the wide image is larger than what is kept of it at a time.
fn block(net: &mut Net, x: ValueId, stride: i64) -> ValueId {
    let wide = conv(net, x, &[70, 6, 1, 1], 1);
    let wide = net.op("Relu", &[wide]);
    let filtered = conv(net, wide, &[70, 1, 3, 3], stride);
    let filtered = net.op("Relu", &[filtered]);
    // Small weights keep sums of many numbers small.
    conv(net, filtered, &[6, 70, 1, 1], 1)
}

#[test]
fn a_block_and_its_residual_are_one_step() {
    let turn = "permute";
    let mut net = Net::new(&[2, 6, 40, 37]);
    let x = net.x;
    let y = block(&mut net, x, 1);
    let y = net.op("Add", &[x, y]);
    net.check_close(y, &["conv.f32.stages", turn, turn]);

    let mut net = Net::new(&[1, 6, 41, 38]);
    let x = net.x;
    let y = block(&mut net, x, 2);
    net.check_close(y, &["conv.f32.stages", turn, turn]);
}

#[test]
fn a_value_that_others_read_ends_a_step() {
    let mut net = Net::new(&[1, 6, 9, 8]);
    let x = net.x;
    let wide = conv(&mut net, x, &[10, 6, 1, 1], 1);
    let filtered = conv(&mut net, wide, &[10, 1, 3, 3], 1);
    let narrow = conv(&mut net, filtered, &[10, 10, 1, 1], 1);
    let y = net.op("Add", &[narrow, wide]);
    let turn = "permute";
    net.check_close(y, &["conv.f32.stages", "conv.f32", turn, turn]);
}
