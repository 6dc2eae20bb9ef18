//! Networks for digits.

use compress_quant::{DType, Tensor};
use compress_train::data::ArrayDataset;
use compress_train::loss::CrossEntropy;
use compress_train::trainer::{Trainer, TrainerConfig};
use onnx_ir::{Dim, Fact, Graph, Model, Node, ValueId};
use std::sync::{Arc, OnceLock};

/// The outputs of a node are named when it is added.
const NONE: [ValueId; 0] = [];

struct Builder {
    graph: Graph,
    state: u32,
}

impl Builder {
    fn weight(&mut self, name: &str, shape: &[usize], bound: f32) -> ValueId {
        let mut next = || {
            self.state = self
                .state
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            bound * ((self.state >> 8) as f32 / (1 << 23) as f32 - 1.0)
        };
        let values = (0..shape.iter().product()).map(|_| next()).collect();
        let tensor = Tensor::from_vec(shape, values).unwrap();
        self.graph.add_initializer(name, tensor).unwrap()
    }

    fn node(&mut self, node: Node, name: &str) -> ValueId {
        let y = self.graph.add_value(name, Fact::Unknown).unwrap();
        let node = node.named(name).with_outputs(vec![Some(y)]);
        self.graph.add_node(node).unwrap();
        y
    }

    /// A convolution and its normalisation.
    fn conv(&mut self, x: ValueId, [from, to, stride]: [usize; 3], name: &str) -> ValueId {
        let bound = (6.0 / (9 * from) as f32).sqrt();
        let w = self.weight(&format!("{name}_w"), &[to, from, 3, 3], bound);
        let node = Node::new("Conv", [x, w], NONE)
            .with("pads", vec![1i64; 4])
            .with("strides", vec![stride as i64; 2]);
        let y = self.node(node, name);
        let mut inputs = vec![y];
        for (what, value) in [
            ("gamma", 1f32),
            ("beta", 0.0),
            ("mean", 0.0),
            ("variance", 1.0),
        ] {
            let tensor = Tensor::vector(vec![value; to]);
            let tensor = self
                .graph
                .add_initializer(&format!("{name}_{what}"), tensor);
            inputs.push(tensor.unwrap());
        }
        self.node(
            Node::new("BatchNormalization", inputs, NONE),
            &format!("{name}_normalised"),
        )
    }

    fn relu(&mut self, x: ValueId, name: &str) -> ValueId {
        self.node(Node::new("Relu", [x], NONE), name)
    }
}

/// Three convolutions, a residual sum, global pooling and a linear layer.
pub(crate) fn residual() -> Model {
    let mut b = Builder {
        graph: Graph::new("residual"),
        state: 7,
    };
    let dims: [Dim; 4] = [
        Dim::symbol("batch"),
        1usize.into(),
        8usize.into(),
        8usize.into(),
    ];
    let x = b
        .graph
        .add_value("image", Fact::tensor(DType::F32, dims))
        .unwrap();
    b.graph.add_input(x);
    let y = b.conv(x, [1, 8, 1], "conv1");
    let y = b.relu(y, "relu1");
    let y = b.conv(y, [8, 12, 2], "conv2");
    let skip = b.relu(y, "relu2");
    let y = b.conv(skip, [12, 12, 1], "conv3");
    let y = b.node(Node::new("Add", [y, skip], NONE), "sum");
    let y = b.relu(y, "relu3");
    let y = b.node(Node::new("GlobalAveragePool", [y], NONE), "mean");
    let y = b.node(Node::new("Flatten", [y], NONE), "flat");
    let w = b.weight("linear_w", &[12, 10], 0.5);
    let bias = b.weight("linear_b", &[10], 0.1);
    let y = b.node(Node::new("Gemm", [y, w, bias], NONE), "logits");
    b.graph.add_output(y);
    Model::new(b.graph, 17)
}

pub(crate) fn fit(model: &Model, data: ArrayDataset, config: TrainerConfig) -> Model {
    let mut trainer = Trainer::new(model, CrossEntropy::default(), config).unwrap();
    trainer.fit(Arc::new(data), None).unwrap();
    trainer.model().unwrap()
}

/// The network after it learned the digits, as floats.
pub(crate) fn trained() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let mut config = TrainerConfig::default();
        (config.epochs, config.batch) = (12, 32);
        // The file's weights were drawn and never trained.
        (config.learning_rate, config.step_share) =
            (Some(0.1), Some(TrainerConfig::FRESH_STEP_SHARE));
        let data = crate::digits::dataset(0..crate::digits::TRAINING);
        fit(&residual(), data, config)
    })
}
