//! Models in f16 and bfloat16: kernels in f32 with weights that stay halves.

use compress_tensor::{CastOptions, DType, Tensor};
use half::{bf16, f16};
use onnx_ir::eval::Evaluator;
use onnx_ir::{Fact, Graph, Model, Node, Value, ValueId};
use runtime_kernels::Isa;
use runtime_session::{Session, SessionOptions};

/// Deterministic numbers in about `-1..1`.
fn numbers(seed: usize, len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| (((i * 37 + seed * 101 + 11) % 97) as f32 - 48.0) / 48.0)
        .collect()
}

fn cast(tensor: &Tensor, to: DType) -> Tensor {
    tensor.cast(to, CastOptions::default()).unwrap()
}

/// A graph under construction whose numbers are of one type.
struct Net {
    graph: Graph,
    dtype: DType,
    /// What constants are rounded to first.
    rounded: DType,
    count: usize,
}

impl Net {
    fn weight(&mut self, shape: &[usize]) -> ValueId {
        self.count += 1;
        let data = numbers(self.count, shape.iter().product());
        self.constant(Tensor::from_vec(shape, data).unwrap())
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        let tensor = cast(&cast(&tensor, self.rounded), self.dtype);
        self.graph.add_initializer("w", tensor).unwrap()
    }

    fn op(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        self.node(Node::new(
            op,
            inputs.iter().copied().map(Some),
            [None::<ValueId>; 0],
        ))
    }

    fn node(&mut self, node: Node) -> ValueId {
        let y = self.graph.fresh_value("t", Fact::Unknown).unwrap();
        let mut new = Node::new(node.op_type.clone(), node.inputs().to_vec(), [y]);
        new.attributes = node.attributes;
        self.graph.add_node(new).unwrap();
        y
    }
}

/// A model of one input `x` of this shape that computes `of` in `dtype`.
fn model(
    shape: &[usize],
    (dtype, rounded): (DType, DType),
    of: impl Fn(&mut Net, ValueId) -> ValueId,
) -> Model {
    let mut graph = Graph::new("net");
    let x = graph
        .add_value("x", Fact::tensor(dtype, shape.iter().copied()))
        .unwrap();
    graph.add_input(x);
    let mut net = Net {
        graph,
        dtype,
        rounded,
        count: 0,
    };
    let y = of(&mut net, x);
    net.graph.add_output(y);
    Model::new(net.graph, 20)
}

/// A convolution on images, with all that is fused to it, and a tail of pooling and a linear layer.
fn convolutional(net: &mut Net, x: ValueId) -> ValueId {
    // Strides of 2: not by tiles, whose weights are f32.
    let (w1, b1) = (net.weight(&[8, 4, 3, 3]), net.weight(&[8]));
    let conv = Node::new("Conv", [x, w1, b1].map(Some), [None::<ValueId>; 0])
        .with("pads", vec![1i64; 4])
        .with("strides", vec![2i64; 2]);
    let a = net.node(conv);
    let a = net.op("Relu", &[a]);
    let w2 = net.weight(&[8, 8, 1, 1]);
    let b = net.op("Conv", &[a, w2]);
    let sum = net.op("Add", &[a, b]);
    let depthwise = net.weight(&[8, 1, 3, 3]);
    let conv =
        Node::new("Conv", [sum, depthwise].map(Some), [None::<ValueId>; 0]).with("group", 8i64);
    let c = net.node(conv);
    let pooled = net.op("GlobalAveragePool", &[c]);
    let flat = net.op("Flatten", &[pooled]);
    let (w3, b3) = (net.weight(&[5, 8]), net.weight(&[5]));
    let gemm =
        Node::new("Gemm", [flat, w3, b3].map(Some), [None::<ValueId>; 0]).with("transB", 1i64);
    net.node(gemm)
}

/// A layer of a transformer without its attention.
fn transformer(net: &mut Net, x: ValueId) -> ValueId {
    let (w, b) = (net.weight(&[16, 40]), net.weight(&[40]));
    let m = net.op("MatMul", &[x, w]);
    let v = net.op("Add", &[m, b]);
    let [root, one, half] =
        [std::f32::consts::SQRT_2, 1.0, 0.5].map(|c| net.constant(Tensor::scalar(c)));
    let d = net.op("Div", &[v, root]);
    let e = net.op("Erf", &[d]);
    let e = net.op("Add", &[e, one]);
    let p = net.op("Mul", &[v, e]);
    let g = net.op("Mul", &[p, half]);
    let w = net.weight(&[40, 16]);
    let m = net.op("MatMul", &[g, w]);
    let r = net.op("Add", &[m, x]);
    let (gamma, beta) = (net.weight(&[16]), net.weight(&[16]));
    let n = net.op("LayerNormalization", &[r, gamma, beta]);
    let softmax = Node::new("Softmax", [Some(n)], [None::<ValueId>; 0]).with("axis", -1i64);
    net.node(softmax)
}

fn input(shape: &[usize], dtype: DType) -> Tensor {
    let data = numbers(0, shape.iter().product());
    cast(&Tensor::from_vec(shape, data).unwrap(), dtype)
}

