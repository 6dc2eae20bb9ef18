//! What passes promise: the same results before and after, and reasons where they decline.

use compress_tensor::{DType, Tensor};
use onnx_ir::eval::Evaluator;
use onnx_ir::infer::infer_shapes;
use onnx_ir::passes::{
    Dialect, EliminateIdentity, FoldBatchNorm, FuseActivation, FuseAttention, FuseGelu,
    FuseLayerNorm, FuseLinear, simplify,
};
use onnx_ir::rewrite::{self, Rewrite, RewriteReport};
use onnx_ir::{Catalog, Fact, Graph, Model, Node, ValueId};

fn noise(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn floats(shape: &[usize], seed: u32) -> Tensor {
    Tensor::from_vec(shape, noise(seed, shape.iter().product())).unwrap()
}

/// A graph under construction, one node a call.
struct Build(Graph);

impl Build {
    fn new(shape: &[usize]) -> (Self, ValueId) {
        let mut g = Graph::new("test");
        let x = g
            .add_value("x", Fact::tensor(DType::F32, shape.iter().copied()))
            .unwrap();
        g.add_input(x);
        (Self(g), x)
    }
    fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        self.0.add_initializer(name, tensor).unwrap()
    }
    fn node(&mut self, node: Node) -> ValueId {
        let y = self.0.fresh_value("v", Fact::Unknown).unwrap();
        self.0.add_node(node.with_outputs(vec![Some(y)])).unwrap();
        y
    }
    fn op(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        self.node(Node::new(op, inputs.to_vec(), Vec::<ValueId>::new()))
    }
    fn model(mut self, y: ValueId, opset: i64) -> Model {
        self.0.add_output(y);
        let mut model = Model::new(self.0, opset);
        infer_shapes(&mut model, Catalog::standard()).unwrap();
        model
    }
}

fn run(model: &Model, shape: &[usize]) -> Vec<f32> {
    let x = floats(shape, 99);
    let out = Evaluator::new(model)
        .unwrap()
        .run([("x".to_owned(), x.into())])
        .unwrap();
    out[0]
        .as_tensor()
        .unwrap()
        .data::<f32>()
        .unwrap()
        .into_owned()
}

fn count(model: &Model, op: &str) -> usize {
    model.graph.nodes().filter(|(_, n)| n.op_type == op).count()
}

/// Applies a rewrite; the results must stay, and a second run must change nothing.
fn apply(model: &mut Model, rewrite: &dyn Rewrite, shape: &[usize]) -> RewriteReport {
    let before = run(model, shape);
    let report = rewrite::apply(model, Catalog::standard(), &[rewrite]).unwrap();
    let after = run(model, shape);
    assert_eq!(before.len(), after.len());
    for (a, b) in before.iter().zip(&after) {
        assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{a} {b}");
    }
    infer_shapes(model, Catalog::standard()).unwrap();
    let again = rewrite::apply(model, Catalog::standard(), &[rewrite]).unwrap();
    assert_eq!(again.total(), 0);
    report
}

fn batch_norm(b: &mut Build, x: ValueId, channels: usize) -> ValueId {
    let gamma = b.constant("gamma", floats(&[channels], 11));
    let beta = b.constant("beta", floats(&[channels], 12));
    let mean = b.constant("mean", floats(&[channels], 13));
    let variance = noise(14, channels).iter().map(|v| v.abs() + 0.1).collect();
    let variance = b.constant("variance", Tensor::vector(variance));
    b.op("BatchNormalization", &[x, gamma, beta, mean, variance])
}

#[test]
fn batch_normalization_folds_into_a_convolution_with_bias() {
    let shape = [2, 3, 5, 5];
    let (mut b, x) = Build::new(&shape);
    let w = b.constant("w", floats(&[4, 3, 3, 3], 1));
    let bias = b.constant("b", floats(&[4], 2));
    let conv = b.op("Conv", &[x, w, bias]);
    let y = batch_norm(&mut b, conv, 4);
    let mut model = b.model(y, 17);
    assert_eq!(apply(&mut model, &FoldBatchNorm, &shape).total(), 1);
    assert_eq!(
        (count(&model, "BatchNormalization"), count(&model, "Conv")),
        (0, 1)
    );
    // The old weights went with the nodes that read them.
    assert_eq!(model.graph.initializers().count(), 2);
}

#[test]
fn batch_normalization_folds_into_a_grouped_transposed_convolution() {
    let shape = [1, 4, 3, 3];
    let (mut b, x) = Build::new(&shape);
    let w = b.constant("w", floats(&[4, 3, 2, 2], 1));
    let node = Node::new("ConvTranspose", [x, w], Vec::<ValueId>::new()).with("group", 2i64);
    let conv = b.node(node);
    let y = batch_norm(&mut b, conv, 6);
    let mut model = b.model(y, 17);
    assert_eq!(apply(&mut model, &FoldBatchNorm, &shape).total(), 1);
}

