//! Training steps: models with their gradients, the weights fed, in sessions against the reference evaluator.

use compress_tensor::{CastOptions, DType, Tensor};
use onnx_ir::eval::Evaluator;
use onnx_ir::gradient::{GradientRequest, TrainingMode, gradient, training_mode};
use onnx_ir::{Catalog, Dim, Fact, Graph, Model, Node, Value, ValueId};
use runtime_session::{Isa, OptimizationLevel, Parallelism, Session, SessionOptions};

/// A network under construction: weights are inputs, all values of one type.
struct Net {
    graph: Graph,
    dtype: DType,
    weights: Vec<(String, Tensor)>,
    running: usize,
}

/// Numbers in about -1..1.
fn numbers(seed: usize, shape: &[usize], dtype: DType) -> Tensor {
    let count = shape.iter().product();
    let mut state = seed as u32 * 977 + 1;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let tensor = Tensor::from_vec(shape, (0..count).map(next).collect::<Vec<f32>>()).unwrap();
    tensor.cast(dtype, CastOptions::default()).unwrap()
}

impl Net {
    /// With an input `x` of these sizes but for the batch.
    fn new(dtype: DType, sizes: &[usize]) -> (Self, ValueId) {
        let mut graph = Graph::new("net");
        let dims = [Dim::symbol("batch")];
        let dims = dims.into_iter().chain(sizes.iter().map(|&n| n.into()));
        let x = graph.add_value("x", Fact::tensor(dtype, dims)).unwrap();
        graph.add_input(x);
        let net = Self {
            graph,
            dtype,
            weights: Vec::new(),
            running: 0,
        };
        (net, x)
    }

    fn weight(&mut self, shape: &[usize]) -> ValueId {
        let name = format!("w{}", self.weights.len());
        let fact = Fact::tensor(self.dtype, shape.iter().copied());
        let id = self.graph.add_value(&name, fact).unwrap();
        self.graph.add_input(id);
        let count: usize = shape.iter().skip(1).product();
        let scale = Tensor::scalar(1.0 / (count.max(1) as f32).sqrt());
        let scale = scale.to_f64_vec().unwrap()[0];
        let values = numbers(self.weights.len() + 1, shape, self.dtype);
        let values: Vec<f32> = values
            .to_f64_vec()
            .unwrap()
            .iter()
            .map(|v| (v * scale) as f32)
            .collect();
        let tensor = Tensor::from_vec(shape, values).unwrap();
        let tensor = tensor.cast(self.dtype, CastOptions::default()).unwrap();
        self.weights.push((name, tensor));
        id
    }

    fn node(&mut self, node: Node) -> ValueId {
        let y = self.graph.fresh_value("t", Fact::Unknown).unwrap();
        self.graph
            .add_node(node.with_outputs(vec![Some(y)]))
            .unwrap();
        y
    }

    fn op(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        self.node(node(op, inputs))
    }

    /// A convolution with bias.
    fn conv(&mut self, x: ValueId, shape: &[usize], edit: impl FnOnce(Node) -> Node) -> ValueId {
        let (w, b) = (self.weight(shape), self.weight(&shape[..1]));
        self.node(edit(node("Conv", &[x, w, b])))
    }

    fn batch_norm(&mut self, x: ValueId, channels: usize) -> ValueId {
        let (scale, bias) = (self.weight(&[channels]), self.weight(&[channels]));
        let mut statistic = |value: f32| {
            self.running += 1;
            let tensor = Tensor::full(&[channels], value).unwrap();
            let tensor = tensor.cast(self.dtype, CastOptions::default()).unwrap();
            let name = format!("running{}", self.running);
            self.graph.add_initializer(&name, tensor).unwrap()
        };
        let (mean, variance) = (statistic(0.1), statistic(1.5));
        self.op("BatchNormalization", &[x, scale, bias, mean, variance])
    }

    /// The model that computes the mean cross-entropy of the scores `y` and the gradients of all weights and of `x`, and what to
    /// feed it.
    fn step(mut self, y: ValueId, x: &[usize], classes: usize) -> (Model, Vec<(String, Tensor)>) {
        let fact = Fact::tensor(DType::I64, [Dim::symbol("batch")]);
        let labels = self.graph.add_value("labels", fact).unwrap();
        self.graph.add_input(labels);
        let loss = self.op("SoftmaxCrossEntropyLoss", &[y, labels]);
        self.graph.add_output(loss);
        let name = self.graph.name_of(loss).to_owned();
        let catalog = Catalog::standard();
        let (model, _) = training_mode(
            &Model::new(self.graph, 20),
            &TrainingMode::default(),
            catalog,
        )
        .unwrap();
        let weights = self.weights.iter().map(|(name, _)| name.clone());
        let request = GradientRequest::of([name], weights.chain(["x".to_owned()]));
        let (model, _) = gradient(&model, &request, catalog).unwrap();
        let mut feeds = self.weights;
        feeds.push(("x".to_owned(), numbers(77, x, self.dtype)));
        let labels = (0..x[0]).map(|i| (i * 7 % classes) as i64);
        feeds.push(("labels".to_owned(), Tensor::vector(labels.collect())));
        (model, feeds)
    }
}

