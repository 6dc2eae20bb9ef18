//! Runs, and the shared data where there are some.

use compress_tensor::Tensor;
use onnx_ir::Model;
use runtime_session::{Session, SessionOptions};
use std::path::{Path, PathBuf};

pub(crate) fn run(model: &Model, feeds: &[(&str, Tensor)]) -> Vec<Tensor> {
    let session = Session::new(model.clone(), &SessionOptions::default()).unwrap();
    session.run(feeds).unwrap()
}

/// A file of the shared data (`MODELPRESS_DATA`, or `../shared/data` beside the repository); none where there are none.
pub(crate) fn shared_file(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("MODELPRESS_DATA").map_or(beside, PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        println!("skipped: no shared data (set MODELPRESS_DATA)");
        return None;
    }
    Some(path)
}

/// A model of the shared data; none where there are none.
pub(crate) fn shared_model(name: &str) -> Option<Model> {
    let path = shared_file(&format!("models/{name}"))?;
    Some(Model::load(path).unwrap())
}

/// The largest difference of two tensors of one shape.
pub(crate) fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.shape(), b.shape());
    let (a, b) = (a.to_f64_vec().unwrap(), b.to_f64_vec().unwrap());
    let differences = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f64::max)
}
