//! A session holds its weights once: the pages of the file behind those that are packed are given back as it is made.
//!
//! The peak of memory is that of a process; hence one test, which runs itself in a fresh one. `cargo xtask study loading` is the
//! same with 1 GiB of weights.
#![cfg(target_os = "linux")]

use compress_tensor::{DType, Tensor};
use onnx_ir::io::{ExternalData, SaveOptions};
use onnx_ir::{Fact, Graph, Model, Node};
use runtime_session::{Session, SessionOptions};
use std::path::Path;
use std::process::Command;

const TEST: &str = "a_session_peaks_below_the_weights_and_a_seventh";
/// Names the model's file to the fresh process.
const FILE: &str = "MODELPRESS_TEST_MODEL";
const WIDTH: usize = 1024;
const LAYERS: usize = 32;

#[test]
fn a_session_peaks_below_the_weights_and_a_seventh() {
    if let Some(file) = std::env::var_os(FILE) {
        return load_and_run(Path::new(&file));
    }
    let folder = tempfile::tempdir().unwrap();
    let external = ExternalData::Always {
        file: None,
        threshold: 1024,
    };
    for (name, data) in [("external", external), ("whole", ExternalData::Never)] {
        let file = folder.path().join(name).with_extension("onnx");
        let options = SaveOptions::with_external_data(data);
        layers(WIDTH, LAYERS).save(&file, &options).unwrap();
        let fresh = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env(FILE, &file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&fresh.stderr);
        assert!(fresh.status.success(), "{name}: {said}");
    }
}

fn load_and_run(file: &Path) {
    // What of the program is brought in when it runs the first time is no memory of the model.
    let small = file.with_extension("small.onnx");
    layers(8, 2).save(&small, &SaveOptions::default()).unwrap();
    run(Model::load(&small).unwrap(), 8);
    let before = resident("VmRSS:");
    let model = Model::load(file).unwrap();
    let loaded = resident("VmHWM:") - before;
    // Where each tensor begins, the system brings in the 64 KiB around.
    let most = (2 << 20) + (LAYERS as u64) * (64 << 10) * 3 / 2;
    assert!(loaded < most, "loading took {loaded} bytes");
    run(model, WIDTH);
    let peak = resident("VmHWM:") - before;
    let weights = (LAYERS * WIDTH * WIDTH * 4) as u64;
    assert!(100 * peak < 115 * weights, "{peak} bytes for {weights}");
}

/// Runs a model of [`layers`] once; each of them keeps a row of ones.
fn run(model: Model, width: usize) {
    let session = Session::new(model, &SessionOptions::default()).unwrap();
    let x = Tensor::full(&[1, width], 1f32).unwrap();
    let y = session.run(&[("x", x)]).unwrap().remove(0);
    assert_eq!(y.as_slice::<f32>().unwrap(), vec![1.0; width]);
}

/// Products whose weights average the rows, each followed by `Relu`.
fn layers(width: usize, count: usize) -> Model {
    let mut g = Graph::new("layers");
    let fact = Fact::tensor(DType::F32, [1, width]);
    let mut x = g.add_value("x", fact).unwrap();
    g.add_input(x);
    for layer in 0..count {
        let w = Tensor::full(&[width, width], 1.0 / width as f32).unwrap();
        let w = g.add_initializer(&format!("w{layer}"), w).unwrap();
        let m = g.add_value(format!("m{layer}"), Fact::Unknown).unwrap();
        let r = g.add_value(format!("r{layer}"), Fact::Unknown).unwrap();
        g.add_node(Node::new("MatMul", [x, w], [m])).unwrap();
        g.add_node(Node::new("Relu", [m], [r])).unwrap();
        x = r;
    }
    g.add_output(x);
    Model::new(g, 17)
}

/// A field of `/proc/self/status`, in bytes.
fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kibibytes.parse::<u64>().unwrap() * 1024
}
