//! Convolutions one behind the other as one step.

use crate::net::Net;
use compress_tensor::Tensor;
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

/// A convolution of a quantized image by int8 weights.
fn int8_conv(net: &mut Net, x: ValueId, weight: &[usize]) -> ValueId {
    let (w, _) = net.int8_weight(weight, 0);
    let group = if weight[1] == 1 { weight[0] as i64 } else { 1 };
    net.node(
        Node::new("Conv", [x, w].map(Some), [None::<ValueId>; 0])
            .with("pads", vec![weight[2] as i64 / 2; 4])
            .with("group", group),
    )
}

#[test]
fn a_quantized_block_is_one_step_of_the_same_bytes() {
    // The bytes between are more than what is kept of them at a time.
    let mut net = Net::new(&[1, 6, 60, 56]);
    let x = net.quantized(net.x, 0.008, 120);
    let wide = int8_conv(&mut net, x, &[70, 6, 1, 1]);
    let wide = net.op("Relu", &[wide]);
    let wide = net.quantized(wide, 0.01, 0);
    let filtered = int8_conv(&mut net, wide, &[70, 1, 3, 3]);
    let filtered = net.quantized(filtered, 0.02, 100);
    let narrow = int8_conv(&mut net, filtered, &[6, 70, 1, 1]);
    let (s, z) = (
        net.constant(Tensor::scalar(0.05f32)),
        net.constant(Tensor::scalar(90u8)),
    );
    let y = net.op("QuantizeLinear", &[narrow, s, z]);
    let turn = "permute";
    net.check_equal(y, &["conv.int8.stages", "quantize", turn, turn]);
}

#[test]
fn bytes_that_others_read_end_a_step() {
    let mut net = Net::new(&[1, 6, 8, 8]);
    let x = net.quantized(net.x, 0.008, 120);
    let wide = int8_conv(&mut net, x, &[6, 6, 1, 1]);
    let wide = net.quantized(wide, 0.01, 128);
    let filtered = int8_conv(&mut net, wide, &[6, 1, 3, 3]);
    let filtered = net.quantized(filtered, 0.02, 100);
    let sum = net.op("Add", &[filtered, wide]);
    let y = net.quantized(sum, 0.03, 110);
    let (_, _, ran) = net.run(y);
    assert!(!ran.contains(&"conv.int8.stages"), "{ran:?}");
}