#[test]
fn batch_normalization_stays_where_the_convolution_is_read_elsewhere() {
    let shape = [1, 3, 5, 5];
    let (mut b, x) = Build::new(&shape);
    let w = b.constant("w", floats(&[4, 3, 3, 3], 1));
    let conv = b.op("Conv", &[x, w]);
    let normalized = batch_norm(&mut b, conv, 4);
    let y = b.op("Add", &[normalized, conv]);
    let report = apply(&mut b.model(y, 17), &FoldBatchNorm, &shape);
    assert_eq!(report.total(), 0);
    assert_eq!(
        report.skipped[0].reason,
        "the layer's result is read elsewhere too"
    );
}

/// The three orders in which exporters multiply.
fn gelu(order: usize, opset: i64) -> Model {
    let (mut b, x) = Build::new(&[2, 8]);
    let root = b.constant("root", Tensor::scalar(std::f32::consts::SQRT_2));
    let one = b.constant("one", Tensor::scalar(1f32));
    let half = b.constant("half", Tensor::scalar(0.5f32));
    let scaled = b.op("Div", &[x, root]);
    let erf = b.op("Erf", &[scaled]);
    let sum = b.op("Add", &[erf, one]);
    let y = match order {
        0 => {
            let product = b.op("Mul", &[x, sum]);
            b.op("Mul", &[product, half])
        }
        1 => {
            let halved = b.op("Mul", &[x, half]);
            b.op("Mul", &[halved, sum])
        }
        _ => {
            let halved = b.op("Mul", &[sum, half]);
            b.op("Mul", &[x, halved])
        }
    };
    b.model(y, opset)
}

#[test]
fn gelu_is_recognised_in_every_order() {
    for order in 0..3 {
        let mut model = gelu(order, 20);
        assert_eq!(
            apply(&mut model, &FuseGelu::default(), &[2, 8]).total(),
            1,
            "order {order}"
        );
        assert_eq!((model.graph.node_count(), count(&model, "Gelu")), (1, 1));
    }
}

#[test]
fn gelu_needs_its_opset_or_the_other_dialect() {
    let report = apply(&mut gelu(0, 17), &FuseGelu::default(), &[2, 8]);
    assert_eq!(
        report.skipped[0].reason,
        "Gelu is part of the standard from opset 20 on"
    );
    let microsoft = FuseGelu {
        dialect: Dialect::Microsoft,
    };
    let mut model = gelu(0, 17);
    assert_eq!(apply(&mut model, &microsoft, &[2, 8]).total(), 1);
}

#[test]
fn layer_normalization_is_recognised() {
    let shape = [2, 4, 8];
    let (mut b, x) = Build::new(&shape);
    let mean = |b: &mut Build, x| {
        b.node(Node::new("ReduceMean", [x], Vec::<ValueId>::new()).with("axes", vec![-1i64]))
    };
    let mu = mean(&mut b, x);
    let centered = b.op("Sub", &[x, mu]);
    let two = b.constant("two", Tensor::scalar(2f32));
    let square = b.op("Pow", &[centered, two]);
    let variance = mean(&mut b, square);
    let epsilon = b.constant("epsilon", Tensor::scalar(1e-5f32));
    let shifted = b.op("Add", &[variance, epsilon]);
    let deviation = b.op("Sqrt", &[shifted]);
    let normal = b.op("Div", &[centered, deviation]);
    let gamma = b.constant("gamma", floats(&[8], 1));
    let beta = b.constant("beta", floats(&[8], 2));
    let scaled = b.op("Mul", &[normal, gamma]);
    let y = b.op("Add", &[scaled, beta]);
    let mut model = b.model(y, 17);
    assert_eq!(apply(&mut model, &FuseLayerNorm, &shape).total(), 1);
    assert_eq!(
        (
            model.graph.node_count(),
            count(&model, "LayerNormalization")
        ),
        (1, 1)
    );
}

#[test]
fn attention_is_recognised() {
    let shape = [1, 2, 5, 4];
    let (mut b, q) = Build::new(&shape);
    let keys = b.constant("keys", floats(&[1, 5, 2, 4], 1));
    let k = b.op("Identity", &[keys]);
    let values = b.constant("values", floats(&shape, 2));
    let transpose =
        Node::new("Transpose", [k], Vec::<ValueId>::new()).with("perm", vec![0i64, 2, 3, 1]);
    let kt = b.node(transpose);
    let scores = b.op("MatMul", &[q, kt]);
    let scale = b.constant("scale", Tensor::scalar(0.5f32));
    let scaled = b.op("Mul", &[scores, scale]);
    let mask = b.constant("mask", floats(&[5, 5], 3));
    let masked = b.op("Add", &[scaled, mask]);
    let weights = b.node(Node::new("Softmax", [masked], Vec::<ValueId>::new()).with("axis", -1i64));
    let y = b.op("MatMul", &[weights, values]);
    let mut model = b.model(y, 23);
    assert_eq!(apply(&mut model, &FuseAttention, &shape).total(), 1);
    assert_eq!(
        (count(&model, "Attention"), count(&model, "Softmax")),
        (1, 0)
    );
}

