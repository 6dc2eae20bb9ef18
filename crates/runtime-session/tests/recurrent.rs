//! Recurrent layers against the reference evaluator.

use compress_tensor::{DType, Tensor};
use onnx_ir::eval::Evaluator;
use onnx_ir::{Attribute, Fact, Graph, Model, Node, Value, ValueId};
use proptest::prelude::*;
use runtime_session::{Session, SessionOptions};
use std::sync::Arc;

/// A layer with its weights and inputs.
#[derive(Clone, Debug)]
struct Case {
    op: &'static str,
    direction: &'static str,
    batch_first: bool,
    time: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    bias: bool,
    lengths: Option<Vec<i32>>,
    initial: bool,
    peephole: bool,
    clip: Option<f32>,
    /// `input_forget` or `linear_before_reset`.
    variant: bool,
    activations: Option<Vec<&'static str>>,
    seed: usize,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            op: "LSTM",
            direction: "forward",
            batch_first: false,
            time: 3,
            batch: 2,
            input: 5,
            hidden: 7,
            bias: true,
            lengths: None,
            initial: false,
            peephole: false,
            clip: None,
            variant: false,
            activations: None,
            seed: 1,
        }
    }
}

/// Numbers in about `-scale..scale`.
fn numbers(seed: usize, shape: &[usize], scale: f32) -> Tensor {
    let mut x = seed as u32;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((x >> 8) as f32 / 8_388_608.0 - 1.0) * scale
    };
    let data = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_vec(shape, data).unwrap()
}

impl Case {
    fn directions(&self) -> usize {
        1 + usize::from(self.direction == "bidirectional")
    }

    fn gates(&self) -> usize {
        match self.op {
            "LSTM" => 4,
            "GRU" => 3,
            _ => 1,
        }
    }

    /// Adds the layer to `graph`; gives its outputs. `x` is of the layer's input shape.
    fn add(&self, graph: &mut Graph, x: ValueId) -> Vec<ValueId> {
        let (d, h, rows) = (self.directions(), self.hidden, self.gates() * self.hidden);
        let state = match self.batch_first {
            true => [self.batch, d, h],
            false => [d, self.batch, h],
        };
        let mut seed = self.seed;
        let mut weight = |shape: &[usize], scale: f32| {
            seed += 1;
            let w = numbers(seed, shape, scale);
            Some(graph.add_initializer("w", w).unwrap())
        };
        let mut inputs = vec![
            Some(x),
            weight(&[d, rows, self.input], 1.0),
            weight(&[d, rows, h], 0.5),
            self.bias.then(|| weight(&[d, 2 * rows], 0.5)).flatten(),
            None,
            self.initial.then(|| weight(&state, 1.0)).flatten(),
        ];
        if self.op == "LSTM" {
            inputs.push(self.initial.then(|| weight(&state, 1.0)).flatten());
            inputs.push(self.peephole.then(|| weight(&[d, 3 * h], 1.0)).flatten());
        }
        if let Some(lengths) = &self.lengths {
            let lengths = Tensor::vector(lengths.clone());
            inputs[4] = Some(graph.add_initializer("lengths", lengths).unwrap());
        }
        let count = if self.op == "LSTM" { 3 } else { 2 };
        let outputs: Vec<ValueId> = (0..count)
            .map(|_| graph.fresh_value("y", Fact::Unknown).unwrap())
            .collect();
        let mut node = Node::new(self.op, inputs, outputs.iter().copied().map(Some))
            .with("hidden_size", h as i64)
            .with("direction", self.direction)
            .with("layout", i64::from(self.batch_first));
        if let Some(clip) = self.clip {
            node = node.with("clip", clip);
        }
        if self.variant && self.op != "RNN" {
            let name = if self.op == "LSTM" {
                "input_forget"
            } else {
                "linear_before_reset"
            };
            node = node.with(name, 1i64);
        }
        if let Some(names) = &self.activations {
            let names: Vec<Vec<u8>> = names.iter().map(|n| n.as_bytes().to_vec()).collect();
            node = node.with("activations", Attribute::Strings(names));
        }
        graph.add_node(node).unwrap();
        outputs
    }

    fn x(&self) -> Tensor {
        let shape = match self.batch_first {
            true => [self.batch, self.time, self.input],
            false => [self.time, self.batch, self.input],
        };
        numbers(self.seed + 100, &shape, 1.0)
    }

    fn model(&self) -> Model {
        let mut graph = Graph::new("layer");
        let x = self.x();
        let fact = Fact::tensor(DType::F32, x.shape().iter().copied());
        let x = graph.add_value("x", fact).unwrap();
        graph.add_input(x);
        for y in self.add(&mut graph, x) {
            graph.add_output(y);
        }
        Model::new(graph, 17)
    }

    /// Compares all outputs on every instruction set and gives the kernels that ran.
    fn check(&self) -> Vec<&'static str> {
        check(&self.model(), self.x())
    }
}

