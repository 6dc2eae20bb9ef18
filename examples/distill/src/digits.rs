//! The images of `modelpress demo`; `crates/modelpress-cli/demo/README.md` tells their source and licence.

use ndarray::{Array1, Array2};

const RECORDS: &[u8] = include_bytes!("../../../crates/modelpress-cli/demo/digits.bin");
/// Two pixels in each byte, and the label.
const RECORD: usize = 33;
const HELD_OUT: usize = 500;

/// Images `[n, 64]` with pixels in [0, 1], and their labels `[n]`.
pub(crate) struct Digits {
    pub(crate) images: Array2<f32>,
    pub(crate) labels: Array1<i64>,
}

/// The images to train on, and the last 500, which are held out.
pub(crate) fn load() -> (Digits, Digits) {
    let records: Vec<&[u8]> = RECORDS.chunks_exact(RECORD).collect();
    let (train, test) = records.split_at(records.len() - HELD_OUT);
    (unpack(train), unpack(test))
}

fn unpack(records: &[&[u8]]) -> Digits {
    let pixel = |(image, pixel): (usize, usize)| {
        let packed = records[image][pixel / 2];
        f32::from(if pixel % 2 == 0 {
            packed & 15
        } else {
            packed >> 4
        }) / 15.0
    };
    Digits {
        images: Array2::from_shape_fn((records.len(), 64), pixel),
        labels: records
            .iter()
            .map(|record| i64::from(record[RECORD - 1]))
            .collect(),
    }
}
