//! The models of the micro-benchmarks: one operator each, over a handful of shapes per class.
//!
//! Shapes are those of common networks in kind, not in number: images of few pixels and many channels and the other way round,
//! thin and deep products, small and large arrays.

use compress_tensor::Tensor;
use onnx_ir::{Fact, Graph, Model, Node, ValueId};

/// A model and what it is fed.
pub(super) struct Case {
    pub(super) model: Model,
    pub(super) inputs: Vec<(&'static str, Tensor)>,
}

/// All cases.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for conv in CONVS {
        cases.extend(conv.float());
        cases.extend(conv.int8());
    }
    for block in &BLOCKS {
        cases.extend(block.float());
        cases.extend(block.int8());
    }
    for &(channels, out, taps, length) in &SIGNALS {
        cases.extend(signal(channels, out, taps, length));
    }
    for &[m, k, n] in &PRODUCTS {
        cases.extend(product(m, k, n));
        cases.extend(product_int8(m, k, n));
    }
    for &[batch, m, k, n] in &DYNAMIC {
        cases.extend(dynamic(batch, m, k, n));
    }
    for elements in ARRAYS {
        cases.extend(UNARY.iter().filter_map(|op| unary(op, elements)));
        cases.extend(BINARY.iter().filter_map(|op| binary(op, elements)));
        cases.extend(moves(elements));
    }
    for (channels, size) in [(64, 28), (256, 14), (16, 8)] {
        cases.extend(pools(channels, size));
    }
    cases.extend([lstm(1, 128, 64), lstm(16, 64, 64)].into_iter().flatten());
    cases
}

/// A convolution: channels, filters, groups, taps in a line, stride, pixels in a line.
struct Conv(usize, usize, usize, usize, usize, usize);

const CONVS: &[Conv] = &[
    // One tap.
    Conv(16, 64, 1, 1, 1, 28),
    Conv(64, 16, 1, 1, 1, 28),
    Conv(24, 144, 1, 1, 1, 28),
    Conv(64, 128, 1, 1, 1, 14),
    Conv(256, 512, 1, 1, 1, 14),
    Conv(512, 256, 1, 1, 1, 7),
    Conv(64, 64, 1, 1, 1, 25),
    // Few channels, or strides.
    Conv(3, 32, 1, 3, 2, 96),
    Conv(3, 48, 1, 7, 2, 64),
    Conv(3, 16, 1, 3, 1, 32),
    Conv(32, 64, 1, 3, 2, 28),
    Conv(128, 128, 1, 3, 2, 14),
    Conv(1, 64, 1, 8, 2, 40),
    // Minimal filtering.
    Conv(16, 16, 1, 3, 1, 32),
    Conv(32, 32, 1, 3, 1, 16),
    Conv(64, 64, 1, 3, 1, 8),
    Conv(48, 48, 1, 3, 1, 40),
    Conv(96, 96, 1, 3, 1, 28),
    Conv(192, 192, 1, 3, 1, 14),
    Conv(256, 256, 1, 3, 1, 7),
    // Each channel by itself.
    Conv(32, 32, 32, 3, 1, 56),
    Conv(96, 96, 96, 3, 2, 56),
    Conv(144, 144, 144, 3, 1, 28),
    Conv(384, 384, 384, 3, 1, 14),
    Conv(512, 512, 512, 3, 1, 7),
    Conv(64, 64, 64, 3, 1, 25),
    Conv(64, 64, 64, 5, 1, 14),
    // A few channels with each other.
    Conv(64, 64, 4, 3, 1, 14),
];

/// Convolutions one behind the other, as in mobile networks: channels that come in, that are filtered one by one, that go out; stride;
/// pixels in a line. Where the first two are equal, nothing widens the image.
struct Block(usize, usize, usize, usize, usize);

