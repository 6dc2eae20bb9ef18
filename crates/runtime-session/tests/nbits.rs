//! `MatMulNBits` against the reference evaluator.

use compress_tensor::{DType, Tensor};
use onnx_ir::eval::Evaluator;
use onnx_ir::{Fact, Graph, Model, Node, Value, ValueId};
use runtime_session::{Session, SessionOptions};

fn numbers(seed: u32, shape: &[usize]) -> Tensor {
    let mut x = seed;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 8) as f32 / 8_388_608.0 - 1.0
    };
    let data = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_vec(shape, data).unwrap()
}

fn codes(seed: u32, shape: &[usize]) -> Tensor {
    let floats = numbers(seed, shape);
    let bytes = floats.data::<f32>().unwrap();
    let bytes = bytes.iter().map(|x| (x * 128.0 + 128.0) as u8).collect();
    Tensor::from_vec(shape, bytes).unwrap()
}

/// Numbers of a row, rows and block size of the weights.
const K: usize = 70;
const N: usize = 37;
const BLOCK: usize = 32;
const BLOCKS: usize = 3;

struct Net {
    graph: Graph,
    x: ValueId,
    bits: usize,
    input: Tensor,
}

impl Net {
    fn new(bits: usize, rows: &[usize]) -> Self {
        let shape = [rows, &[K]].concat();
        let mut graph = Graph::new("net");
        let fact = Fact::tensor(DType::F32, shape.iter().copied());
        let x = graph.add_value("x", fact).unwrap();
        graph.add_input(x);
        Self {
            graph,
            x,
            bits,
            input: numbers(1, &shape),
        }
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_initializer("w", tensor).unwrap()
    }

    fn codes(&mut self) -> ValueId {
        let codes = codes(2, &[N, BLOCKS, BLOCK * self.bits / 8]);
        self.constant(codes)
    }

    fn scales(&mut self) -> ValueId {
        self.constant(numbers(3, &[N * BLOCKS]))
    }

    /// The product with these inputs behind the scales.
    fn product(&mut self, more: &[Option<ValueId>], accuracy_level: i64) -> ValueId {
        let mut inputs = vec![Some(self.x), Some(self.codes()), Some(self.scales())];
        inputs.extend_from_slice(more);
        let y = self.graph.fresh_value("y", Fact::Unknown).unwrap();
        let node = Node::new("MatMulNBits", inputs, [y])
            .in_domain("com.microsoft")
            .with("K", K as i64)
            .with("N", N as i64)
            .with("bits", self.bits as i64)
            .with("block_size", BLOCK as i64)
            .with("accuracy_level", accuracy_level);
        self.graph.add_node(node).unwrap();
        y
    }

    fn op(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        let y = self.graph.fresh_value("t", Fact::Unknown).unwrap();
        let inputs = inputs.iter().copied().map(Some);
        self.graph.add_node(Node::new(op, inputs, [y])).unwrap();
        y
    }

    /// Compares `y` on every instruction set, within `bound`, and gives the kernels that ran.
    fn check(mut self, y: ValueId, bound: f32) -> Vec<&'static str> {
        self.graph.add_output(y);
        let mut model = Model::new(self.graph, 20);
        model.opsets.set("com.microsoft", 1);
        let expected = Evaluator::new(&model)
            .unwrap()
            .run([("x".to_owned(), Value::Tensor(self.input.clone()))])
            .unwrap();
        let expected = expected[0].as_tensor().unwrap().clone();
        let mut kernels = Vec::new();
        for isa in runtime_kernels::Isa::available() {
            let options = SessionOptions::default().with_isa(isa).with_profile();
            let session = Session::new(model.clone(), &options).unwrap();
            let found = session.run(&[("x", self.input.clone())]).unwrap().remove(0);
            assert_eq!(found.shape(), expected.shape());
            let (f, e) = (
                found.data::<f32>().unwrap(),
                expected.data::<f32>().unwrap(),
            );
            for (f, e) in f.iter().zip(e.iter()) {
                assert!((f - e).abs() <= bound, "{isa}: {f} is not {e}");
            }
            kernels = session.profile().rows.iter().map(|r| r.kernel).collect();
        }
        kernels
    }
}

#[test]
fn products_of_each_width_have_their_kernel() {
    for bits in [2, 4, 8] {
        for rows in [&[][..], &[1], &[2, 3], &[3, 7]] {
            let mut net = Net::new(bits, rows);
            let y = net.product(&[], 0);
            let bound = 1e-5 * (1 << bits) as f32;
            assert_eq!(net.check(y, bound), ["gemm.nbits"]);
        }
    }
}

#[test]
fn zero_points_bias_residual_and_activation_are_taken_along() {
    for bits in [2, 4, 8] {
        let mut net = Net::new(bits, &[5]);
        let row = (BLOCKS * bits).div_ceil(8);
        let zeros = net.constant(codes(5, &[N, row]));
        let bias = net.constant(numbers(6, &[N]));
        let p = net.product(&[Some(zeros), None, Some(bias)], 0);
        let (extra, residual) = (numbers(7, &[N]), numbers(9, &[5, N]));
        let (extra, residual) = (net.constant(extra), net.constant(residual));
        let s = net.op("Add", &[p, extra]);
        let s = net.op("Add", &[s, residual]);
        let y = net.op("Relu", &[s]);
        assert_eq!(net.check(y, 1e-5 * (1 << bits) as f32), ["gemm.nbits"]);
    }
    let mut net = Net::new(4, &[5]);
    let zeros = net.constant(numbers(8, &[N * BLOCKS]));
    let y = net.product(&[Some(zeros)], 0);
    assert_eq!(net.check(y, 1e-4), ["gemm.nbits"]);
}

/// The activations are within half a step of 1/127 of the block's largest; 70 terms of up to 8 times 1.
#[test]
fn accuracy_level_4_rounds_activations_to_8_bits() {
    let mut net = Net::new(4, &[9]);
    let y = net.product(&[], 4);
    assert_eq!(
        net.check(y, 0.5 / 127.0 * 8.0 * K as f32),
        ["gemm.nbits.int8"]
    );
}

#[test]
fn weights_that_vary_run_by_reference() {
    let mut net = Net::new(4, &[2]);
    let scales = net.graph.fresh_value("scales", Fact::Unknown).unwrap();
    let codes = net.codes();
    // The scales are the first numbers of the input.
    let shape = net.constant(Tensor::vector(vec![(N * BLOCKS) as i64]));
    let (from, axis) = (
        net.constant(Tensor::vector(vec![0i64])),
        net.constant(Tensor::vector(vec![-1i64])),
    );
    let flat = net.op("Reshape", &[net.x, axis]);
    let slice = Node::new("Slice", [flat, from, shape], [scales]);
    net.graph.add_node(slice).unwrap();
    let y = net.graph.fresh_value("y", Fact::Unknown).unwrap();
    let node = Node::new("MatMulNBits", [net.x, codes, scales], [y])
        .in_domain("com.microsoft")
        .with("K", K as i64)
        .with("N", N as i64)
        .with("block_size", BLOCK as i64);
    net.graph.add_node(node).unwrap();
    let kernels = net.check(y, 1e-4);
    assert!(kernels.contains(&"reference"), "{kernels:?}");
}
