//! Integers are exact: quantized models give the same bits on every instruction set and number of threads.

use super::*;
use crate::build::Build;
use runtime_session::Isa;
use std::path::{Path, PathBuf};

/// Kernels of integer regions, of which a model must use those named, so that no float step is what is compared.
fn integer_kernels(session: &Session) -> Vec<&'static str> {
    let rows = session.profile().rows;
    let mut kernels: Vec<_> = rows.iter().map(|row| row.kernel).collect();
    kernels.retain(|kernel| kernel.contains("int8"));
    kernels.sort_unstable();
    kernels.dedup();
    kernels
}

/// Runs the model on every instruction set that the CPU has, by 1, 2 and 3 threads; asks for the same bits of the value `of`
/// (an output where there is none) and for these kernels.
fn assert_bits_agree(model: &Model, samples: &[Sample], of: Option<&str>, kernels: &[&str]) {
    let mut expected: Option<Vec<Vec<u8>>> = None;
    for isa in Isa::available() {
        for threads in [1, 2, 3] {
            let options = SessionOptions::default()
                .with_isa(isa)
                .with_threads(threads)
                .with_profile();
            let session = Session::new(model.clone(), &options).unwrap();
            let found: Vec<Vec<u8>> = samples.iter().map(|s| bits(&session, s, of)).collect();
            let name = isa.name();
            if of.is_none() {
                assert_eq!(integer_kernels(&session), kernels, "{name}");
            }
            // One value everywhere would be equal whatever computed it.
            assert!(
                found
                    .iter()
                    .all(|bytes| bytes != &found[0][..1].repeat(bytes.len()))
            );
            match &expected {
                None => expected = Some(found),
                Some(expected) => assert!(*expected == found, "{name}, {threads} threads"),
            }
        }
    }
}

/// The bytes of all outputs, or of one value.
fn bits(session: &Session, sample: &Sample, of: Option<&str>) -> Vec<u8> {
    let inputs: Vec<(&str, Tensor)> = sample
        .iter()
        .map(|(n, t)| (n.as_str(), t.clone()))
        .collect();
    let outputs = match of {
        None => session.run(&inputs).unwrap(),
        Some(name) => {
            let mut tapped = Vec::new();
            let tap = |_: &str, value: &Tensor| tapped.push(value.clone());
            session.run_with_taps(&inputs, &[name], tap).unwrap();
            tapped
        }
    };
    assert!(!outputs.is_empty());
    outputs.iter().flat_map(|y| y.bytes().to_vec()).collect()
}

/// A block of a mobile network with its residual sum, one with a stride, pooling of both kinds, two branches, a classifier; large
/// enough that its steps are shared out.
fn mobile() -> Model {
    let conv = |group: i64, stride: i64, pad: i64| {
        move |node: Node| {
            node.with("group", group)
                .with("strides", vec![stride; 2])
                .with("pads", vec![pad; 4])
        }
    };
    let pool = |node: Node| {
        node.with("kernel_shape", vec![2i64; 2])
            .with("strides", vec![2i64; 2])
    };
    Build::new(&[1, 3, 40, 40])
        .weight("w0", &[16, 3, 3, 3], 1)
        .weight("b0", &[16], 2)
        .weight("w1", &[48, 16, 1, 1], 3)
        .weight("w2", &[48, 1, 3, 3], 4)
        .weight("w3", &[16, 48, 1, 1], 5)
        .weight("w4", &[32, 16, 3, 3], 6)
        .weight("w5", &[24, 16, 1, 1], 7)
        .weight("w6", &[56, 10], 8)
        .weight("b6", &[10], 9)
        .node_with("Conv", &["x", "w0", "b0"], "c0", conv(1, 1, 1))
        .node("Relu", &["c0"], "r0")
        .node_with("Conv", &["r0", "w1"], "c1", conv(1, 1, 0))
        .node("Relu", &["c1"], "r1")
        .node_with("Conv", &["r1", "w2"], "c2", conv(48, 1, 1))
        .node("Relu", &["c2"], "r2")
        .node_with("Conv", &["r2", "w3"], "c3", conv(1, 1, 0))
        .node("Add", &["c3", "r0"], "sum")
        .node_with("Conv", &["sum", "w4"], "c4", conv(1, 2, 1))
        .node("Relu", &["c4"], "r4")
        .node_with("MaxPool", &["sum"], "p5", pool)
        .node_with("Conv", &["p5", "w5"], "c5", conv(1, 1, 0))
        .node_with("Concat", &["r4", "c5"], "both", |n| n.with("axis", 1i64))
        .node("GlobalAveragePool", &["both"], "mean")
        .node("Flatten", &["mean"], "flat")
        .node("Gemm", &["flat", "w6", "b6"], "y")
        .model(&["y"])
}