const BLOCKS: [Block; 8] = [
    Block(64, 64, 64, 1, 12),
    Block(32, 32, 16, 1, 56),
    Block(64, 64, 128, 2, 28),
    Block(16, 96, 24, 2, 56),
    Block(32, 192, 32, 1, 28),
    Block(48, 288, 48, 1, 14),
    Block(96, 576, 96, 1, 14),
    Block(128, 768, 160, 1, 7),
];

/// Convolutions of signals: channels, filters, taps, samples.
const SIGNALS: [(usize, usize, usize, usize); 4] = [
    (32, 64, 3, 128),
    (128, 128, 5, 256),
    (64, 64, 3, 8),
    (1, 128, 128, 512),
];

/// Rows, depth, columns of products with weights.
const PRODUCTS: [[usize; 3]; 12] = [
    [1, 64, 10],
    [1, 256, 256],
    [1, 1024, 512],
    [1, 384, 1536],
    [1, 2048, 96],
    [8, 256, 256],
    [16, 384, 512],
    [64, 128, 64],
    [64, 512, 256],
    [128, 256, 512],
    [128, 1024, 256],
    [256, 64, 256],
];

/// Batch, rows, depth, columns of products without weights.
const DYNAMIC: [[usize; 4]; 5] = [
    [8, 16, 32, 16],
    [8, 128, 32, 128],
    [8, 128, 128, 32],
    [12, 16, 16, 64],
    [1, 64, 128, 64],
];

/// Elements of arrays; all lie in the caches of a core.
const ARRAYS: [usize; 3] = [1 << 10, 1 << 13, 3 << 14];

const UNARY: [&str; 10] = [
    "Relu",
    "Sigmoid",
    "Tanh",
    "Erf",
    "Exp",
    "Sqrt",
    "Neg",
    "Softmax",
    "Floor",
    "HardSwish",
];
const BINARY: [&str; 5] = ["Add", "Sub", "Mul", "Div", "Pow"];

impl Conv {
    fn attributes(&self, node: Node) -> Node {
        let &Self(_, _, groups, taps, stride, _) = self;
        let side = (taps / 2) as i64;
        node.with("group", groups as i64)
            .with("strides", vec![stride as i64; 2])
            .with("pads", vec![side; 4])
    }

    fn shapes(&self) -> ([usize; 4], [usize; 4]) {
        let &Self(channels, filters, groups, taps, _, size) = self;
        (
            [1, channels, size, size],
            [filters, channels / groups.max(1), taps, taps],
        )
    }

    fn float(&self) -> Option<Case> {
        let (image, weight) = self.shapes();
        let mut net = Net::new();
        let (x, w) = (
            net.input("x", floats(&image)?)?,
            net.constant(floats(&weight)?)?,
        );
        let y = net.node(self.attributes(Node::new("Conv", [x, w], NONE)))?;
        net.case(y)
    }

    fn int8(&self) -> Option<Case> {
        let (image, weight) = self.shapes();
        let mut net = Net::new();
        let x = net.bytes(&image)?;
        let w = net.weight(&weight, 0)?;
        let y = net.node(self.attributes(Node::new("Conv", [x, w], NONE)))?;
        let y = net.quantized(y)?;
        net.case(y)
    }
}

impl Block {
    fn float(&self) -> Option<Case> {
        let mut net = Net::new();
        let x = net.input("x", floats(&self.image())?)?;
        let y = self.layers(&mut net, x, |net, x, conv| {
            let w = net.constant(floats(&conv.shapes().1)?)?;
            let y = net.node(conv.attributes(Node::new("Conv", [x, w], NONE)))?;
            net.node(Node::new("Relu", [y], NONE))
        })?;
        net.case(y)
    }

    fn int8(&self) -> Option<Case> {
        let mut net = Net::new();
        let x = net.input("x", bytes(&self.image())?)?;
        let y = self.layers(&mut net, x, |net, x, conv| {
            let x = net.dequantized(x)?;
            let w = net.weight(&conv.shapes().1, 0)?;
            let y = net.node(conv.attributes(Node::new("Conv", [x, w], NONE)))?;
            net.quantized(y)
        })?;
        net.case(y)
    }