fn run(model: &Model, isa: Isa, x: Tensor) -> (Tensor, Vec<&'static str>) {
    let options = SessionOptions::default().with_profile().with_isa(isa);
    let session = Session::new(model.clone(), &options).unwrap();
    let y = session.run(&[("x", x)]).unwrap().remove(0);
    (y, session.profile().rows.iter().map(|r| r.kernel).collect())
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    cast(tensor, DType::F32).data::<f32>().unwrap().into_owned()
}

/// The shape of the input and what is computed of it.
type Case = (&'static [usize], fn(&mut Net, ValueId) -> ValueId);

const CASES: [Case; 2] = [(&[2, 4, 13, 11], convolutional), (&[3, 7, 16], transformer)];

#[test]
fn f16_models_give_what_f32_models_of_the_same_weights_give_rounded_once() {
    for (shape, of) in CASES {
        let half = model(shape, (DType::F16, DType::F16), of);
        let single = model(shape, (DType::F32, DType::F16), of);
        for isa in Isa::available() {
            let x = input(shape, DType::F16);
            let (expected, kernels) = run(&single, isa, cast(&x, DType::F32));
            let (found, own) = run(&half, isa, x);
            assert_eq!(found.dtype(), DType::F16);
            assert_eq!(found.shape(), expected.shape());
            assert_eq!(
                found.as_slice::<f16>(),
                cast(&expected, DType::F16).as_slice::<f16>()
            );
            // The same steps, and the casts at both ends.
            let steps: Vec<_> = own.iter().copied().filter(|&k| k != "cast").collect();
            assert_eq!(steps, kernels, "on {isa}");
            assert_eq!(own.len(), kernels.len() + 2);
        }
    }
}

#[test]
fn half_models_stay_as_close_to_the_reference_as_their_type_allows() {
    fn check(dtype: DType, epsilon: f32) {
        for (shape, of) in CASES {
            let half = model(shape, (dtype, dtype), of);
            let x = input(shape, dtype);
            let reference = Evaluator::new(&half).unwrap();
            let reference = reference
                .run([("x".to_owned(), Value::Tensor(x.clone()))])
                .unwrap();
            let expected = floats(reference[0].as_tensor().unwrap());
            let largest = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            for isa in Isa::available() {
                let (found, kernels) = run(&half, isa, x.clone());
                assert_eq!(found.dtype(), dtype);
                assert!(!kernels.contains(&"reference"), "{kernels:?}");
                for (f, e) in floats(&found).iter().zip(&expected) {
                    // A dozen roundings, one per node of the reference.
                    assert!(
                        (f - e).abs() <= 6.0 * epsilon * largest,
                        "{f} is not {e} on {isa}"
                    );
                }
            }
        }
    }
    check(DType::F16, f16::EPSILON.to_f32());
    check(DType::BF16, bf16::EPSILON.to_f32());
}

#[test]
fn taps_show_values_under_the_names_of_the_model() {
    let (shape, of) = CASES[1];
    let half = model(shape, (DType::F16, DType::F16), of);
    let session = Session::new(half, &SessionOptions::default()).unwrap();
    let mut shown = Vec::new();
    let x = input(shape, DType::F16);
    let tap = |name: &str, tensor: &Tensor| shown.push((name.to_owned(), tensor.dtype()));
    session
        .run_with_taps(&[("x", x)], &["x", "t"], tap)
        .unwrap();
    assert_eq!(
        shown,
        [("x".to_owned(), DType::F16), ("t".to_owned(), DType::F32)]
    );
}

#[test]
fn below_full_optimization_halves_are_rounded_node_by_node() {
    use runtime_session::OptimizationLevel;
    let (shape, of) = CASES[1];
    let half = model(shape, (DType::F16, DType::F16), of);
    let x = input(shape, DType::F16);
    let reference = Evaluator::new(&half).unwrap();
    let reference = reference
        .run([("x".to_owned(), Value::Tensor(x.clone()))])
        .unwrap();
    let options = SessionOptions::default().with_optimization(OptimizationLevel::Basic);
    let found = Session::new(half, &options)
        .unwrap()
        .run(&[("x", x)])
        .unwrap();
    assert_eq!(
        found[0].as_slice::<f16>(),
        reference[0].as_tensor().unwrap().as_slice::<f16>()
    );
}

#[test]
fn a_product_in_f32_with_widened_weights_does_not_round_the_other_side() {
    let fine = 1.0 + f32::EPSILON;
    for dtype in [DType::F16, DType::BF16] {
        let half = model(&[3, 4], (DType::F32, DType::F32), |net, x| {
            let ones = Tensor::from_vec(&[4, 2], vec![1.0f32; 8]).unwrap();
            let stored = net.graph.add_initializer("h", cast(&ones, dtype)).unwrap();
            let widen = Node::new("Cast", [Some(stored)], [None::<ValueId>; 0]).with("to", 1i64);
            let w = net.node(widen);
            net.op("MatMul", &[x, w])
        });
        for isa in Isa::available() {
            let x = Tensor::from_vec(&[3, 4], [fine, 0.0, 0.0, 0.0].repeat(3)).unwrap();
            let (y, kernels) = run(&half, isa, x);
            assert_eq!(floats(&y), [fine; 6], "on {isa}");
            assert_eq!(kernels, ["gemm.f32"]);
        }
    }
}