#[test]
fn a_quantized_network_gives_the_same_bits_on_every_instruction_set() {
    let (model, data) = (mobile(), samples(&[1, 3, 40, 40], 4));
    let common = [
        "conv.int8",
        "conv.int8.stages",
        "elementwise.int8",
        "gemm.int8",
    ];
    for (format, pool) in [(Format::Qdq, Some("pool.int8")), (Format::QLinear, None)] {
        let mut config = config();
        config.format = format;
        let statistics = statistics(&model, &data, &config);
        let (int8, _) = quantize_static(&model, &statistics, &config).unwrap();
        let kernels: Vec<&str> = common.into_iter().chain(pool).collect();
        assert_bits_agree(&int8, &data, None, &kernels);
    }
}

#[test]
fn products_quantized_as_they_run_give_the_same_bits_on_every_instruction_set() {
    let model = Build::new(&[1, 24, 160])
        .weight("w0", &[160, 320], 1)
        .weight("w1", &[320, 160], 2)
        .node("MatMul", &["x", "w0"], "m0")
        .node("Relu", &["m0"], "r0")
        .node("MatMul", &["r0", "w1"], "y")
        .model(&["y"]);
    let (int8, _) = quantize_dynamic(&model, &QuantizeConfig::default()).unwrap();
    assert_bits_agree(&int8, &samples(&[1, 24, 160], 4), None, &["gemm.int8"]);
}

/// The shared data: `MODELPRESS_DATA`, or `../shared/data` beside the repository.
fn shared_data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("MODELPRESS_DATA").map_or(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

#[test]
fn real_networks_give_the_same_bits_on_every_instruction_set() {
    let Some(data) = shared_data() else {
        println!("skipped: no shared data (set MODELPRESS_DATA)");
        return;
    };
    for (file, input, shape, from, to) in [
        (
            "resnet8_cifar10.onnx",
            "input",
            &[1, 3, 32, 32][..],
            0.0,
            255.0,
        ),
        ("dscnn_kws.onnx", "input", &[1, 1, 49, 10], -123.0, 26.0),
    ] {
        let model = Model::load(data.join("models").join(file)).unwrap();
        let sample = |seed| {
            let numbers = noise(seed, shape.iter().product());
            let scaled = numbers.iter().map(|x| from + (to - from) * (x + 1.0) / 2.0);
            let scaled = Tensor::from_vec(shape, scaled.collect::<Vec<f32>>()).unwrap();
            vec![(input.to_owned(), scaled)]
        };
        let samples: Vec<Sample> = (0..4).map(sample).collect();
        let statistics = statistics(&model, &samples, &config());
        let (int8, _) = quantize_static(&model, &statistics, &config()).unwrap();
        // `Softmax` is a float function: what it reads is compared.
        let graph = &int8.graph;
        let softmax = graph.nodes().find(|(_, node)| node.op_type == "Softmax");
        let read = softmax.and_then(|(_, node)| node.input(0)).unwrap();
        assert_bits_agree(&int8, &samples, Some(graph.name_of(read)), &[]);
    }
}
