//! Quantization: observers, calibration of a model, and all of it, beside `onnxruntime.quantization`.
//!
//! The peer is measured inside its own process, imports left out, where an interpreter with onnxruntime is found:
//! `MODELPRESS_PYTHON`, else `target/venv/bin/python` (`cargo xtask venv` makes it).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use compress_quant::graph::{QuantizeConfig, Rounding, Sample, calibrate, quantize_static};
use compress_quant::{Method, TensorStats};
use compress_tensor::{Tensor, npy};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use onnx_ir::Model;
use runtime_session::SessionOptions;

/// Images that the embedded classifier is calibrated on.
const SAMPLES: usize = 200;

/// A fixed stream of numbers, half of them zero as behind a ReLU.
fn activations(n: usize) -> Vec<f32> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0).max(0.0)
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn observers(c: &mut Criterion) {
    let values = activations(1 << 16);
    let mut group = c.benchmark_group("observe 65,536 activations");
    group.throughput(Throughput::Elements(values.len() as u64));
    let plain = TensorStats::new().without_levels();
    for (name, empty) in [
        ("range", plain.clone().without_histogram()),
        ("range and histogram", plain),
    ] {
        group.bench_function(name, |bench| {
            let mut stats = empty.clone();
            bench.iter(|| stats.observe(&values).expect("the values are finite"));
        });
    }
}

fn models(c: &mut Criterion) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/modelpress-cli/demo/digits_cnn.onnx");
    let model = Model::load(&path).expect("the model is part of the repository");
    let images =
        Tensor::from_vec(&[SAMPLES, 1, 8, 8], activations(SAMPLES * 64)).expect("the shape fits");
    let samples: Vec<Sample> = images
        .as_slice::<f32>()
        .expect("f32 images")
        .chunks(64)
        .map(|x| {
            let x = Tensor::from_vec(&[1, 1, 8, 8], x.to_vec()).expect("the shape fits");
            vec![("image".to_owned(), x)]
        })
        .collect();
    let options = SessionOptions::default().with_threads(0);
    let run = |config: &QuantizeConfig| {
        let samples = samples.iter().map(|s| Ok::<_, String>(s.clone()));
        calibrate(&model, samples, config, &options).expect("the model runs")
    };
    let mut group = c.benchmark_group(format!("digits, {SAMPLES} samples"));
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(2));
    for method in [Method::MinMax, Method::Percentile(99.99), Method::Entropy] {
        for rounding in [Rounding::Nearest, Rounding::Calibrated] {
            let mut config = QuantizeConfig::default();
            (config.method, config.rounding) = (method, rounding);
            group.bench_function(format!("calibrate {method:?} {rounding:?}"), |bench| {
                bench.iter(|| run(&config));
            });
            group.bench_function(format!("quantize {method:?} {rounding:?}"), |bench| {
                bench.iter(|| {
                    let (int8, _) = quantize_static(&model, &run(&config), &config)
                        .expect("it can be quantized");
                    int8.to_bytes().expect("it can be written")
                });
            });
        }
        peer(&mut group, method, &path, &images);
    }
}

/// `onnxruntime.quantization.quantize_static` on the same model and samples.
fn peer(group: &mut BenchmarkGroup<'_, WallTime>, method: Method, model: &Path, images: &Tensor) {
    let Some(python) = interpreter() else { return };
    let folder = std::env::temp_dir().join(format!("modelpress-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    npy::write(folder.join("x.npy"), images).expect("a temporary file");
    let name = match method {
        Method::MinMax => "MinMax",
        Method::Entropy => "Entropy",
        _ => "Percentile",
    };
    group.bench_function(format!("onnxruntime.quantization {name}"), |bench| {
        bench.iter_custom(|times| {
            let output = Command::new(&python)
                .args(["-c", PEER])
                .args([model, &folder])
                .args([name, &times.to_string()])
                .output()
                .expect("the interpreter runs");
            let text = String::from_utf8_lossy(&output.stdout);
            let seconds = text.lines().last().and_then(|l| l.parse().ok());
            let failed = || panic!("{}", String::from_utf8_lossy(&output.stderr));
            Duration::from_secs_f64(seconds.unwrap_or_else(failed))
        });
    });
    // Nothing is lost where it stays.
    let _ = std::fs::remove_dir_all(folder);
}

const PEER: &str = r#"
import sys, time, numpy as np
from onnxruntime.quantization import *
model, folder, method, times = sys.argv[1:]
x = np.load(folder + "/x.npy")
class Reader(CalibrationDataReader):
    def __init__(self): self.rows = iter({"image": x[i:i + 1]} for i in range(len(x)))
    def get_next(self): return next(self.rows, None)
extra = {"CalibPercentile": 99.99} if method == "Percentile" else {}
start = time.perf_counter()
for _ in range(int(times)):
    quantize_static(model, folder + "/q.onnx", Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod[method], extra_options=extra)
print(time.perf_counter() - start)
"#;

fn interpreter() -> Option<PathBuf> {
    let python = std::env::var_os("MODELPRESS_PYTHON").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python"),
        PathBuf::from,
    );
    let mut check = Command::new(&python);
    check.args(["-c", "import onnxruntime.quantization"]);
    let found = check.output().is_ok_and(|o| o.status.success());
    found.then_some(python)
}

criterion_group!(benches, observers, models);
criterion_main!(benches);
