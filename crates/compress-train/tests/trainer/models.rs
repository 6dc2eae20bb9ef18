//! Small models, built here.

use compress_tensor::{DType, Tensor};
use compress_train::random::{Purpose, Random};
use onnx_ir::{Attribute, Dim, Fact, Graph, Model, Node, ValueId};

/// The outputs of a node are named when it is added.
const NONE: [ValueId; 0] = [];

/// Builds a graph layer by layer.
pub(crate) struct Builder {
    pub(crate) graph: Graph,
    random: Random,
    at: ValueId,
    channels: usize,
}

impl Builder {
    /// Images `[batch, channels, side, side]` called `image`.
    pub(crate) fn images(channels: usize, side: usize) -> Self {
        let mut graph = Graph::new("network");
        let shape: [Dim; 4] = [
            Dim::symbol("batch"),
            channels.into(),
            side.into(),
            side.into(),
        ];
        let at = graph
            .add_value("image", Fact::tensor(DType::F32, shape))
            .unwrap();
        graph.add_input(at);
        Self {
            graph,
            random: Random::new(11, Purpose::Initialize, 0, 0),
            at,
            channels,
        }
    }

    fn weight(&mut self, name: &str, shape: &[usize], bound: f64) -> ValueId {
        let count = shape.iter().product();
        let values = (0..count)
            .map(|_| self.random.between(-bound, bound) as f32)
            .collect();
        self.graph
            .add_initializer(name, Tensor::from_vec(shape, values).unwrap())
            .unwrap()
    }

    fn constant(&mut self, name: &str, count: usize, value: f32) -> ValueId {
        self.graph
            .add_initializer(name, Tensor::vector(vec![value; count]))
            .unwrap()
    }

    fn node(&mut self, node: Node, name: &str) {
        let y = self.graph.add_value(name, Fact::Unknown).unwrap();
        self.graph
            .add_node(node.named(name).with_outputs(vec![Some(y)]))
            .unwrap();
        self.at = y;
    }

    pub(crate) fn conv(mut self, name: &str, outputs: usize, stride: i64) -> Self {
        let bound = 1.0 / ((self.channels * 9) as f64).sqrt();
        let w = self.weight(
            &format!("{name}.weight"),
            &[outputs, self.channels, 3, 3],
            bound,
        );
        let node = Node::new("Conv", [self.at, w], NONE)
            .with("pads", Attribute::Ints(vec![1, 1, 1, 1]))
            .with("strides", Attribute::Ints(vec![stride, stride]))
            .with("kernel_shape", Attribute::Ints(vec![3, 3]));
        self.channels = outputs;
        self.node(node, name);
        self
    }

    pub(crate) fn norm(mut self, name: &str) -> Self {
        let channels = self.channels;
        let parts = [("scale", 1.0), ("bias", 0.0), ("mean", 0.0), ("var", 1.0)];
        let parts =
            parts.map(|(part, value)| self.constant(&format!("{name}.{part}"), channels, value));
        let node = Node::new(
            "BatchNormalization",
            [&[self.at], &parts[..]].concat(),
            NONE,
        );
        self.node(node, name);
        self
    }

    pub(crate) fn apply(mut self, operator: &str, name: &str) -> Self {
        let node = Node::new(operator, [self.at], NONE);
        self.node(node, name);
        self
    }

    pub(crate) fn dropout(mut self, name: &str, ratio: f32) -> Self {
        let ratio = self
            .graph
            .add_initializer("ratio", Tensor::scalar(ratio))
            .unwrap();
        let node = Node::new("Dropout", [self.at, ratio], NONE);
        self.node(node, name);
        self
    }

    pub(crate) fn classifier(mut self, classes: usize) -> Self {
        self = self
            .apply("GlobalAveragePool", "pooled")
            .apply("Flatten", "flat");
        let bound = 1.0 / (self.channels as f64).sqrt();
        let w = self.weight("classifier.weight", &[classes, self.channels], bound);
        let b = self.constant("classifier.bias", classes, 0.0);
        let node = Node::new("Gemm", [self.at, w, b], NONE).with("transB", 1i64);
        self.node(node, "logits");
        self
    }

    pub(crate) fn finish(mut self) -> Model {
        self.graph.add_output(self.at);
        Model::new(self.graph, 17)
    }
}

/// Two convolutions with batch normalization, and a classifier of ten.
pub(crate) fn digits_cnn() -> Model {
    Builder::images(1, 8)
        .conv("first", 8, 2)
        .norm("first_norm")
        .apply("Relu", "first_relu")
        .conv("second", 16, 2)
        .norm("second_norm")
        .apply("Relu", "second_relu")
        .classifier(10)
        .finish()
}
