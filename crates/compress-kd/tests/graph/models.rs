//! Small models, built here.

use compress_tensor::{DType, Tensor};
use compress_train::random::{Purpose, Random};
use onnx_ir::{Attribute, Dim, Fact, Graph, Model, Node, ValueId};

const NONE: [ValueId; 0] = [];

/// Builds a graph node by node.
pub(crate) struct Builder {
    pub(crate) graph: Graph,
    random: Random,
}

impl Builder {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            graph: Graph::new("network"),
            random: Random::new(seed, Purpose::Initialize, 0, 0),
        }
    }

    pub(crate) fn input(&mut self, name: &str, dtype: DType, shape: &[usize]) -> ValueId {
        let batch = Dim::symbol("batch");
        let shape = std::iter::once(batch).chain(shape.iter().map(|&n| Dim::from(n)));
        let shape: Vec<Dim> = shape.collect();
        let id = self
            .graph
            .add_value(name, Fact::tensor(dtype, shape))
            .unwrap();
        self.graph.add_input(id);
        id
    }

    /// Uniform numbers.
    pub(crate) fn weight(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let count = shape.iter().product();
        let inner: usize = shape.iter().skip(1).product();
        let bound = (1.5 / inner.max(1) as f64).sqrt();
        let values = (0..count).map(|_| self.random.between(-bound, bound) as f32);
        let values = values.collect();
        self.constant(name, Tensor::from_vec(shape, values).unwrap())
    }

    /// Numbers around another.
    pub(crate) fn around(&mut self, name: &str, count: usize, middle: f64) -> ValueId {
        let values = (0..count).map(|_| (middle + self.random.between(-0.2, 0.2)) as f32);
        let values = values.collect();
        self.constant(name, Tensor::vector(values))
    }

    pub(crate) fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        self.graph.add_initializer(name, tensor).unwrap()
    }

    pub(crate) fn node(&mut self, node: Node, name: &str) -> ValueId {
        let y = self.graph.add_value(name, Fact::Unknown).unwrap();
        let node = node.named(format!("{name}_node"));
        self.graph
            .add_node(node.with_outputs(vec![Some(y)]))
            .unwrap();
        y
    }

    pub(crate) fn op(&mut self, op: &str, inputs: &[ValueId], name: &str) -> ValueId {
        self.node(Node::new(op, inputs.to_vec(), NONE), name)
    }

    /// A convolution of 3 x 3 (1 x 1 where `window` is 1) that keeps the size.
    pub(crate) fn conv(
        &mut self,
        x: ValueId,
        name: &str,
        (inputs, outputs): (usize, usize),
        (window, groups): (usize, usize),
    ) -> ValueId {
        let w = self.weight(
            &format!("{name}.weight"),
            &[outputs, inputs / groups, window, window],
        );
        let b = self.around(&format!("{name}.bias"), outputs, 0.0);
        let pad = (window / 2) as i64;
        let node = Node::new("Conv", [x, w, b], NONE)
            .with("pads", Attribute::Ints(vec![pad; 4]))
            .with("group", Attribute::Int(groups as i64));
        self.node(node, name)
    }

    pub(crate) fn norm(&mut self, x: ValueId, name: &str, channels: usize) -> ValueId {
        let mut input = vec![x];
        for (part, middle) in [("scale", 1.0), ("shift", 0.0), ("mean", 0.0), ("var", 1.0)] {
            input.push(self.around(&format!("{name}.{part}"), channels, middle));
        }
        self.op("BatchNormalization", &input, name)
    }

    pub(crate) fn linear(
        &mut self,
        x: ValueId,
        name: &str,
        (inputs, outputs): (usize, usize),
    ) -> ValueId {
        let w = self.weight(&format!("{name}.weight"), &[inputs, outputs]);
        let b = self.around(&format!("{name}.bias"), outputs, 0.0);
        let y = self.op("MatMul", &[x, w], &format!("{name}.product"));
        self.op("Add", &[y, b], name)
    }

    pub(crate) fn layer_norm(&mut self, x: ValueId, name: &str, width: usize) -> ValueId {
        let scale = self.around(&format!("{name}.scale"), width, 1.0);
        let shift = self.around(&format!("{name}.shift"), width, 0.0);
        self.op("LayerNormalization", &[x, scale, shift], name)
    }

    pub(crate) fn finish(mut self, outputs: &[ValueId]) -> Model {
        for &output in outputs {
            self.graph.add_output(output);
        }
        Model::new(self.graph, 17)
    }
}

