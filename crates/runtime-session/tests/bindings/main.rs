//! Each binding against the reference evaluator, on small graphs.

mod attention;
mod broadcast;
mod net;
mod one_hot;
mod profile;
mod stages;

use compress_tensor::Tensor;
use onnx_ir::{Fact, Node, ValueId};

use net::Net;

#[test]
fn a_convolution_takes_bias_residual_and_activation_along() {
    let mut net = Net::new(&[2, 3, 7, 6]);
    let (w1, w2, b) = (
        net.weight(&[3, 3, 3, 3]),
        net.weight(&[3, 1, 3, 3]),
        net.weight(&[3]),
    );
    let x = net.x;
    let conv =
        Node::new("Conv", [x, w1, b].map(Some), [None::<ValueId>; 0]).with("pads", vec![1i64; 4]);
    let a = net.node(conv);
    let a = net.op("Relu", &[a]);
    let depthwise = Node::new("Conv", [a, w2].map(Some), [None::<ValueId>; 0])
        .with("pads", vec![1i64; 4])
        .with("group", 3i64);
    let c = net.node(depthwise);
    let s = net.op("Add", &[x, c]);
    let y = net.op("Relu", &[s]);
    // The image and the result change their order at the region's edges.
    net.check_close(y, &["conv.f32.stages", "permute", "permute"]);
}

#[test]
fn same_padding_and_strides_follow_the_reference() {
    let mut net = Net::new(&[1, 2, 9, 8]);
    let (w, x) = (net.weight(&[4, 2, 3, 2]), net.x);
    let conv = Node::new("Conv", [x, w].map(Some), [None::<ValueId>; 0])
        .with("auto_pad", "SAME_UPPER")
        .with("strides", vec![2i64, 3]);
    let y = net.node(conv);
    net.check_close(y, &["conv.f32", "permute", "permute"]);
}

#[test]
fn a_linear_layer_with_gelu_is_one_step() {
    let mut net = Net::new(&[2, 5, 8]);
    let (w, b, x) = (net.weight(&[8, 6]), net.weight(&[6]), net.x);
    let m = net.op("MatMul", &[x, w]);
    let v = net.op("Add", &[b, m]);
    let [root, one, half] =
        [std::f32::consts::SQRT_2, 1.0, 0.5].map(|c| net.constant(Tensor::scalar(c)));
    let d = net.op("Div", &[v, root]);
    let e = net.op("Erf", &[d]);
    let e = net.op("Add", &[e, one]);
    let p = net.op("Mul", &[v, e]);
    let y = net.op("Mul", &[p, half]);
    net.check_close(y, &["gemm.f32"]);
}

#[test]
fn gelu_by_tanh_is_one_step_however_its_cube_is_written() {
    for (form, rank) in [("products", 1), ("nested", 1), ("power", 0), ("power", 4)] {
        let mut net = Net::new(&[2, 5, 8]);
        let (w, b, x) = (net.weight(&[8, 6]), net.weight(&[6]), net.x);
        let m = net.op("MatMul", &[x, w]);
        let v = net.op("Add", &[b, m]);
        let shape = vec![1; rank];
        let [scale, cube, one, half, three] = [0.797_884_6, 0.044_715, 1.0, 0.5, 3.0]
            .map(|c: f32| net.constant(Tensor::full(&shape, c).unwrap()));
        let c = match form {
            "products" => {
                let c = net.op("Mul", &[cube, v]);
                let c = net.op("Mul", &[v, c]);
                net.op("Mul", &[v, c])
            }
            "nested" => {
                let square = net.op("Mul", &[v, v]);
                let scaled = net.op("Mul", &[v, cube]);
                net.op("Mul", &[square, scaled])
            }
            _ => {
                let power = net.op("Pow", &[v, three]);
                net.op("Mul", &[power, cube])
            }
        };
        let sum = net.op("Add", &[v, c]);
        let t = net.op("Mul", &[scale, sum]);
        let t = net.op("Tanh", &[t]);
        let t = net.op("Add", &[one, t]);
        let t = net.op("Mul", &[half, t]);
        let y = net.op("Mul", &[v, t]);
        if rank < 4 {
            net.check_close(y, &["gemm.f32"]);
        } else {
            // The constants give the result another axis.
            let (found, expected, kernels) = net.run(y);
            assert!(kernels.len() > 1);
            for found in found {
                let apart = found.iter().zip(&expected).map(|(f, e)| (f - e).abs());
                assert!(apart.fold(0.0, f32::max) < 1e-5);
            }
        }
    }
}