fn check(model: &Model, x: Tensor) -> Vec<&'static str> {
    let expected = Evaluator::new(model)
        .unwrap()
        .run([("x".to_owned(), Value::Tensor(x.clone()))])
        .unwrap();
    let mut kernels = Vec::new();
    for isa in runtime_kernels::Isa::available() {
        let options = SessionOptions::default().with_isa(isa).with_profile();
        let session = Session::new(model.clone(), &options).unwrap();
        // Buffers of the first run, whose contents must not matter, serve the second.
        session.run(&[("x", x.clone())]).unwrap();
        let found = session.run(&[("x", x.clone())]).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            let expected = expected.as_tensor().unwrap();
            assert_eq!(found.shape(), expected.shape());
            let (f, e) = (
                found.data::<f32>().unwrap(),
                expected.data::<f32>().unwrap(),
            );
            for (i, (f, e)) in f.iter().zip(e.iter()).enumerate() {
                assert!((f - e).abs() <= 2e-5, "{isa}, element {i}: {f} is not {e}");
            }
        }
        kernels = session.profile().rows.iter().map(|r| r.kernel).collect();
    }
    kernels
}

fn kernel_of(op: &str) -> &'static str {
    match op {
        "LSTM" => "lstm.f32",
        "GRU" => "gru.f32",
        _ => "rnn.f32",
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let op = prop::sample::select(vec!["LSTM", "GRU", "RNN"]);
    let direction = prop::sample::select(vec!["forward", "reverse", "bidirectional"]);
    let extents = (1..6usize, 1..5usize, 1..9usize, 1..36usize);
    let flags = prop::array::uniform5(any::<bool>());
    let clip = prop::option::of(prop::sample::select(vec![0.3f32, 1.0]));
    let lengths = prop::option::of(prop::collection::vec(0..6i32, 4));
    (op, direction, extents, flags, clip, lengths, 0..1000usize).prop_map(
        |(op, direction, (time, batch, input, hidden), flags, clip, lengths, seed)| {
            let [batch_first, bias, initial, peephole, variant] = flags;
            let lengths = lengths.map(|mut l| {
                l.truncate(batch);
                l.iter().map(|&l| l.min(time as i32)).collect()
            });
            Case {
                op,
                direction,
                batch_first,
                time,
                batch,
                input,
                hidden,
                bias,
                lengths,
                initial,
                peephole,
                clip,
                variant,
                activations: None,
                seed,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn layers_follow_the_reference(case in cases()) {
        prop_assert_eq!(case.check(), [kernel_of(case.op)]);
    }
}

#[test]
fn other_activations_run_by_reference() {
    let names = vec!["Sigmoid", "Relu", "Tanh"];
    let case = Case {
        activations: Some(names),
        ..Case::default()
    };
    assert_eq!(case.check(), ["reference"]);
    let names = vec!["Sigmoid", "Tanh", "Tanh"];
    let case = Case {
        activations: Some(names),
        ..Case::default()
    };
    assert_eq!(case.check(), ["lstm.f32"]);
}

#[test]
fn weights_that_vary_run_by_reference() {
    // One unit of one feature: the weights of the layer are its input too.
    let mut graph = Graph::new("layer");
    let fact = Fact::tensor(DType::F32, [1usize, 1, 1]);
    let x = graph.add_value("x", fact).unwrap();
    graph.add_input(x);
    let y = graph.add_value("y", Fact::Unknown).unwrap();
    let inputs = [x, x, x].map(Some);
    let node = Node::new("RNN", inputs, [y]).with("hidden_size", 1i64);
    graph.add_node(node).unwrap();
    graph.add_output(y);
    let kernels = check(&Model::new(graph, 17), numbers(3, &[1, 1, 1], 1.0));
    assert_eq!(kernels, ["reference"]);
}

#[test]
fn a_layer_in_a_branch_has_its_kernel() {
    let case = Case::default();
    let x = case.x();
    let mut branch = Graph::new("branch");
    let inner = branch.add_value("x", Fact::Unknown).unwrap();
    let y = case.add(&mut branch, inner)[0];
    branch.add_output(y);
    let mut graph = Graph::new("model");
    let fact = Fact::tensor(DType::F32, x.shape().iter().copied());
    let outer = graph.add_value("x", fact).unwrap();
    graph.add_input(outer);
    // A condition that only the run knows.
    let sum = graph.add_value("sum", Fact::Unknown).unwrap();
    let reduce = Node::new("ReduceSum", [outer], [sum]).with("keepdims", 0i64);
    graph.add_node(reduce).unwrap();
    let condition = graph.add_value("condition", Fact::Unknown).unwrap();
    graph
        .add_node(Node::new("Greater", [sum, sum], [condition]))
        .unwrap();
    let y = graph.add_value("y", Fact::Unknown).unwrap();
    let branch = Attribute::Graph(Arc::new(branch));
    let node = Node::new("If", [condition], [y])
        .with("then_branch", branch.clone())
        .with("else_branch", branch);
    graph.add_node(node).unwrap();
    graph.add_output(y);
    let kernels = check(&Model::new(graph, 17), x);
    assert!(kernels.contains(&"lstm.f32"), "{kernels:?}");
}