#[test]
fn a_matrix_product_and_its_bias_become_one_layer() {
    let shape = [3, 4];
    let (mut b, x) = Build::new(&shape);
    let w = b.constant("w", floats(&[4, 2], 1));
    let bias = b.constant("b", floats(&[2], 2));
    let product = b.op("MatMul", &[x, w]);
    let y = b.op("Add", &[bias, product]);
    let mut model = b.model(y, 17);
    assert_eq!(apply(&mut model, &FuseLinear, &shape).total(), 1);
    assert_eq!((model.graph.node_count(), count(&model, "Gemm")), (1, 1));
}

#[test]
fn an_activation_joins_its_convolution_in_the_microsoft_dialect_only() {
    let shape = [1, 3, 5, 5];
    let make = || {
        let (mut b, x) = Build::new(&shape);
        let w = b.constant("w", floats(&[4, 3, 3, 3], 1));
        let conv = b.op("Conv", &[x, w]);
        let y = b.op("Relu", &[conv]);
        b.model(y, 17)
    };
    assert_eq!(
        apply(&mut make(), &FuseActivation::default(), &shape).total(),
        0
    );
    let mut model = make();
    assert_eq!(
        apply(
            &mut model,
            &FuseActivation {
                dialect: Dialect::Microsoft
            },
            &shape
        )
        .total(),
        1
    );
    assert_eq!(
        (model.graph.node_count(), count(&model, "FusedConv")),
        (1, 1)
    );
}

#[test]
fn operators_that_give_their_input_back_go() {
    let shape = [2, 3, 4];
    let (mut b, x) = Build::new(&shape);
    let a = b.op("Relu", &[x]);
    let i = b.op("Identity", &[a]);
    let perm = |b: &mut Build, x, p: Vec<i64>| {
        b.node(Node::new("Transpose", [x], Vec::<ValueId>::new()).with("perm", p))
    };
    let t = perm(&mut b, i, vec![2, 0, 1]);
    let back = perm(&mut b, t, vec![1, 2, 0]);
    let y = b.op("Neg", &[back]);
    let mut model = b.model(y, 17);
    apply(&mut model, &EliminateIdentity, &shape);
    assert_eq!(
        (model.graph.node_count(), count(&model, "Transpose")),
        (2, 0)
    );
}

#[test]
fn simplifying_keeps_outputs_and_their_names() {
    let mut model = gelu(1, 20);
    let name = model.graph.name_of(model.graph.outputs()[0]).to_owned();
    let before = run(&model, &[2, 8]);
    simplify(Dialect::Standard)
        .unwrap()
        .run(&mut model, Catalog::standard())
        .unwrap();
    assert_eq!(model.graph.name_of(model.graph.outputs()[0]), name);
    let after = run(&model, &[2, 8]);
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_eq!(count(&model, "Gelu"), 1);
    assert!(model.metadata.iter().any(|(k, _)| k == "modelpress.passes"));
}

/// Old softmax over two axes, squeezed and clipped by attributes.
fn opset_9_model() -> Model {
    let (mut b, x) = Build::new(&[2, 3, 1, 4]);
    let soft = b.node(Node::new("Softmax", [x], Vec::<ValueId>::new()).with("axis", 1i64));
    let squeezed =
        b.node(Node::new("Squeeze", [soft], Vec::<ValueId>::new()).with("axes", vec![2i64]));
    let clip = Node::new("Clip", [squeezed], Vec::<ValueId>::new())
        .with("min", 0.05f32)
        .with("max", 0.2f32);
    let clipped = b.node(clip);
    let y =
        b.node(Node::new("ReduceMean", [clipped], Vec::<ValueId>::new()).with("axes", vec![1i64]));
    b.model(y, 9)
}

#[test]
fn conversion_between_opsets_keeps_results() {
    let shape = [2, 3, 1, 4];
    let original = opset_9_model();
    let expected = run(&original, &shape);
    for target in [10, 11, 13, 18, 21, 23] {
        let mut model = original.clone();
        onnx_ir::opset::convert(&mut model, target, Catalog::standard()).unwrap();
        assert_eq!(model.opset(), target);
        assert_eq!(run(&model, &shape), expected, "opset {target}");
    }
}

#[test]
fn conversion_down_again_restores_attributes() {
    let (mut b, x) = Build::new(&[2, 1, 4]);
    let axes = b.constant("axes", Tensor::vector(vec![1i64]));
    let squeezed = b.op("Squeeze", &[x, axes]);
    let y = b.op("ReduceSum", &[squeezed, axes]);
    let mut model = b.model(y, 13);
    let expected = run(&model, &[2, 1, 4]);
    onnx_ir::opset::convert(&mut model, 11, Catalog::standard()).unwrap();
    assert_eq!(run(&model, &[2, 1, 4]), expected);
    assert_eq!(model.graph.initializers().count(), 0);
}

#[test]
fn what_a_target_cannot_express_is_refused_and_nothing_changes() {
    let (mut b, x) = Build::new(&[2, 8]);
    let y = b.node(Node::new("Gelu", [x], Vec::<ValueId>::new()).named("act"));
    let mut model = b.model(y, 20);
    let error = onnx_ir::opset::convert(&mut model, 13, Catalog::standard()).unwrap_err();
    assert!(error.to_string().contains("act"), "{error}");
    assert_eq!(model.opset(), 20);
}