fn node(op: &str, inputs: &[ValueId]) -> Node {
    let none: [Option<ValueId>; 0] = [];
    Node::new(op, inputs.iter().copied().map(Some), none)
}

fn pads(node: Node) -> Node {
    node.with("pads", vec![1i64; 4])
}

/// Twice the numbers of a tensor of f32.
fn doubled(tensor: &Tensor) -> Tensor {
    match tensor.as_slice::<f32>() {
        Ok(values) => {
            let values = values.iter().map(|v| 2.0 * v).collect::<Vec<f32>>();
            Tensor::from_vec(tensor.shape(), values).unwrap()
        }
        Err(_) => tensor.clone(),
    }
}

/// Outputs are those of the reference within `tolerance` times the greatest magnitude of the output, on every instruction set, the
/// same on one thread and on three, and no step goes by reference but those of these operators.
fn check(model: &Model, feeds: &[(String, Tensor)], tolerance: f64, by_reference: &[&str]) {
    let given = feeds
        .iter()
        .map(|(name, tensor)| (name.clone(), Value::Tensor(tensor.clone())));
    let expected = Evaluator::new(model).unwrap().run(given).unwrap();
    let fed: Vec<(&str, Tensor)> = feeds.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    let others: Vec<(&str, Tensor)> = fed.iter().map(|(n, t)| (*n, doubled(t))).collect();
    for isa in Isa::available() {
        let run = |threads: usize, level: OptimizationLevel| {
            let options = SessionOptions::default()
                .with_profile()
                .with_isa(isa)
                .with_optimization(level)
                .with_parallelism(Parallelism::with_threads(threads).unwrap());
            let session = Session::new(model.clone(), &options).unwrap();
            // What was kept from a run on other weights changes nothing.
            let mut outputs = session.run(&others).unwrap();
            session.run_into(&fed, &mut outputs).unwrap();
            (outputs, session.profile())
        };
        let (found, profile) = run(1, OptimizationLevel::Full);
        for row in profile.rows.iter().filter(|row| row.calls > 0) {
            let op = row.op.rsplit('.').next().unwrap_or_default();
            assert!(
                row.kernel != "reference" || by_reference.contains(&op),
                "{} by reference",
                row.op
            );
        }
        let (threads, _) = run(3, OptimizationLevel::Full);
        let (plain, _) = run(1, OptimizationLevel::None);
        let names: Vec<&str> = model
            .graph
            .outputs()
            .iter()
            .map(|&v| model.graph.name_of(v))
            .collect();
        for (i, expected) in expected.iter().enumerate() {
            let expected = expected.as_tensor().unwrap();
            assert_eq!(found[i].shape(), expected.shape(), "{}", names[i]);
            assert_eq!(found[i].dtype(), expected.dtype(), "{}", names[i]);
            let values = [&found[i], &plain[i], &threads[i]].map(|t| t.to_f64_vec().unwrap());
            assert_eq!(values[0], values[2], "{} on {isa}: threads", names[i]);
            let expected = expected.to_f64_vec().unwrap();
            let most = expected.iter().fold(1e-3, |most: f64, v| most.max(v.abs()));
            for values in &values[..2] {
                for (f, e) in values.iter().zip(&expected) {
                    let fits = (f - e).abs() <= tolerance * most;
                    assert!(fits, "{} on {isa}: {f} is not {e}", names[i]);
                }
            }
        }
    }
}

/// What has no kernel and little work.
const LOSS: [&str; 3] = [
    "SoftmaxCrossEntropyLoss",
    "SoftmaxCrossEntropyLossGrad",
    "Shape",
];