/// A residual network of images `image` `[batch, 3, 4, 4]` with depthwise and grouped convolutions, a concatenation and a
/// classifier: `logits` `[batch, 5]`; `hidden` is its last image.
pub(crate) fn residual(seed: u64) -> Model {
    let mut b = Builder::new(seed);
    let image = b.input("image", DType::F32, &[3, 4, 4]);
    let stem = b.conv(image, "stem", (3, 8), (3, 1));
    let stem = b.norm(stem, "stem.norm", 8);
    let mut at = b.op("Relu", &[stem], "stem.relu");
    for block in ["a", "b"] {
        let x = b.conv(at, &format!("{block}.wide"), (8, 12), (1, 1));
        let x = b.op("Relu", &[x], &format!("{block}.relu"));
        let x = b.conv(x, &format!("{block}.depthwise"), (12, 12), (3, 12));
        let x = b.norm(x, &format!("{block}.norm"), 12);
        let x = b.conv(x, &format!("{block}.narrow"), (12, 8), (1, 1));
        at = b.op("Add", &[at, x], &format!("{block}.sum"));
    }
    let grouped = b.conv(at, "grouped", (8, 8), (3, 2));
    let joined = Node::new("Concat", [at, grouped], NONE).with("axis", 1i64);
    let joined = b.node(joined, "joined");
    let hidden = b.conv(joined, "last", (16, 6), (3, 1));
    let hidden = b.op("Relu", &[hidden], "hidden");
    let flat = b.op("Flatten", &[hidden], "flat");
    let w = b.weight("classifier.weight", &[5, 6 * 16]);
    let bias = b.around("classifier.bias", 5, 0.0);
    let gemm = Node::new("Gemm", [flat, w, bias], NONE).with("transB", 1i64);
    let logits = b.node(gemm, "logits");
    b.finish(&[logits])
}

/// A transformer of so many layers over tokens `ids` `[batch, 6]` with `mask`: `states` `[batch, 6, 8]`, two heads, normalisations
/// behind the residual sums as in BERT. Layer `l` ends in `l.out`.
pub(crate) fn transformer(seed: u64, layers: usize) -> Model {
    let mut b = Builder::new(seed);
    let ids = b.input("ids", DType::I64, &[6]);
    let mask = b.input("mask", DType::F32, &[6]);
    let table = b.weight("embeddings", &[20, 8]);
    let words = b.op("Gather", &[table, ids], "words");
    let positions = b.weight("positions", &[6, 8]);
    let sum = b.op("Add", &[words, positions], "embedded");
    let mut at = b.layer_norm(sum, "embedded.norm", 8);
    let one = b.constant("one", Tensor::scalar(1f32));
    let far = b.constant("far", Tensor::scalar(-1e4f32));
    let axes = b.constant("axes", Tensor::vector(vec![1i64, 2]));
    let open = b.op("Sub", &[one, mask], "closed");
    let open = b.op("Mul", &[open, far], "penalty");
    let penalty = b.op("Unsqueeze", &[open, axes], "penalty.wide");
    let heads = b.constant("heads", Tensor::vector(vec![0i64, 0, 2, 4]));
    let joined = b.constant("joined", Tensor::vector(vec![0i64, 0, 8]));
    let scale = b.constant("scale", Tensor::scalar(0.5f32));
    for layer in 0..layers {
        let n = |part: &str| format!("{layer}.{part}");
        let [q, k, v] = ["q", "k", "v"].map(|part| {
            let x = b.linear(at, &n(part), (8, 8));
            let x = b.op("Reshape", &[x, heads], &n(&format!("{part}.heads")));
            let perm = if part == "k" {
                vec![0, 2, 3, 1]
            } else {
                vec![0, 2, 1, 3]
            };
            let node = Node::new("Transpose", [x], NONE).with("perm", Attribute::Ints(perm));
            b.node(node, &n(&format!("{part}.turned")))
        });
        let scores = b.op("MatMul", &[q, k], &n("dots"));
        let scores = b.op("Mul", &[scores, scale], &n("scaled"));
        let scores = b.op("Add", &[scores, penalty], &n("scores"));
        let shares = b.op("Softmax", &[scores], &n("shares"));
        let context = b.op("MatMul", &[shares, v], &n("context"));
        let node =
            Node::new("Transpose", [context], NONE).with("perm", Attribute::Ints(vec![0, 2, 1, 3]));
        let context = b.node(node, &n("back"));
        let context = b.op("Reshape", &[context, joined], &n("joined"));
        let attended = b.linear(context, &n("attended"), (8, 8));
        let sum = b.op("Add", &[at, attended], &n("sum"));
        let middle = b.layer_norm(sum, &n("norm"), 8);
        let wide = b.linear(middle, &n("wide"), (8, 16));
        let wide = b.op("Tanh", &[wide], &n("active"));
        let narrow = b.linear(wide, &n("narrow"), (16, 8));
        let sum = b.op("Add", &[middle, narrow], &n("sum2"));
        at = b.layer_norm(sum, &n("out"), 8);
    }
    let states = b.op("Identity", &[at], "states");
    b.finish(&[states])
}

/// `count` tokens of seed-drawn ids, and masks that leave out the last tokens of some.
pub(crate) fn sentences(count: usize, seed: u64) -> [(&'static str, Tensor); 2] {
    let mut random = Random::new(seed, Purpose::Custom(1), 0, 0);
    let ids = (0..count * 6).map(|_| random.below(20) as i64).collect();
    let mask = (0..count).flat_map(|i| (0..6).map(move |t| if t < 6 - i % 3 { 1f32 } else { 0.0 }));
    let mask = Tensor::from_vec(&[count, 6], mask.collect()).unwrap();
    [
        ("ids", Tensor::from_vec(&[count, 6], ids).unwrap()),
        ("mask", mask),
    ]
}

/// `count` images of noise.
pub(crate) fn images(count: usize, seed: u64) -> Tensor {
    let mut random = Random::new(seed, Purpose::Custom(2), 0, 0);
    let values = (0..count * 48).map(|_| random.between(-1.0, 1.0) as f32);
    Tensor::from_vec(&[count, 3, 4, 4], values.collect()).unwrap()
}