#[test]
fn gemm_scales_its_bias_and_transposes_its_weight() {
    let mut net = Net::new(&[4, 8]);
    let (w, b, x) = (net.weight(&[6, 8]), net.weight(&[6]), net.x);
    let gemm = Node::new("Gemm", [x, w, b].map(Some), [None::<ValueId>; 0])
        .with("transB", 1i64)
        .with("alpha", 0.5f32)
        .with("beta", 2.0f32);
    let y = net.node(gemm);
    let y = net.op("Sigmoid", &[y]);
    net.check_close(y, &["gemm.f32"]);
}

#[test]
fn pooling_and_normalisation_follow_the_reference() {
    let mut net = Net::new(&[2, 3, 8, 8]);
    let (g, b, x) = (net.weight(&[8]), net.weight(&[8]), net.x);
    let norm = Node::new(
        "LayerNormalization",
        [x, g, b].map(Some),
        [None::<ValueId>; 0],
    );
    let n = net.node(norm);
    let pool = Node::new("MaxPool", [Some(n)], [None::<ValueId>; 0])
        .with("kernel_shape", vec![3i64, 2])
        .with("strides", vec![2i64, 2])
        .with("ceil_mode", 1i64);
    let p = net.node(pool);
    let y = net.op("GlobalAveragePool", &[p]);
    net.check_close(y, &["pool", "pool", "norm.f32"]);
}

#[test]
fn windows_over_empty_images_give_empty_images() {
    for pads in [0i64, 1] {
        let mut net = Net::new(&[1, 3, 0, 7]);
        let w = net.weight(&[4, 3, 3, 3]);
        let conv = Node::new("Conv", [Some(net.x), Some(w)], [None::<ValueId>; 0])
            .with("pads", vec![pads; 4]);
        let c = net.node(conv);
        let pool = Node::new("MaxPool", [Some(c)], [None::<ValueId>; 0])
            .with("kernel_shape", vec![5i64, 2])
            .with("pads", vec![pads; 4]);
        let p = net.node(pool);
        let pool = Node::new("AveragePool", [Some(p)], [None::<ValueId>; 0])
            .with("kernel_shape", vec![2i64, 2]);
        let y = net.node(pool);
        net.check_close(y, &["pool", "pool", "conv.f32", "permute", "permute"]);
    }
}

#[test]
fn a_quantized_convolution_equals_the_reference_bit_for_bit() {
    let mut net = Net::new(&[1, 4, 6, 6]);
    let x = net.quantized(net.x, 0.008, 120);
    let (w, scales) = net.int8_weight(&[5, 4, 3, 3], 0);
    let b = net.int32_bias(0.008, &scales);
    let conv =
        Node::new("Conv", [x, w, b].map(Some), [None::<ValueId>; 0]).with("pads", vec![1i64; 4]);
    let c = net.node(conv);
    let r = net.op("Relu", &[c]);
    let (s, z) = (
        net.constant(Tensor::scalar(0.05f32)),
        net.constant(Tensor::scalar(7u8)),
    );
    let y = net.op("QuantizeLinear", &[r, s, z]);
    net.check_equal(y, &["conv.int8", "quantize", "permute", "permute"]);
}

