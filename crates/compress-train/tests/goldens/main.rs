//! The numbers of PyTorch, made by `make.py` beside this file.

mod gradients;
mod losses;
mod optimizers;
mod schedules;

use compress_tensor::safetensors::{self, Contents};
use serde::de::DeserializeOwned;
use std::path::Path;

/// A file of goldens, with the cases that it was made for.
struct Goldens<C> {
    contents: Contents,
    cases: C,
}

impl<C: DeserializeOwned> Goldens<C> {
    fn read(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
        let contents = safetensors::read(folder.join(format!("{name}.safetensors"))).unwrap();
        let cases = serde_json::from_str(&contents.metadata["cases"]).unwrap();
        Self { contents, cases }
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        self.contents.tensors[name]
            .data::<f32>()
            .unwrap()
            .into_owned()
    }

    fn f64(&self, name: &str) -> Vec<f64> {
        self.contents.tensors[name]
            .data::<f64>()
            .unwrap()
            .into_owned()
    }
}