    fn image(&self) -> [usize; 4] {
        [1, self.0, self.4, self.4]
    }

    fn layers(
        &self,
        net: &mut Net,
        mut x: ValueId,
        layer: fn(&mut Net, ValueId, &Conv) -> Option<ValueId>,
    ) -> Option<ValueId> {
        let &Self(channels, wide, filters, stride, size) = self;
        if wide != channels {
            x = layer(net, x, &Conv(channels, wide, 1, 1, 1, size))?;
        }
        x = layer(net, x, &Conv(wide, wide, wide, 3, stride, size))?;
        layer(net, x, &Conv(wide, filters, 1, 1, 1, size / stride))
    }
}

fn signal(channels: usize, filters: usize, taps: usize, length: usize) -> Option<Case> {
    let mut net = Net::new();
    let x = net.input("x", floats(&[1, channels, length])?)?;
    let w = net.constant(floats(&[filters, channels, taps])?)?;
    let y = net.node(Node::new("Conv", [x, w], NONE))?;
    net.case(y)
}

fn product(m: usize, k: usize, n: usize) -> Option<Case> {
    let mut net = Net::new();
    let (x, w) = (
        net.input("x", floats(&[m, k])?)?,
        net.constant(floats(&[k, n])?)?,
    );
    let y = net.node(Node::new("MatMul", [x, w], NONE))?;
    net.case(y)
}

fn product_int8(m: usize, k: usize, n: usize) -> Option<Case> {
    let mut net = Net::new();
    let (x, w) = (net.bytes(&[m, k])?, net.weight(&[k, n], 1)?);
    let y = net.node(Node::new("MatMul", [x, w], NONE))?;
    let y = net.quantized(y)?;
    net.case(y)
}

fn dynamic(batch: usize, m: usize, k: usize, n: usize) -> Option<Case> {
    let mut net = Net::new();
    let a = net.input("a", floats(&[batch, m, k])?)?;
    let b = net.input("b", floats(&[batch, k, n])?)?;
    let y = net.node(Node::new("MatMul", [a, b], NONE))?;
    net.case(y)
}

fn unary(op: &str, elements: usize) -> Option<Case> {
    let mut net = Net::new();
    let x = net.input("x", floats(&[elements / ROW, ROW])?)?;
    let y = net.node(Node::new(op, [x], NONE))?;
    net.case(y)
}

fn binary(op: &str, elements: usize) -> Option<Case> {
    let mut net = Net::new();
    let a = net.input("a", floats(&[elements / ROW, ROW])?)?;
    let b = net.input("b", floats(&[elements / ROW, ROW])?)?;
    let y = net.node(Node::new(op, [a, b], NONE))?;
    net.case(y)
}

/// Elements in a row of an array.
const ROW: usize = 64;

