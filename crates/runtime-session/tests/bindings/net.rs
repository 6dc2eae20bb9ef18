//! Small graphs under construction, run on every instruction set and by reference.

use compress_tensor::{DType, Tensor};
use onnx_ir::eval::Evaluator;
use onnx_ir::{Fact, Graph, Model, Node, Value, ValueId};
use runtime_session::{Session, SessionOptions};

/// A graph under construction: one f32 input `x`.
pub(crate) struct Net {
    pub(crate) graph: Graph,
    pub(crate) x: ValueId,
    shape: Vec<usize>,
    pub(crate) opset: i64,
    count: usize,
}

impl Net {
    pub(crate) fn new(shape: &[usize]) -> Self {
        let mut graph = Graph::new("net");
        let x = graph
            .add_value("x", Fact::tensor(DType::F32, shape.iter().copied()))
            .unwrap();
        graph.add_input(x);
        Self {
            graph,
            x,
            shape: shape.to_vec(),
            opset: 20,
            count: 0,
        }
    }

    /// Deterministic numbers in about `-1..1`.
    pub(crate) fn numbers(seed: usize, len: usize) -> Vec<f32> {
        (0..len)
            .map(|i| (((i * 37 + seed * 101 + 11) % 97) as f32 - 48.0) / 48.0)
            .collect()
    }

    pub(crate) fn weight(&mut self, shape: &[usize]) -> ValueId {
        self.count += 1;
        let data = Self::numbers(self.count, shape.iter().product());
        self.constant(Tensor::from_vec(shape, data).unwrap())
    }

    pub(crate) fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_initializer("w", tensor).unwrap()
    }

    pub(crate) fn op(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        self.node(Node::new(
            op,
            inputs.iter().copied().map(Some),
            [None::<ValueId>; 0],
        ))
    }

    pub(crate) fn node(&mut self, node: Node) -> ValueId {
        let [y] = self.outputs(node);
        y
    }

    /// Adds a node of so many outputs.
    pub(crate) fn outputs<const N: usize>(&mut self, node: Node) -> [ValueId; N] {
        let ys = [(); N].map(|()| self.graph.fresh_value("t", Fact::Unknown).unwrap());
        let mut new = Node::new(node.op_type.clone(), node.inputs().to_vec(), ys)
            .in_domain(node.domain.clone());
        new.attributes = node.attributes;
        self.graph.add_node(new).unwrap();
        ys
    }

    /// `DequantizeLinear(QuantizeLinear(x))` in u8.
    pub(crate) fn quantized(&mut self, x: ValueId, scale: f32, zero_point: u8) -> ValueId {
        let s = self.constant(Tensor::scalar(scale));
        let z = self.constant(Tensor::scalar(zero_point));
        let q = self.op("QuantizeLinear", &[x, s, z]);
        self.op("DequantizeLinear", &[q, s, z])
    }

    /// Constant int8 weights with a scale per slice of `axis`, dequantized.
    pub(crate) fn int8_weight(&mut self, shape: &[usize], axis: usize) -> (ValueId, Vec<f32>) {
        self.count += 1;
        let data = Self::numbers(self.count, shape.iter().product());
        let data = data.into_iter().map(|v| (v * 127.0) as i8).collect();
        let scales: Vec<f32> = (0..shape[axis]).map(|i| 0.004 + 0.001 * i as f32).collect();
        let q = self.constant(Tensor::from_vec(shape, data).unwrap());
        let s = self.constant(Tensor::vector(scales.clone()));
        let z = self.constant(Tensor::vector(vec![0i8; shape[axis]]));
        let inputs = [Some(q), Some(s), Some(z)];
        let node =
            Node::new("DequantizeLinear", inputs, [None::<ValueId>; 0]).with("axis", axis as i64);
        (self.node(node), scales)
    }

    pub(crate) fn int32_bias(&mut self, x_scale: f32, w_scales: &[f32]) -> ValueId {
        let data = (0..w_scales.len()).map(|i| 300 * i as i32 - 500).collect();
        let scales = w_scales.iter().map(|w| x_scale * w).collect();
        let q = self.constant(Tensor::vector::<i32>(data));
        let s = self.constant(Tensor::vector::<f32>(scales));
        let node = Node::new("DequantizeLinear", [Some(q), Some(s)], [None::<ValueId>; 0])
            .with("axis", 0i64);
        self.node(node)
    }

    /// Runs sessions and reference; gives the result on each instruction set, the expected one and the kernels that ran.
    pub(crate) fn run(mut self, y: ValueId) -> (Vec<Vec<f32>>, Vec<f32>, Vec<&'static str>) {
        self.graph.add_output(y);
        let model = Model::new(self.graph, self.opset);
        let data = Self::numbers(0, self.shape.iter().product());
        let x = Tensor::from_vec(&self.shape, data).unwrap();
        let expected = Evaluator::new(&model)
            .unwrap()
            .run([("x".to_owned(), Value::Tensor(x.clone()))])
            .unwrap();
        let expected = expected[0].as_tensor().unwrap().clone();
        let mut results = Vec::new();
        let mut kernels = Vec::new();
        for isa in runtime_kernels::Isa::available() {
            let options = SessionOptions::default().with_profile().with_isa(isa);
            let session = Session::new(model.clone(), &options).unwrap();
            session.run(&[("x", x.clone())]).unwrap();
            let found = session.run(&[("x", x.clone())]).unwrap().remove(0);
            assert_eq!(found.shape(), expected.shape());
            assert_eq!(found.dtype(), expected.dtype());
            results.push(floats(&found));
            kernels = session.profile().rows.iter().map(|r| r.kernel).collect();
        }
        (results, floats(&expected), kernels)
    }

    pub(crate) fn check_close(self, y: ValueId, kernels: &[&str]) {
        let (found, expected, ran) = self.run(y);
        assert_eq!(ran, kernels);
        for found in found {
            for (f, e) in found.iter().zip(&expected) {
                assert!((f - e).abs() <= 1e-5 + 1e-5 * e.abs(), "{f} is not {e}");
            }
        }
    }

    pub(crate) fn check_equal(self, y: ValueId, kernels: &[&str]) {
        let (found, expected, ran) = self.run(y);
        assert_eq!(ran, kernels);
        for found in found {
            assert_eq!(found, expected);
        }
    }
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    match tensor.dtype() {
        DType::U8 => tensor
            .data::<u8>()
            .unwrap()
            .iter()
            .map(|&v| v.into())
            .collect(),
        _ => tensor.data::<f32>().unwrap().into_owned(),
    }
}
