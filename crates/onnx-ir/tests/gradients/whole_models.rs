//! Gradients of whole models against PyTorch's. Models, batches and gradients are made by `goldens/make_goldens.py`.

use crate::harness::{run, sound};
use compress_tensor::Tensor;
use compress_tensor::npz::NpzFile;
use onnx_ir::gradient::{GradientRequest, gradient};
use onnx_ir::{Catalog, Model};
use std::collections::HashMap;
use std::path::Path;

/// What two elements of a gradient may differ by, relative to the largest of the tensor.
const TOLERANCE: f64 = 1e-4;

/// Holds every weight's gradient against the golden one; how many weights there are.
fn judge(name: &str) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gradients/goldens");
    let model = Model::load(folder.join(format!("{name}.onnx"))).unwrap();
    let file = NpzFile::open(folder.join(format!("{name}.npz"))).unwrap();
    let names = file.names().into_iter();
    let arrays: HashMap<String, Tensor> =
        names.map(|n| (n.clone(), file.read(&n).unwrap())).collect();
    let feeds: Vec<(String, Tensor)> = arrays
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("feed/")?.to_owned(), value.clone())))
        .collect();
    let mut weights: Vec<&str> = arrays
        .keys()
        .filter_map(|key| key.strip_prefix("grad/"))
        .collect();
    weights.sort_unstable();
    let loss = model.graph.name_of(model.graph.outputs()[0]).to_owned();
    let request = GradientRequest::of([loss], weights.iter().copied());
    let (trained, report) = gradient(&model, &request, Catalog::standard()).unwrap();
    let trained = sound(&trained).unwrap();
    let outputs = run(&trained, &feeds).unwrap();

    let found = outputs[0].to_f64_vec().unwrap()[0];
    let expected = arrays["loss"].to_f64_vec().unwrap()[0];
    assert!(
        (found - expected).abs() <= 1e-5 * expected.abs(),
        "{name}: loss {found}, not {expected}"
    );
    let first = outputs.len() - weights.len();
    for ((weight, of), found) in weights.iter().zip(&report.gradients).zip(&outputs[first..]) {
        assert_eq!(*weight, of.of);
        let expected = &arrays[&format!("grad/{weight}")];
        assert_eq!(found.shape(), expected.shape(), "{name}: {weight}");
        let (found, expected) = (found.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap());
        let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
        let pairs = found.iter().zip(&expected);
        let worst = pairs.fold(0f64, |m, (f, e)| m.max((f - e).abs()));
        if weight.ends_with("key.bias") {
            // What is added to all scores of a query does not move its shares: the gradient is 0 but for rounding.
            assert!(
                largest < 1e-12 && worst < 1e-7,
                "{name}: {weight} is {worst}"
            );
            continue;
        }
        assert!(
            largest > 1e-6,
            "{name}: {weight} has no gradient to compare"
        );
        assert!(
            worst <= TOLERANCE * largest,
            "{name}: {weight} is off by {worst} of {largest}"
        );
    }
    weights.len()
}

#[test]
fn resnet_8_has_pytorchs_gradients() {
    assert_eq!(judge("resnet8"), 27);
}

#[test]
fn ds_cnn_has_pytorchs_gradients() {
    assert_eq!(judge("ds_cnn"), 29);
}

#[test]
fn a_transformer_of_two_layers_has_pytorchs_gradients() {
    assert_eq!(judge("transformer"), 38);
}

#[test]
fn an_lstm_of_two_layers_has_pytorchs_gradients() {
    assert_eq!(judge("lstm"), 8);
}
