//! Small models that hold the steps of the families that people run.

use modelpress::ir::{Attribute, Dim, Fact, Graph, Model, Node, ValueId};
use modelpress::tensor::{DType, Tensor};
use std::sync::Arc;

/// Numbers that look random and are the same on every machine.
pub(crate) fn numbers(shape: &[usize], seed: u32) -> Tensor {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) / 2.0
    };
    let count = shape.iter().product::<usize>();
    Tensor::from_vec(shape, (0..count).map(|_| next()).collect::<Vec<_>>()).unwrap()
}

/// A graph that is written node by node.
struct Builder(Graph);

impl Builder {
    fn new(name: &str) -> Self {
        Self(Graph::new(name))
    }

    fn input(&mut self, name: &str, dtype: DType, dims: &[Dim]) -> ValueId {
        let fact = Fact::tensor(dtype, dims.iter().cloned());
        let x = self.0.add_value(name, fact).unwrap();
        self.0.add_input(x);
        x
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        let name = format!("constant{}", self.0.value_bound());
        self.0.add_initializer(&name, tensor).unwrap()
    }

    fn weight(&mut self, shape: &[usize]) -> ValueId {
        let seed = u32::try_from(self.0.value_bound()).unwrap();
        self.constant(numbers(shape, seed))
    }

    fn ints(&mut self, values: &[i64]) -> ValueId {
        self.constant(Tensor::vector(values.to_vec()))
    }

    fn add(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        self.add_with(op, inputs, |node| node)
    }

    fn add_with(
        &mut self,
        op: &str,
        inputs: &[ValueId],
        attributes: impl FnOnce(Node) -> Node,
    ) -> ValueId {
        let name = format!("value{}", self.0.value_bound());
        let y = self.0.add_value(&name, Fact::Unknown).unwrap();
        let node = attributes(Node::new(op, inputs.iter().copied(), [y]).named(name));
        self.0.add_node(node).unwrap();
        y
    }

    fn finish(mut self, outputs: &[ValueId]) -> Model {
        outputs.iter().for_each(|&y| self.0.add_output(y));
        Model::new(self.0, 17)
    }
}

/// Plain, strided, depthwise and pointwise convolutions with a residual, pooling and a classifier.
pub(crate) fn convolutional() -> Model {
    let mut b = Builder::new("convolutional");
    let sizes = [
        Dim::symbol("batch"),
        3usize.into(),
        16usize.into(),
        16usize.into(),
    ];
    let x = b.input("x", DType::F32, &sizes);
    let conv = |b: &mut Builder, x, shape: [usize; 4], group: i64, pads: i64| {
        let (w, bias) = (b.weight(&shape), b.weight(&shape[..1]));
        b.add_with("Conv", &[x, w, bias], |node| {
            node.with("group", group).with("pads", vec![pads; 4])
        })
    };
    let pads = b.ints(&[0, 0, 1, 1, 0, 0, 1, 1]);
    let x = b.add("Pad", &[x, pads]);
    let stem = conv(&mut b, x, [16, 3, 3, 3], 1, 0);
    let stem = b.add("Relu", &[stem]);
    let depthwise = conv(&mut b, stem, [16, 1, 3, 3], 16, 1);
    let depthwise = b.add("Relu", &[depthwise]);
    let pointwise = conv(&mut b, depthwise, [16, 16, 1, 1], 1, 0);
    let sum = b.add("Add", &[pointwise, stem]);
    let sum = b.add("Relu", &[sum]);
    let pooled = b.add_with("MaxPool", &[sum], |node| {
        node.with("kernel_shape", vec![2i64, 2])
            .with("strides", vec![2i64, 2])
    });
    let w = b.weight(&[24, 16, 3, 3]);
    let strided = b.add_with("Conv", &[pooled, w], |node| {
        node.with("strides", vec![2i64, 2])
            .with("auto_pad", "SAME_UPPER")
    });
    let mean = b.add("GlobalAveragePool", &[strided]);
    let flat = b.add("Flatten", &[mean]);
    let (w, bias) = (b.weight(&[24, 10]), b.weight(&[10]));
    let logits = b.add("Gemm", &[flat, w, bias]);
    let classes = b.add("Softmax", &[logits]);
    b.finish(&[classes])
}

