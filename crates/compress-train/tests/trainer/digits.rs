//! The handwritten digits of the demonstration: 8 x 8 pixels from 0 to 15.

use compress_tensor::Tensor;
use compress_train::data::ArrayDataset;
use std::path::PathBuf;

/// Records before this one are for training.
pub(crate) const TRAINING: usize = 1297;
/// Two pixels in each byte, and the label.
const RECORD: usize = 33;

fn records() -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../modelpress-cli/demo/digits.bin");
    std::fs::read(path).unwrap()
}

/// The fields `image`, bytes `[1, 8, 8]` times `scale`, and `label` of some records.
pub(crate) fn dataset(range: std::ops::Range<usize>, scale: u8) -> ArrayDataset {
    let records = records();
    let records = records[range.start * RECORD..range.end * RECORD].chunks(RECORD);
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    for record in records {
        pixels.extend(
            record[..32]
                .iter()
                .flat_map(|b| [(b & 15) * scale, (b >> 4) * scale]),
        );
        labels.push(record[32]);
    }
    let images = Tensor::from_vec(&[range.len(), 1, 8, 8], pixels).unwrap();
    ArrayDataset::new([("image", images), ("label", Tensor::vector(labels))]).unwrap()
}