#[test]
fn a_quantized_linear_layer_equals_the_reference_bit_for_bit() {
    let mut net = Net::new(&[3, 16]);
    let x = net.quantized(net.x, 0.008, 131);
    let (w, _) = net.int8_weight(&[16, 7], 1);
    let m = net.op("MatMul", &[x, w]);
    let (s, z) = (
        net.constant(Tensor::scalar(0.03f32)),
        net.constant(Tensor::scalar(90u8)),
    );
    let y = net.op("QuantizeLinear", &[m, s, z]);
    net.check_equal(y, &["gemm.int8", "quantize"]);
}

#[test]
fn a_quantized_layer_with_a_residual_runs_on_integers() {
    let mut net = Net::new(&[5, 12]);
    let x = net.quantized(net.x, 0.01, 120);
    let (w, _) = net.int8_weight(&[12, 12], 1);
    let product = net.op("MatMul", &[x, w]);
    let b = net.weight(&[12]);
    let sum = net.op("Add", &[product, b]);
    let y = net.op("Add", &[sum, net.x]);
    net.check_close(y, &["elementwise.f32", "gemm.int8", "quantize"]);
}

#[test]
fn moves_between_equal_scales_stay_in_8_bits() {
    let mut net = Net::new(&[1, 2, 4, 6]);
    let x = net.quantized(net.x, 0.01, 100);
    let pool =
        Node::new("MaxPool", [Some(x)], [None::<ValueId>; 0]).with("kernel_shape", vec![2i64, 2]);
    let p = net.node(pool);
    let p = net.quantized(p, 0.01, 100);
    let shape = net.constant(Tensor::vector(vec![1i64, -1]));
    let r = net.op("Reshape", &[p, shape]);
    let (s, z) = (
        net.constant(Tensor::scalar(0.01f32)),
        net.constant(Tensor::scalar(100u8)),
    );
    let y = net.op("QuantizeLinear", &[r, s, z]);
    net.check_equal(y, &["view", "pool", "quantize"]);
}

#[test]
fn a_function_of_bytes_is_a_table() {
    let mut net = Net::new(&[4, 9]);
    let x = net.quantized(net.x, 0.01, 128);
    let f = net.op("Tanh", &[x]);
    let (s, z) = (
        net.constant(Tensor::scalar(0.0078125f32)),
        net.constant(Tensor::scalar(128u8)),
    );
    let y = net.op("QuantizeLinear", &[f, s, z]);
    net.check_equal(y, &["table.int8", "quantize"]);
}

#[test]
fn dynamic_quantization_is_one_product() {
    let mut net = Net::new(&[3, 16]);
    let x = net.x;
    let [q, s, z] = ["q", "s", "z"].map(|n| net.graph.add_value(n, Fact::Unknown).unwrap());
    net.graph
        .add_node(Node::new("DynamicQuantizeLinear", [x], [q, s, z]))
        .unwrap();
    let data: Vec<i8> = Net::numbers(5, 16 * 6)
        .into_iter()
        .map(|v| (v * 127.0) as i8)
        .collect();
    let w = net.constant(Tensor::from_vec(&[16, 6], data).unwrap());
    let wz = net.constant(Tensor::scalar(0i8));
    let ws = net.constant(Tensor::vector(vec![
        0.004f32, 0.005, 0.006, 0.007, 0.008, 0.009,
    ]));
    let b = net.weight(&[6]);
    let m = net.op("MatMulInteger", &[q, w, z, wz]);
    let cast = net.node(Node::new("Cast", [Some(m)], [None::<ValueId>; 0]).with("to", 1i64));
    let scale = net.op("Mul", &[s, ws]);
    let scaled = net.op("Mul", &[cast, scale]);
    let y = net.op("Add", &[scaled, b]);
    net.check_close(y, &["gemm.int8", "quantize"]);
}