/// Windows that are convolved by the fast Fourier transform: over all channels, and depthwise.
pub(crate) fn large_windows() -> Model {
    let mut b = Builder::new("large windows");
    let sizes = [
        Dim::symbol("batch"),
        3usize.into(),
        40usize.into(),
        40usize.into(),
    ];
    let x = b.input("x", DType::F32, &sizes);
    let conv = |b: &mut Builder, x, shape: [usize; 4], group: i64| {
        let w = b.weight(&shape);
        let pads = shape[2] as i64 / 2;
        b.add_with("Conv", &[x, w], |node| {
            node.with("group", group).with("pads", vec![pads; 4])
        })
    };
    let dense = conv(&mut b, x, [20, 3, 15, 15], 1);
    let depthwise = conv(&mut b, dense, [20, 1, 31, 31], 20);
    b.finish(&[depthwise])
}

/// One layer of an encoder of token numbers `[batch, sequence]`: embedding, attention of four heads, a feed-forward
/// layer, and the mean over the sequence.
pub(crate) fn encoder() -> Model {
    let mut b = Builder::new("encoder");
    let sizes = [Dim::symbol("batch"), Dim::symbol("sequence")];
    let ids = b.input("x", DType::I64, &sizes);
    let (tokens, places) = (b.weight(&[50, 16]), b.weight(&[64, 16]));
    let x = b.add("Gather", &[tokens, ids]);
    let shape = b.add("Shape", &[ids]);
    let (zero, one, two) = (b.ints(&[0]), b.ints(&[1]), b.ints(&[2]));
    let length = b.add("Slice", &[shape, one, two]);
    let places = b.add("Slice", &[places, zero, length, zero]);
    let x = b.add("Add", &[x, places]);
    let normalized = norm(&mut b, x);

    let heads = b.ints(&[0, 0, 4, 4]);
    let head = |b: &mut Builder, perm: [i64; 4]| {
        let y = linear(b, normalized, 16, 16);
        let y = b.add("Reshape", &[y, heads]);
        b.add_with("Transpose", &[y], |node| node.with("perm", perm.to_vec()))
    };
    let q = head(&mut b, [0, 2, 1, 3]);
    let k = head(&mut b, [0, 2, 3, 1]);
    let v = head(&mut b, [0, 2, 1, 3]);
    let scores = b.add("MatMul", &[q, k]);
    let half = b.constant(Tensor::scalar(0.5f32));
    let scores = b.add("Mul", &[scores, half]);
    let attention = b.add_with("Softmax", &[scores], |node| node.with("axis", -1i64));
    let mixed = b.add("MatMul", &[attention, v]);
    let perm = vec![0i64, 2, 1, 3];
    let mixed = b.add_with("Transpose", &[mixed], |node| node.with("perm", perm));
    let joined = b.ints(&[0, 0, 16]);
    let mixed = b.add("Reshape", &[mixed, joined]);
    let mixed = linear(&mut b, mixed, 16, 16);
    let x = b.add("Add", &[mixed, x]);

    let normalized = norm(&mut b, x);
    let wide = linear(&mut b, normalized, 16, 64);
    let wide = b.add("Sigmoid", &[wide]);
    let narrow = linear(&mut b, wide, 64, 16);
    let x = b.add("Add", &[narrow, x]);
    let mean = b.add_with("ReduceMean", &[x], |node| {
        node.with("axes", vec![1i64]).with("keepdims", 0i64)
    });
    let squares = b.add("Mul", &[mean, mean]);
    let both = b.add_with("Concat", &[mean, squares], |node| node.with("axis", 1i64));
    b.finish(&[x, both])
}

