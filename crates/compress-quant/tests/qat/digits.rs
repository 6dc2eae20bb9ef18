//! The handwritten digits of the demonstration: 8 x 8 pixels from 0 to 15.

use compress_quant::Tensor;
use compress_quant::graph::Sample;
use compress_train::data::ArrayDataset;
use onnx_ir::Model;
use runtime_session::{Session, SessionOptions};
use std::ops::Range;
use std::path::PathBuf;

/// Records before this one are for training.
pub(crate) const TRAINING: usize = 1297;
/// All records.
pub(crate) const ALL: usize = 1797;
/// Two pixels in each byte, and the label.
const RECORD: usize = 33;

/// Pixels and labels of some records.
fn read(range: Range<usize>) -> (Vec<u8>, Vec<u8>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../modelpress-cli/demo/digits.bin");
    let records = std::fs::read(path).unwrap();
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for record in records[range.start * RECORD..range.end * RECORD].chunks(RECORD) {
        pixels.extend(record[..32].iter().flat_map(|b| [b & 15, b >> 4]));
        labels.push(record[32]);
    }
    (pixels, labels)
}

/// The fields `image`, bytes `[1, 8, 8]`, and `label`.
pub(crate) fn dataset(range: Range<usize>) -> ArrayDataset {
    let count = range.len();
    let (pixels, labels) = read(range);
    let images = Tensor::from_vec(&[count, 1, 8, 8], pixels).unwrap();
    ArrayDataset::new([("image", images), ("label", Tensor::vector(labels))]).unwrap()
}

fn images(range: Range<usize>) -> Tensor {
    let count = range.len();
    let pixels = read(range).0.into_iter().map(f32::from).collect();
    Tensor::from_vec(&[count, 1, 8, 8], pixels).unwrap()
}

/// Batches to calibrate with.
pub(crate) fn samples(count: usize) -> Vec<Sample> {
    (0..count)
        .map(|i| vec![("image".to_owned(), images(i * 16..(i + 1) * 16))])
        .collect()
}

/// The logits of a model for some records.
pub(crate) fn logits(model: &Model, range: Range<usize>) -> Vec<f32> {
    let session = Session::new(model.clone(), &SessionOptions::default()).unwrap();
    let outputs = session.run(&[("image", images(range))]).unwrap();
    outputs[0].data::<f32>().unwrap().into_owned()
}

pub(crate) fn classes(logits: &[f32]) -> Vec<usize> {
    let class = |row: &[f32]| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    logits.chunks(10).map(class).collect()
}

/// The share of the held-out records whose class a model finds.
pub(crate) fn accuracy(model: &Model) -> f64 {
    let labels = read(TRAINING..ALL).1;
    let found = classes(&logits(model, TRAINING..ALL));
    let right = found
        .iter()
        .zip(&labels)
        .filter(|(f, l)| **f == usize::from(**l));
    right.count() as f64 / labels.len() as f64
}