/// A residual network with pooling, of odd extents.
fn residual(dtype: DType, norms: bool) -> (Net, ValueId) {
    let (mut net, x) = Net::new(dtype, &[3, 13, 11]);
    let a = net.conv(x, &[19, 3, 3, 3], pads);
    let a = if norms { net.batch_norm(a, 19) } else { a };
    let a = net.op("Relu", &[a]);
    let b = net.conv(a, &[19, 19, 3, 3], pads);
    let b = if norms { net.batch_norm(b, 19) } else { b };
    let b = net.op("Add", &[b, a]);
    let b = net.op("Relu", &[b]);
    let c = net.conv(b, &[16, 19, 3, 3], |n| {
        pads(n).with("strides", vec![2i64, 2])
    });
    let d = net.conv(b, &[16, 19, 1, 1], |n| n.with("strides", vec![2i64, 2]));
    let c = net.op("Add", &[c, d]);
    let c = net.op("Relu", &[c]);
    let pool = node("MaxPool", &[c])
        .with("kernel_shape", vec![3i64, 2])
        .with("strides", vec![2i64, 1])
        .with("pads", vec![1i64, 0, 1, 1]);
    let c = net.node(pool);
    let y = head(&mut net, c, [4, 6], 16);
    (net, y)
}

/// The mean of each channel, and a linear layer of five classes.
fn head(net: &mut Net, x: ValueId, image: [i64; 2], channels: usize) -> ValueId {
    let mean = node("AveragePool", &[x]).with("kernel_shape", image.to_vec());
    let mean = net.node(mean);
    let flat = net.op("Flatten", &[mean]);
    let (w, b) = (net.weight(&[5, channels]), net.weight(&[5]));
    net.node(node("Gemm", &[flat, w, b]).with("transB", 1i64))
}

#[test]
fn a_residual_network_steps_as_by_reference() {
    let (net, y) = residual(DType::F32, false);
    let (model, feeds) = net.step(y, &[3, 3, 13, 11], 5);
    check(&model, &feeds, 2e-5, &LOSS);
}

#[test]
fn batch_normalisation_trains_as_by_reference() {
    let (net, y) = residual(DType::F32, true);
    let (model, feeds) = net.step(y, &[4, 3, 13, 11], 5);
    assert!(model.graph.outputs().len() > 4);
    check(&model, &feeds, 1e-4, &LOSS);
}

/// `x` behind its quantizer with codes of `range`, of a weight with a step per channel.
fn quantized(net: &mut Net, x: ValueId, steps: &[usize], step: f32, range: [i64; 2]) -> ValueId {
    let name = format!("step{}", net.weights.len());
    let fact = Fact::tensor(net.dtype, steps.iter().copied());
    let id = net.graph.add_value(&name, fact).unwrap();
    net.graph.add_input(id);
    let count = steps.iter().product::<usize>();
    let values = (0..count).map(|i| step * (1.0 + 0.1 * (i % 5) as f32));
    let tensor = Tensor::from_vec(steps, values.collect::<Vec<f32>>()).unwrap();
    net.weights.push((name, tensor));
    let node = node("LearnedFakeQuantize", &[x, id])
        .in_domain("modelpress")
        .with("batched", i64::from(count == 1))
        .with("q_min", range[0])
        .with("q_max", range[1]);
    net.node(node)
}

#[test]
fn a_network_with_codes_steps_as_by_reference() {
    let (mut net, x) = Net::new(DType::F32, &[3, 9, 8]);
    let (signed, unsigned) = ([-7, 7], [0, 15]);
    let x = quantized(&mut net, x, &[], 0.13, signed);
    let mut y = x;
    for (out, channels) in [(8usize, 3usize), (12, 8)] {
        let (w, b) = (net.weight(&[out, channels, 3, 3]), net.weight(&[out]));
        let w = quantized(&mut net, w, &[out, 1, 1, 1], 0.03, signed);
        y = net.node(pads(node("Conv", &[y, w, b])));
        y = net.op("Relu", &[y]);
        y = quantized(&mut net, y, &[], 0.06, unsigned);
    }
    let y = head(&mut net, y, [9, 8], 12);
    let (model, feeds) = net.step(y, &[3, 3, 9, 8], 5);
    check(&model, &feeds, 2e-5, &LOSS);
}

#[test]
fn a_mobile_network_steps_as_by_reference() {
    let (mut net, x) = Net::new(DType::F32, &[1, 17, 10]);
    let a = net.conv(x, &[24, 1, 5, 4], |n| {
        n.with("auto_pad", "SAME_UPPER")
            .with("strides", vec![2i64, 2])
    });
    let a = net.op("Relu", &[a]);
    let depthwise = |n: Node| pads(n).with("group", 24i64);
    let a = net.conv(a, &[24, 1, 3, 3], depthwise);
    let a = net.op("Relu", &[a]);
    let a = net.conv(a, &[24, 24, 1, 1], |n| n);
    let a = net.op("Relu", &[a]);
    let a = net.conv(a, &[24, 1, 3, 3], |n| {
        depthwise(n).with("strides", vec![2i64, 1])
    });
    let groups = |n: Node| n.with("group", 3i64).with("dilations", vec![1i64, 2]);
    let a = net.conv(a, &[12, 8, 2, 2], groups);
    let y = head(&mut net, a, [4, 3], 12);
    let (model, feeds) = net.step(y, &[3, 1, 17, 10], 5);
    check(&model, &feeds, 2e-5, &LOSS);
}

