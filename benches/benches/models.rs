//! Whole models on one thread, batch 1: those of the data pack (the folder that `MODELPRESS_DATA` names, or `../shared/data`
//! beside the repository), or the demo's classifier where there is none. Beside each stands ONNX Runtime's time, where its
//! library is found: the file that `ORT_DYLIB_PATH` names, or the one in the environment that `cargo xtask test` makes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use compress_tensor::{DType, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use ort::environment::Environment;
use ort::session::Session as Peer;
use ort::value::DynValue;
use runtime_session::{Session, SessionOptions};

/// A model by the name of its bench, its file, and the shapes of its inputs.
struct Case {
    name: &'static str,
    file: &'static str,
    inputs: &'static [(&'static str, &'static [usize])],
}

const DATA_PACK: [Case; 8] = [
    Case {
        name: "resnet8",
        file: "resnet8_cifar10.onnx",
        inputs: &[("input", &[1, 3, 32, 32])],
    },
    Case {
        name: "resnet_large",
        file: "resnet_large_cifar10.onnx",
        inputs: &[("input", &[1, 3, 32, 32])],
    },
    Case {
        name: "dscnn",
        file: "dscnn_kws.onnx",
        inputs: &[("input", &[1, 1, 49, 10])],
    },
    Case {
        name: "ultraface",
        file: "ultraface_rfb_320.onnx",
        inputs: &[("input", &[1, 3, 240, 320])],
    },
    Case {
        name: "magika",
        file: "magika_standard_v3_3.onnx",
        inputs: &[("bytes", &[1, 2048])],
    },
    Case {
        name: "silero",
        file: "silero_vad.onnx",
        inputs: &[("input", &[1, 512]), ("state", &[2, 1, 128]), ("sr", &[])],
    },
    Case {
        name: "minilm 16",
        file: "minilm_l6_v2.onnx",
        inputs: &[
            ("input_ids", &[1, 16]),
            ("attention_mask", &[1, 16]),
            ("token_type_ids", &[1, 16]),
        ],
    },
    Case {
        name: "minilm 128",
        file: "minilm_l6_v2.onnx",
        inputs: &[
            ("input_ids", &[1, 128]),
            ("attention_mask", &[1, 128]),
            ("token_type_ids", &[1, 128]),
        ],
    },
];

const DEMO: [Case; 1] = [Case {
    name: "digits",
    file: "digits_cnn.onnx",
    inputs: &[("image", &[1, 1, 8, 8])],
}];

fn models(c: &mut Criterion) {
    let (folder, cases) = data_pack().map_or_else(
        || (demo(), &DEMO[..]),
        |data| (data.join("models"), &DATA_PACK[..]),
    );
    let onnxruntime = onnxruntime().map(|library| {
        let builder = ort::init_from(library).expect("the library is ONNX Runtime");
        builder.build().expect("ONNX Runtime starts")
    });
    let mut group = c.benchmark_group("models");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    for case in cases {
        let options = SessionOptions::default().with_threads(1);
        let session = Session::load(folder.join(case.file), &options).expect("the model runs");
        let feeds: Vec<(&str, Tensor)> = case
            .inputs
            .iter()
            .map(|&(name, shape)| (name, made_up(&session, name, shape)))
            .collect();
        let mut outputs = Vec::new();
        group.bench_function(case.name, |bench| {
            bench.iter(|| {
                session
                    .run_into(&feeds, &mut outputs)
                    .expect("the inputs suit the model")
            });
        });
        let Some(environment) = &onnxruntime else {
            continue;
        };
        let peer = peer(environment, &folder.join(case.file));
        let mut peer = peer.expect("ONNX Runtime runs the model");
        let feeds: Vec<(&str, DynValue)> = feeds
            .iter()
            .map(|(name, tensor)| (*name, peer_value(tensor)))
            .collect();
        group.bench_function(format!("{} onnxruntime", case.name), |bench| {
            bench.iter(|| {
                let inputs: Vec<_> = feeds.iter().map(|(name, value)| (*name, value)).collect();
                peer.run(inputs).expect("the inputs suit the model");
            });
        });
    }
}

/// ONNX Runtime's library.
fn onnxruntime() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("ORT_DYLIB_PATH") {
        return Some(named.into());
    }
    let environment = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/lib");
    let pythons = std::fs::read_dir(environment).ok()?.flatten();
    let folders = pythons.map(|python| python.path().join("site-packages/onnxruntime/capi"));
    let mut files = folders
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten();
    files.find_map(|file| {
        let path = file.ok()?.path();
        let name = path.file_name()?.to_str()?;
        name.starts_with("libonnxruntime.").then_some(path)
    })
}

/// A session of ONNX Runtime on one thread.
fn peer(environment: &Environment, model: &Path) -> ort::Result<Peer> {
    let mut builder = Peer::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?;
    builder.commit_from_file(model)
}

fn peer_value(tensor: &Tensor) -> DynValue {
    let shape: Vec<i64> = tensor.shape().iter().map(|&n| n as i64).collect();
    macro_rules! of {
        ($t:ty) => {{
            let data = tensor
                .as_slice::<$t>()
                .expect("the tensor is of this type")
                .to_vec();
            let value = ort::value::Tensor::from_array((shape, data));
            value.expect("as many elements as the shape has").into_dyn()
        }};
    }
    match tensor.dtype() {
        DType::F32 => of!(f32),
        DType::I32 => of!(i32),
        DType::I64 => of!(i64),
        other => panic!("no model of the data pack takes {other}"),
    }
}

fn data_pack() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("MODELPRESS_DATA").map_or(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/modelpress-cli/demo")
}

/// Numbers from 0 to 1 for floats, ones for integers, and a rate that the speech model knows.
fn made_up(session: &Session, name: &str, shape: &[usize]) -> Tensor {
    let declared = session.inputs().find(|(input, _)| *input == name);
    let dtype = declared.and_then(|(_, fact)| fact.as_tensor()?.dtype);
    let dtype = dtype.expect("the model declares the input");
    let count = shape.iter().product();
    let elements: Vec<f32> = match (name, dtype) {
        ("sr", _) => vec![16_000.0; count],
        (_, DType::F32) => (0..count).map(|i| (i % 251) as f32 / 250.0).collect(),
        _ => vec![1.0; count],
    };
    let tensor = Tensor::from_vec(shape, elements).expect("as many elements as the shape has");
    tensor
        .cast(dtype, Default::default())
        .expect("small numbers fit any type")
}

criterion_group!(benches, models);
criterion_main!(benches);