/// Steps that copy, reduce, normalize, compare and convert.
fn moves(elements: usize) -> Vec<Case> {
    let rows = elements / ROW;
    let one = |build: &dyn Fn(&mut Net, ValueId) -> Option<ValueId>| {
        let mut net = Net::new();
        let x = net.input("x", floats(&[rows, ROW])?)?;
        let y = build(&mut net, x)?;
        net.case(y)
    };
    let ints = |net: &mut Net, numbers: &[i64]| net.constant(Tensor::vector(numbers.to_vec()));
    let cases = [
        one(&|net, x| net.node(Node::new("Transpose", [x], NONE))),
        one(&|net, x| net.node(Node::new("Concat", [x, x], NONE).with("axis", 1i64))),
        one(&|net, x| net.node(Node::new("Flatten", [x], NONE))),
        one(&|net, x| {
            let axes = ints(net, &[1])?;
            net.node(Node::new("ReduceMean", [x, axes], NONE))
        }),
        one(&|net, x| {
            let scale = net.constant(floats(&[ROW])?)?;
            let bias = net.constant(floats(&[ROW])?)?;
            net.node(Node::new("LayerNormalization", [x, scale, bias], NONE).with("axis", -1i64))
        }),
        one(&|net, x| {
            let bounds = [
                ints(net, &[0])?,
                ints(net, &[ROW as i64 / 2])?,
                ints(net, &[1])?,
            ];
            net.node(Node::new(
                "Slice",
                [x, bounds[0], bounds[1], bounds[2]],
                NONE,
            ))
        }),
        one(&|net, x| {
            let picked: Vec<i64> = (0..rows as i64).rev().collect();
            let picked = ints(net, &picked)?;
            net.node(Node::new("Gather", [x, picked], NONE))
        }),
        one(&|net, x| {
            let pads = ints(net, &[0, 1, 0, 1])?;
            net.node(Node::new("Pad", [x, pads], NONE))
        }),
        one(&|net, x| net.node(Node::new("Cast", [x], NONE).with("to", I32))),
        one(&|net, x| {
            let zero = net.constant(Tensor::scalar(0f32))?;
            net.node(Node::new("Greater", [x, zero], NONE))
        }),
        one(&|net, x| {
            let zero = net.constant(Tensor::scalar(0f32))?;
            let positive = net.node(Node::new("Greater", [x, zero], NONE))?;
            net.node(Node::new("Where", [positive, x, zero], NONE))
        }),
        one(&|net, x| {
            let shape = ints(net, &[2, rows as i64, ROW as i64])?;
            net.node(Node::new("Expand", [x, shape], NONE))
        }),
        one(&|net, x| net.node(Node::new("Sin", [x], NONE))),
        one(&|net, x| net.quantized(x)),
        one(&|net, x| {
            let q = net.quantized(x)?;
            net.dequantized(q)
        }),
    ];
    cases.into_iter().flatten().collect()
}

/// The number of i32 among the types of ONNX.
const I32: i64 = 6;

fn pools(channels: usize, size: usize) -> Vec<Case> {
    let one = |op: &str, window: Option<i64>| {
        let mut net = Net::new();
        let x = net.input("x", floats(&[1, channels, size, size])?)?;
        // Behind a convolution, images have their channels last, as in networks.
        let w = net.constant(floats(&[channels, channels, 1, 1])?)?;
        let x = net.node(Node::new("Conv", [x, w], NONE))?;
        let mut node = Node::new(op, [x], NONE);
        if let Some(taps) = window {
            node = node
                .with("kernel_shape", vec![taps; 2])
                .with("strides", vec![2i64; 2]);
        }
        let y = net.node(node)?;
        net.case(y)
    };
    let of_bytes = |op: &str| {
        let mut net = Net::new();
        let x = net.bytes(&[1, channels, size, size])?;
        let y = net.node(Node::new(op, [x], NONE))?;
        let y = net.quantized(y)?;
        net.case(y)
    };
    let sum = || {
        let mut net = Net::new();
        let x = net.bytes(&[1, channels, size, size])?;
        let y = net.node(Node::new("Add", [x, x], NONE))?;
        let y = net.quantized(y)?;
        net.case(y)
    };
    let cases = [
        one("MaxPool", Some(3)),
        one("AveragePool", Some(2)),
        one("GlobalAveragePool", None),
        of_bytes("GlobalAveragePool"),
        sum(),
    ];
    cases.into_iter().flatten().collect()
}

fn lstm(steps: usize, inputs: usize, units: usize) -> Option<Case> {
    let mut net = Net::new();
    let x = net.input("x", floats(&[steps, 1, inputs])?)?;
    let w = net.constant(floats(&[1, 4 * units, inputs])?)?;
    let r = net.constant(floats(&[1, 4 * units, units])?)?;
    let y = net.node(Node::new("LSTM", [x, w, r], NONE).with("hidden_size", units as i64))?;
    net.case(y)
}

/// No outputs: a node gets its own from [`Net::node`].
const NONE: [Option<ValueId>; 0] = [];