#[test]
fn signals_and_volumes_step_as_by_reference() {
    let (mut net, x) = Net::new(DType::F32, &[3, 41]);
    let a = net.conv(x, &[10, 3, 5], |n| {
        n.with("pads", vec![2i64, 2]).with("strides", vec![2i64])
    });
    let a = net.op("Relu", &[a]);
    let flat = net.op("Flatten", &[a]);
    let w = net.weight(&[210, 5]);
    let y = net.op("MatMul", &[flat, w]);
    let (model, feeds) = net.step(y, &[2, 3, 41], 5);
    check(&model, &feeds, 2e-5, &LOSS);

    let (mut net, x) = Net::new(DType::F32, &[2, 5, 6, 4]);
    let a = net.conv(x, &[3, 2, 2, 3, 2], |n| n.with("strides", vec![1i64, 2, 1]));
    let flat = net.op("Flatten", &[a]);
    let w = net.weight(&[72, 5]);
    let y = net.op("MatMul", &[flat, w]);
    let (model, feeds) = net.step(y, &[2, 2, 5, 6, 4], 5);
    check(&model, &feeds, 2e-5, &LOSS);
}

#[test]
fn a_block_of_a_transformer_steps_as_by_reference() {
    let (mut net, x) = Net::new(DType::F32, &[7, 12]);
    let (scale, bias) = (net.weight(&[12]), net.weight(&[12]));
    let a = net.op("LayerNormalization", &[x, scale, bias]);
    let (w, b) = (net.weight(&[12, 20]), net.weight(&[20]));
    let a = net.op("MatMul", &[a, w]);
    let a = net.op("Add", &[a, b]);
    let a = net.op("Gelu", &[a]);
    let w = net.weight(&[20, 12]);
    let a = net.op("MatMul", &[a, w]);
    let a = net.op("Add", &[a, x]);
    let s = net.op("Softmax", &[a]);
    let a = net.op("Mul", &[s, a]);
    let flat = net.op("Flatten", &[a]);
    let w = net.weight(&[84, 5]);
    let y = net.op("MatMul", &[flat, w]);
    let (model, feeds) = net.step(y, &[3, 7, 12], 5);
    check(&model, &feeds, 5e-5, &LOSS);
}

#[test]
fn other_types_and_empty_batches_go_by_reference_or_give_zeros() {
    let (net, y) = residual(DType::F64, true);
    let (model, feeds) = net.step(y, &[2, 3, 13, 11], 5);
    let fed: Vec<(&str, Tensor)> = feeds.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    let given = feeds
        .iter()
        .map(|(n, t)| (n.clone(), Value::Tensor(t.clone())));
    let expected = Evaluator::new(&model).unwrap().run(given).unwrap();
    let session = Session::new(model, &SessionOptions::default()).unwrap();
    for (found, expected) in session.run(&fed).unwrap().iter().zip(&expected) {
        let expected = expected.as_tensor().unwrap().to_f64_vec().unwrap();
        for (f, e) in found.to_f64_vec().unwrap().iter().zip(expected) {
            assert!((f - e).abs() <= 1e-12 * (1.0 + e.abs()));
        }
    }

    let (net, y) = residual(DType::F32, false);
    let (model, feeds) = net.step(y, &[0, 3, 13, 11], 5);
    let fed: Vec<(&str, Tensor)> = feeds.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    let names: Vec<String> = model
        .graph
        .outputs()
        .iter()
        .map(|&v| model.graph.name_of(v).to_owned())
        .collect();
    let session = Session::new(model, &SessionOptions::default()).unwrap();
    let outputs = session.run(&fed).unwrap();
    for (name, output) in names.iter().zip(outputs).skip(1) {
        let values = output.to_f64_vec().unwrap();
        assert!(values.iter().all(|&v| v == 0.0), "{name}: {values:?}");
    }
}

#[test]
fn weights_of_other_extents_are_refused() {
    let (mut net, x) = Net::new(DType::F32, &[2, 5, 5]);
    let y = net.conv(x, &[3, 2, 3, 3], pads);
    net.graph.add_output(y);
    let model = Model::new(net.graph, 20);
    let session = Session::new(model, &SessionOptions::default()).unwrap();
    let error = session.run(&[
        ("x", numbers(1, &[1, 2, 5, 5], DType::F32)),
        ("w0", numbers(2, &[3, 2, 3, 2], DType::F32)),
        ("w1", numbers(3, &[3], DType::F32)),
    ]);
    assert!(error.is_err());
}