#[test]
fn slices_and_concatenations_copy_runs() {
    let mut net = Net::new(&[2, 5, 4]);
    let x = net.x;
    let ints = |net: &mut Net, v: &[i64]| net.constant(Tensor::vector(v.to_vec()));
    let (starts, ends, axes) = (
        ints(&mut net, &[1, -3]),
        ints(&mut net, &[4, 9]),
        ints(&mut net, &[1, 2]),
    );
    let a = net.op("Slice", &[x, starts, ends, axes]);
    let (s2, e2, a2) = (
        ints(&mut net, &[0]),
        ints(&mut net, &[3]),
        ints(&mut net, &[1]),
    );
    let b = net.op("Slice", &[x, s2, e2, a2]);
    let concat = Node::new("Concat", [a, b].map(Some), [None::<ValueId>; 0]).with("axis", -1i64);
    let c = net.node(concat);
    let indices = ints(&mut net, &[6, -1, 0]);
    let gather =
        Node::new("Gather", [c, indices].map(Some), [None::<ValueId>; 0]).with("axis", 2i64);
    let y = net.node(gather);
    net.check_equal(y, &["gather", "copy", "copy", "copy"]);
}

#[test]
fn a_convolution_of_signals_takes_bias_residual_and_activation_along() {
    for (shape, kernel) in [
        ([2, 3, 9], 3),
        ([1, 3, 1], 3),
        ([2, 1, 40], 5),
        ([1, 2, 100], 3),
    ] {
        let mut net = Net::new(&shape);
        let channels = shape[1];
        let (w, b, x) = (
            net.weight(&[channels, channels, kernel]),
            net.weight(&[channels]),
            net.x,
        );
        let conv = Node::new("Conv", [x, w, b].map(Some), [None::<ValueId>; 0])
            .with("pads", vec![(kernel / 2) as i64; 2]);
        let c = net.node(conv);
        let s = net.op("Add", &[x, c]);
        let r = net.op("Relu", &[s]);
        let w = net.weight(&[4, channels, 2]);
        let strided = Node::new("Conv", [r, w].map(Some), [None::<ValueId>; 0])
            .with("auto_pad", "SAME_LOWER")
            .with("strides", vec![2i64]);
        let y = net.node(strided);
        net.check_close(y, &["conv.f32", "conv.f32"]);
    }
}

#[test]
fn pads_of_each_mode_follow_the_reference() {
    let cases = [
        ("constant", [0i64, 1, 2, 1, 0, 3], "pad.f32"),
        ("edge", [0, 1, 2, 1, 0, 5], "pad.f32"),
        ("reflect", [0, 1, 2, 0, 2, 3], "pad.f32"),
        // A mirror in a mirror, and elements taken away.
        ("reflect", [0, 4, 0, 0, 0, 0], "reference"),
        ("constant", [0, 0, -1, 0, 0, 2], "reference"),
    ];
    for (mode, pads, kernel) in cases {
        let mut net = Net::new(&[2, 3, 4]);
        let (pads, value) = (
            net.constant(Tensor::vector(pads.to_vec())),
            net.constant(Tensor::scalar(0.5f32)),
        );
        let node = Node::new("Pad", [net.x, pads, value].map(Some), [None::<ValueId>; 0])
            .with("mode", mode);
        let y = net.node(node);
        net.check_equal(y, &[kernel]);
    }
    let mut net = Net::new(&[2, 3, 4]);
    let (pads, axes) = (
        net.constant(Tensor::vector(vec![1i64, 2])),
        net.constant(Tensor::vector(vec![-2i64])),
    );
    let inputs = [Some(net.x), Some(pads), None, Some(axes)];
    let y = net.node(Node::new("Pad", inputs, [None::<ValueId>; 0]));
    net.check_equal(y, &["pad.f32"]);
}

#[test]
fn a_power_of_two_is_a_square() {
    let mut net = Net::new(&[3, 7]);
    let (two, x) = (net.constant(Tensor::scalar(2.0f32)), net.x);
    let y = net.op("Pow", &[x, two]);
    net.check_equal(y, &["elementwise.f32"]);
    let mut net = Net::new(&[3]);
    let column = Tensor::from_vec(&[1, 1], vec![2.0f32]).unwrap();
    let (two, x) = (net.constant(column), net.x);
    let y = net.op("Pow", &[x, two]);
    net.check_equal(y, &["reference"]);
}
