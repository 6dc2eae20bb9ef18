//! What a step holds in memory: later steps work in it, and a budget makes it less at the same gradients.
//!
//! The allocator counts for the whole process; hence one test, so that nothing runs beside it.
#![cfg(feature = "graph")]

use compress_tensor::{DType, Tensor};
use compress_train::data::{ArrayDataset, Batch, BatchPlan, read_batch};
use compress_train::loss::CrossEntropy;
use compress_train::random::{Purpose, Random};
use compress_train::trainer::{Network, NetworkOptions, TrainError};
use onnx_ir::gradient::{ActivationBudget, GradientError};
use onnx_ir::{Attribute, Dim, Fact, Graph, Model, Node, ValueId};
use runtime_session::SessionOptions;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const BLOCKS: usize = 12;
const CHANNELS: usize = 8;
const SIDE: usize = 24;
const SAMPLES: usize = 8;

/// Blocks of convolution, normalisation, activation and a way around them; then dropout, if asked for, and a classifier.
fn model(drops: bool) -> Model {
    let mut random = Random::new(3, Purpose::Initialize, 0, 0);
    let mut graph = Graph::new("deep");
    let shape: [Dim; 4] = [
        Dim::symbol("batch"),
        CHANNELS.into(),
        SIDE.into(),
        SIDE.into(),
    ];
    let mut at = graph
        .add_value("x", Fact::tensor(DType::F32, shape))
        .unwrap();
    graph.add_input(at);
    let mut weight = |graph: &mut Graph, name: String, shape: &[usize], around: f64, by: f64| {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|_| random.between(around - by, around + by) as f32);
        let tensor = Tensor::from_vec(shape, values.collect()).unwrap();
        graph.add_initializer(&name, tensor).unwrap()
    };
    let add = |graph: &mut Graph, name: String, node: Node| -> ValueId {
        let y = graph.add_value(&name, Fact::Unknown).unwrap();
        let node = node.named(name).with_outputs(vec![Some(y)]);
        graph.add_node(node).unwrap();
        y
    };
    const NONE: [ValueId; 0] = [];
    for block in 0..BLOCKS {
        let w = weight(
            &mut graph,
            format!("w{block}"),
            &[CHANNELS, CHANNELS, 3, 3],
            0.0,
            0.12,
        );
        let conv = Node::new("Conv", [at, w], NONE)
            .with("pads", Attribute::Ints(vec![1, 1, 1, 1]))
            .with("kernel_shape", Attribute::Ints(vec![3, 3]));
        let conv = add(&mut graph, format!("conv{block}"), conv);
        let mut parts = vec![conv];
        for (part, around) in [("scale", 1.0), ("shift", 0.0), ("mean", 0.0), ("var", 1.0)] {
            parts.push(weight(
                &mut graph,
                format!("{part}{block}"),
                &[CHANNELS],
                around,
                0.1,
            ));
        }
        let norm = add(
            &mut graph,
            format!("norm{block}"),
            Node::new("BatchNormalization", parts, NONE),
        );
        let relu = add(
            &mut graph,
            format!("relu{block}"),
            Node::new("Relu", [norm], NONE),
        );
        at = add(
            &mut graph,
            format!("sum{block}"),
            Node::new("Add", [at, relu], NONE),
        );
    }
    if drops {
        let ratio = graph
            .add_initializer("ratio", Tensor::scalar(0.25f32))
            .unwrap();
        at = add(
            &mut graph,
            "dropped".into(),
            Node::new("Dropout", [at, ratio], NONE),
        );
    }
    at = add(
        &mut graph,
        "pooled".into(),
        Node::new("GlobalAveragePool", [at], NONE),
    );
    at = add(&mut graph, "flat".into(), Node::new("Flatten", [at], NONE));
    let w = weight(&mut graph, "classifier".into(), &[CHANNELS, 4], 0.0, 0.3);
    at = add(
        &mut graph,
        "logits".into(),
        Node::new("MatMul", [at, w], NONE),
    );
    graph.add_output(at);
    Model::new(graph, 17)
}