/// A graph under construction. What cannot be made is `None`, and the case is left out.
struct Net {
    graph: Graph,
    inputs: Vec<(&'static str, Tensor)>,
}

impl Net {
    fn new() -> Self {
        Self {
            graph: Graph::new("micro"),
            inputs: Vec::new(),
        }
    }

    fn input(&mut self, name: &'static str, tensor: Tensor) -> Option<ValueId> {
        let fact = Fact::tensor(tensor.dtype(), tensor.shape().iter().copied());
        let id = self.graph.add_value(name, fact).ok()?;
        self.graph.add_input(id);
        self.inputs.push((name, tensor));
        Some(id)
    }

    /// An input of bytes, dequantized.
    fn bytes(&mut self, shape: &[usize]) -> Option<ValueId> {
        let x = self.input("x", bytes(shape)?)?;
        self.dequantized(x)
    }

    fn constant(&mut self, tensor: Tensor) -> Option<ValueId> {
        self.graph.add_initializer("constant", tensor).ok()
    }

    /// Weights of bytes with one scale per slice of `axis`, dequantized.
    fn weight(&mut self, shape: &[usize], axis: usize) -> Option<ValueId> {
        let count = shape.iter().product();
        let numbers: Vec<i8> = (0..count)
            .map(|i: usize| (i * 37 % 251) as u8 as i8)
            .collect();
        let w = self.constant(Tensor::from_vec(shape, numbers).ok()?)?;
        let scales = self.constant(Tensor::vector(vec![0.01f32; shape[axis]]))?;
        let zeros = self.constant(Tensor::vector(vec![0i8; shape[axis]]))?;
        let node = Node::new("DequantizeLinear", [w, scales, zeros], NONE);
        self.node(node.with("axis", axis as i64))
    }

    fn quantized(&mut self, x: ValueId) -> Option<ValueId> {
        let scale = self.constant(Tensor::scalar(0.05f32))?;
        let zero = self.constant(Tensor::scalar(100u8))?;
        self.node(Node::new("QuantizeLinear", [x, scale, zero], NONE))
    }

    fn dequantized(&mut self, x: ValueId) -> Option<ValueId> {
        let scale = self.constant(Tensor::scalar(0.05f32))?;
        let zero = self.constant(Tensor::scalar(100u8))?;
        self.node(Node::new("DequantizeLinear", [x, scale, zero], NONE))
    }

    /// Adds a node; gives its result.
    fn node(&mut self, node: Node) -> Option<ValueId> {
        let y = self.graph.fresh_value("result", Fact::Unknown).ok()?;
        let mut new = Node::new(node.op_type.clone(), node.inputs().to_vec(), [y]);
        new.attributes = node.attributes;
        self.graph.add_node(new).ok()?;
        Some(y)
    }

    fn case(mut self, y: ValueId) -> Option<Case> {
        self.graph.add_output(y);
        Some(Case {
            model: Model::new(self.graph, 20),
            inputs: self.inputs,
        })
    }
}

/// Bytes of all sizes.
fn bytes(shape: &[usize]) -> Option<Tensor> {
    let count = shape.iter().product();
    let numbers = (0..count).map(|i: usize| (i * 37 % 251) as u8);
    Tensor::from_vec(shape, numbers.collect()).ok()
}

/// Numbers in -0.1..0.1, none so small that it slows sums down.
fn floats(shape: &[usize]) -> Option<Tensor> {
    let count = shape.iter().product();
    let numbers = (0..count).map(|i: usize| ((i * 37 % 97) as f32 - 48.3) / 480.0);
    Tensor::from_vec(shape, numbers.collect()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_makes_a_case() {
        let arrays = ARRAYS.len() * (UNARY.len() + BINARY.len() + 15);
        let products =
            2 * (CONVS.len() + BLOCKS.len() + PRODUCTS.len()) + SIGNALS.len() + DYNAMIC.len();
        assert_eq!(cases().len(), arrays + products + 3 * 5 + 2);
    }
}
