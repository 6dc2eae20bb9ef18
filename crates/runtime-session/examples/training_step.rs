//! Times one training step of a model, forward and backward, and shows which kernels it goes through.
//!
//! ```text
//! cargo run --release -p runtime-session --example training_step -- MODEL.onnx [--batch 128] [--threads 2] [--runs 10]
//! ```
//! All floating-point initializers of the model become inputs, as a trainer feeds them; the loss is the cross-entropy of output 0,
//! whose softmax, where it ends in one, is taken off. Inputs are made up. `resnet20` in place of a file stands for that network for images
//! of 32 x 32 (He et al. 2015, arXiv:1512.03385, section 4.2) with batch normalisation.

use compress_tensor::{DType, Tensor};
use onnx_ir::gradient::{GradientRequest, TrainingMode, gradient, training_mode};
use onnx_ir::infer::infer_shapes;
use onnx_ir::{Catalog, Dim, Fact, Graph, Model, Node, ValueId};
use runtime_session::{Parallelism, Profile, Session, SessionOptions};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args
        .next()
        .ok_or("usage: training_step MODEL.onnx [--batch N] [--threads N] [--runs N]")?;
    let (mut batch, mut threads, mut runs) = (128, 2, 10);
    while let Some(name) = args.next() {
        let number: usize = args.next().ok_or("an option without a number")?.parse()?;
        match name.as_str() {
            "--batch" => batch = number,
            "--threads" => threads = number,
            "--runs" => runs = number,
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    let model = match path.as_str() {
        "resnet20" => resnet20()?,
        path => Model::load(path)?,
    };
    let (model, feeds) = step_of(model, batch)?;
    let options = SessionOptions::default().with_parallelism(Parallelism::with_threads(threads)?);
    let session = Session::new(model.clone(), &options)?;
    let feeds: Vec<(&str, Tensor)> = feeds.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    let mut outputs = Vec::new();
    for _ in 0..2 {
        session.run_into(&feeds, &mut outputs)?;
    }
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        session.run_into(&feeds, &mut outputs)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!("{path}, batch {batch}, {threads} threads");
    println!(
        "median {:.2?}, least {:.2?} of {runs} steps",
        times[times.len() / 2],
        times[0]
    );
    let session = Session::new(model, &options.with_profile())?;
    for _ in 0..3 {
        session.run_into(&feeds, &mut outputs)?;
    }
    show(&session.profile());
    Ok(())
}

/// Tensors by the names of the inputs.
type Feeds = Vec<(String, Tensor)>;

/// The model that computes the loss and the gradients of all floating-point initializers, which it takes as inputs, and what to
/// feed it.
fn step_of(model: Model, batch: usize) -> Result<(Model, Feeds), Box<dyn Error>> {
    let catalog = Catalog::standard();
    let (mut model, _) = training_mode(&model, &TrainingMode::default(), catalog)?;
    infer_shapes(&mut model, catalog)?;
    let graph = &mut model.graph;
    let output = *graph.outputs().first().ok_or("a model without outputs")?;
    let softmax = graph
        .producer(output)
        .filter(|&id| graph.node(id).is("Softmax"));
    let scores = softmax
        .and_then(|id| graph.node(id).input(0))
        .unwrap_or(output);
    let fact = graph
        .value(scores)
        .fact
        .as_tensor()
        .and_then(|f| f.shape.clone());
    let classes = fact
        .as_ref()
        .and_then(|s| s.get(1)?.as_known())
        .unwrap_or(10);
    let labels = graph.add_value("labels", Fact::tensor(DType::I64, [Dim::symbol("batch")]))?;
    graph.add_input(labels);
    let loss = graph.add_value("loss", Fact::Unknown)?;
    graph.add_node(Node::new(
        "SoftmaxCrossEntropyLoss",
        [scores, labels],
        [loss],
    ))?;
    let mut outputs = graph.outputs().to_vec();
    outputs[0] = loss;
    graph.set_outputs(outputs);
    let running: Vec<ValueId> = graph
        .nodes()
        .filter(|(_, node)| node.is("BatchNormalization"))
        .flat_map(|(_, node)| [node.input(3), node.input(4)])
        .flatten()
        .collect();
    let weights: Vec<(ValueId, Tensor)> = graph
        .initializers()
        .filter(|(id, t)| t.dtype() == DType::F32 && t.len() > 1 && !running.contains(id))
        .map(|(id, tensor)| (id, tensor.clone()))
        .collect();
    let mut feeds = Vec::new();
    let mut names = Vec::new();
    for (id, tensor) in weights {
        graph.remove_initializer(id);
        graph.value_mut(id).fact = Fact::tensor(DType::F32, tensor.shape().iter().copied());
        graph.add_input(id);
        names.push(graph.name_of(id).to_owned());
        feeds.push((graph.name_of(id).to_owned(), tensor));
    }
    let given: Vec<String> = feeds.iter().map(|(name, _)| name.clone()).collect();
    for &id in graph.inputs() {
        let name = graph.name_of(id).to_owned();
        if given.contains(&name) {
            continue;
        }
        let fact = graph
            .value(id)
            .fact
            .as_tensor()
            .ok_or("an input that is no tensor")?;
        let dims = fact.shape.as_ref().ok_or("an input of unknown rank")?;
        let shape: Vec<usize> = dims
            .iter()
            .map(|d| {
                d.as_known()
                    .and_then(|n| usize::try_from(n).ok())
                    .unwrap_or(batch)
            })
            .collect();
        let count: usize = shape.iter().product();
        let tensor = match fact.dtype {
            Some(DType::I64) if shape.is_empty() => Tensor::scalar(1i64),
            Some(DType::I64) => {
                Tensor::from_vec(&shape, (0..count as i64).map(|i| i * 7 % classes).collect())?
            }
            _ => Tensor::from_vec(&shape, numbers(count))?,
        };
        feeds.push((name, tensor));
    }
    let request = GradientRequest::of(["loss"], names).with_zeros();
    let (model, _) = gradient(&model, &request, catalog)?;
    Ok((model, feeds))
}

/// Three stages of three blocks of two convolutions, of 16, 32 and 64 channels.
fn resnet20() -> Result<Model, Box<dyn Error>> {
    let mut net = Net(Graph::new("resnet20"));
    let dims = [
        Dim::symbol("batch"),
        3usize.into(),
        32usize.into(),
        32usize.into(),
    ];
    let x = net.0.add_value("x", Fact::tensor(DType::F32, dims))?;
    net.0.add_input(x);
    let mut y = net.conv(x, [3, 16], 3, 1)?;
    y = net.node("Relu", &[y], |node| node)?;
    let mut channels = 16;
    for width in [16, 32, 64] {
        for _ in 0..3 {
            let stride = if width == channels { 1 } else { 2 };
            let a = net.conv(y, [channels, width], 3, stride)?;
            let a = net.node("Relu", &[a], |node| node)?;
            let a = net.conv(a, [width, width], 3, 1)?;
            let skipped = match stride {
                1 => y,
                _ => net.conv(y, [channels, width], 1, stride)?,
            };
            let sum = net.node("Add", &[a, skipped], |node| node)?;
            y = net.node("Relu", &[sum], |node| node)?;
            channels = width;
        }
    }
    let mean = net.node("GlobalAveragePool", &[y], |node| node)?;
    let flat = net.node("Flatten", &[mean], |node| node)?;
    let (w, b) = (net.weight(&[10, 64])?, net.weight(&[10])?);
    let scores = net.node("Gemm", &[flat, w, b], |node| node.with("transB", 1i64))?;
    net.0.add_output(scores);
    Ok(Model::new(net.0, 17))
}

/// A network under construction.
struct Net(Graph);

impl Net {
    fn weight(&mut self, shape: &[usize]) -> Result<ValueId, Box<dyn Error>> {
        let count: usize = shape.iter().product();
        let scale = 1.0 / (shape.iter().skip(1).product::<usize>() as f32).sqrt();
        let values = numbers(count).iter().map(|x| x * scale).collect();
        Ok(self
            .0
            .add_initializer("w", Tensor::from_vec::<f32>(shape, values)?)?)
    }

    fn node(
        &mut self,
        op: &str,
        inputs: &[ValueId],
        edit: impl FnOnce(Node) -> Node,
    ) -> Result<ValueId, Box<dyn Error>> {
        let y = self.0.fresh_value("t", Fact::Unknown)?;
        let inputs = inputs.iter().copied().map(Some);
        self.0.add_node(edit(Node::new(op, inputs, [Some(y)])))?;
        Ok(y)
    }

    /// A convolution and a batch normalisation.
    fn conv(
        &mut self,
        x: ValueId,
        [from, to]: [usize; 2],
        kernel: usize,
        stride: i64,
    ) -> Result<ValueId, Box<dyn Error>> {
        let w = self.weight(&[to, from, kernel, kernel])?;
        let pad = if kernel == 3 { 1i64 } else { 0 };
        let y = self.node("Conv", &[x, w], |node| {
            node.with("pads", vec![pad; 4])
                .with("strides", vec![stride; 2])
        })?;
        let mut inputs = vec![y];
        for value in [1.0f32, 0.0, 0.0, 1.0] {
            inputs.push(self.0.add_initializer("n", Tensor::full(&[to], value)?)?);
        }
        self.node("BatchNormalization", &inputs, |node| node)
    }
}

/// Numbers in -1..1 of a linear congruential generator.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

/// The fastest times by kernel and operator, and the slowest steps.
fn show(profile: &Profile) {
    let mut sums: BTreeMap<(String, String), (Duration, u64)> = BTreeMap::new();
    for row in &profile.rows {
        let sum = sums
            .entry((row.kernel.to_owned(), row.op.clone()))
            .or_default();
        sum.0 += row.fastest;
        sum.1 += 1;
    }
    let mut sums: Vec<_> = sums
        .into_iter()
        .filter(|(_, (_, calls))| *calls > 0)
        .collect();
    sums.sort_by_key(|(_, (time, _))| std::cmp::Reverse(*time));
    println!("\n{:>10}  {:>5}  kernel, operator", "time", "steps");
    for ((kernel, op), (time, calls)) in sums {
        println!("{:>10}  {calls:>5}  {kernel}, {op}", format!("{time:.2?}"));
    }
    let mut rows: Vec<_> = profile.rows.iter().filter(|row| row.calls > 0).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.fastest));
    println!("\n{:>10}  {:>8}  node", "time", "GFLOP/s");
    for row in rows.iter().take(25) {
        let speed = row
            .gflops()
            .map_or(String::new(), |speed| format!("{speed:.1}"));
        let variant = row.variant.as_deref().unwrap_or("");
        println!(
            "{:>10}  {speed:>8}  {} {variant} {}",
            format!("{:.2?}", row.fastest),
            row.kernel,
            row.node
        );
    }
}