fn network(drops: bool, budget: Option<u64>) -> Result<Network, TrainError> {
    let mut options = NetworkOptions::default();
    options.activations = budget.map(|bytes| ActivationBudget {
        bytes,
        symbol: SAMPLES,
    });
    let loss = Arc::new(CrossEntropy::default());
    Network::new(&model(drops), loss, &options, &SessionOptions::default())
}

fn batch() -> Batch {
    let mut random = Random::new(5, Purpose::Initialize, 0, 0);
    let shape = [SAMPLES, CHANNELS, SIDE, SIDE];
    let count: usize = shape.iter().product();
    let x = (0..count).map(|_| random.normal() as f32).collect();
    let labels: Vec<i64> = (0..SAMPLES as i64).map(|i| i % 4).collect();
    let data = ArrayDataset::new([
        ("x", Tensor::from_vec(&shape, x).unwrap()),
        ("label", Tensor::vector(labels)),
    ]);
    let (mut batch, all) = (Batch::default(), (0..SAMPLES).collect::<Vec<_>>());
    read_batch(&data.unwrap(), &BatchPlan::of(&all), &mut batch).unwrap();
    batch
}

/// What a step comes to: the bits of loss, gradients and statistics.
fn bits(network: &mut Network, value: f64) -> Vec<u64> {
    let mut bits = vec![value.to_bits()];
    for gradient in network.gradients().unwrap() {
        bits.extend(gradient.iter().map(|g| u64::from(g.to_bits())));
    }
    for (_, value) in network.state() {
        let values = value.as_slice::<f32>().unwrap().iter();
        bits.extend(values.map(|v| u64::from(v.to_bits())));
    }
    bits
}

/// The bytes that a network holds after its first step, those that the third allocates, and what the steps came to.
fn held(network: &mut Network) -> (usize, usize, Vec<Vec<u64>>) {
    let mut batch = batch();
    let mut found = Vec::new();
    let first = Region::new(ALLOCATOR);
    let value = network.run(&mut batch, 7).unwrap().value;
    let change = first.change();
    let held = change.bytes_allocated as isize + change.bytes_reallocated
        - change.bytes_deallocated as isize;
    found.push(bits(network, value));
    network.run(&mut batch, 8).unwrap();
    let later = Region::new(ALLOCATOR);
    let value = network.run(&mut batch, 9).unwrap().value;
    let allocated = later.change().bytes_allocated;
    found.push(bits(network, value));
    (held as usize, allocated, found)
}

#[test]
fn later_steps_work_in_the_memory_of_the_first_and_a_budget_of_activations_makes_it_less_at_the_same_bits()
 {
    let image = SAMPLES * CHANNELS * SIDE * SIDE * 4;
    for drops in [false, true] {
        let (whole, allocated, expected) = held(&mut network(drops, None).unwrap());
        let error = network(drops, Some(1)).err().unwrap();
        let TrainError::Gradient(GradientError::Memory { bytes: 1, least }) = error else {
            panic!("{error}");
        };
        let (spared, allocated_spared, found) = held(&mut network(drops, Some(least)).unwrap());
        assert!(found == expected);
        println!(
            "{whole} bytes held, {spared} with activations computed anew (least estimate {least}), {allocated} and {allocated_spared} in a later step"
        );
        assert!(spared < whole * 3 / 4, "{spared} of {whole} bytes");
        if !drops {
            // Dropouts have no kernel.
            for allocated in [allocated, allocated_spared] {
                assert!(
                    allocated < whole / 16,
                    "{allocated} of {whole} bytes in a step"
                );
            }
            // What fits is left as it is.
            let (same, _, found) = held(&mut network(drops, Some(u64::MAX)).unwrap());
            assert!(same.abs_diff(whole) < image && found == expected);
        }
    }
}