fn norm(b: &mut Builder, x: ValueId) -> ValueId {
    let (scale, offset) = (b.weight(&[16]), b.weight(&[16]));
    b.add("LayerNormalization", &[x, scale, offset])
}

fn linear(b: &mut Builder, x: ValueId, depth: usize, width: usize) -> ValueId {
    let (w, bias) = (b.weight(&[depth, width]), b.weight(&[width]));
    let product = b.add("MatMul", &[x, w]);
    b.add("Add", &[product, bias])
}

/// Recurrent layers over `[steps, batch, 6]`, with a linear layer behind.
pub(crate) fn recurrent() -> Model {
    let mut b = Builder::new("recurrent");
    let sizes = [Dim::symbol("steps"), Dim::symbol("batch"), 6usize.into()];
    let mut x = b.input("x", DType::F32, &sizes);
    let mut depth = 6;
    for (op, gates) in [("LSTM", 4), ("GRU", 3), ("RNN", 1)] {
        let (w, r) = (
            b.weight(&[1, gates * 8, depth]),
            b.weight(&[1, gates * 8, 8]),
        );
        let y = b.add_with(op, &[x, w, r], |node| node.with("hidden_size", 8i64));
        let direction = b.ints(&[1]);
        (x, depth) = (b.add("Squeeze", &[y, direction]), 8);
    }
    let y = linear(&mut b, x, 8, 5);
    b.finish(&[y])
}

/// `y = x > 0 ? -x : x` (`-|x|`) of one number, by `If`, whose branches run as plans of their own.
pub(crate) fn branching() -> Model {
    let branch = |op: &str| {
        let mut b = Builder::new(op);
        // Captured by name from the graph around.
        let x = b.0.add_value("x", Fact::Unknown).unwrap();
        let name = format!("{op}_result");
        let y = b.0.add_value(&name, Fact::Unknown).unwrap();
        b.0.add_node(Node::new(op, [x], [y])).unwrap();
        b.0.add_output(y);
        Attribute::Graph(Arc::new(b.0))
    };
    let mut b = Builder::new("branching");
    let x = b.input("x", DType::F32, &[]);
    let zero = b.constant(Tensor::scalar(0.0f32));
    let positive = b.add("Greater", &[x, zero]);
    let y = b.add_with("If", &[positive], |node| {
        node.with("then_branch", branch("Neg"))
            .with("else_branch", branch("Identity"))
    });
    b.finish(&[y])
}

/// A convolution and a product of bytes whose weights have zero points, as files with unsigned weights have.
pub(crate) fn asymmetric() -> Model {
    let mut b = Builder::new("asymmetric");
    let sizes = [
        Dim::symbol("batch"),
        3usize.into(),
        6usize.into(),
        6usize.into(),
    ];
    let x = b.input("x", DType::F32, &sizes);
    let scale = b.constant(Tensor::scalar(0.004f32));
    let zero = b.constant(Tensor::scalar(120u8));
    let codes = |b: &mut Builder, shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        let codes = (0..count).map(|i| (i * 37 % 251) as u8).collect::<Vec<_>>();
        b.constant(Tensor::from_vec(shape, codes).unwrap())
    };
    let x = b.add("QuantizeLinear", &[x, scale, zero]);
    let w = codes(&mut b, &[4, 3, 3, 3]);
    let x = b.add(
        "QLinearConv",
        &[x, scale, zero, w, scale, zero, scale, zero],
    );
    let x = b.add("Flatten", &[x]);
    let w = codes(&mut b, &[64, 5]);
    let x = b.add(
        "QLinearMatMul",
        &[x, scale, zero, w, scale, zero, scale, zero],
    );
    let y = b.add("DequantizeLinear", &[x, scale, zero]);
    b.finish(&[y])
}
