//! Pictures of 8 by 8 pixels, 0 to 255, of four classes: which quarter is brighter than the rest.

use compress_tensor::Tensor;
use compress_train::data::ArrayDataset;
use compress_train::random::{Purpose, Random};

pub(crate) const SIDE: usize = 8;
pub(crate) const CLASSES: usize = 4;

/// The pixels and the labels of `count` pictures.
pub(crate) fn make(count: usize, seed: u64) -> (Vec<u8>, Vec<i64>) {
    let mut pixels = Vec::with_capacity(count * SIDE * SIDE);
    let mut labels = Vec::with_capacity(count);
    for index in 0..count {
        let mut random = Random::new(seed, Purpose::Custom(0), 0, index as u64);
        let class = random.below(CLASSES as u64) as usize;
        labels.push(class as i64);
        let base = random.between(60.0, 150.0);
        for at in 0..SIDE * SIDE {
            let (bottom, right) = (at / SIDE >= SIDE / 2, at % SIDE >= SIDE / 2);
            let bright = class == 2 * usize::from(bottom) + usize::from(right);
            let level = base + if bright { 40.0 } else { 0.0 } + 25.0 * random.normal();
            pixels.push(level.round().clamp(0.0, 255.0) as u8);
        }
    }
    (pixels, labels)
}

pub(crate) fn dataset(count: usize, seed: u64) -> ArrayDataset {
    let (pixels, labels) = make(count, seed);
    let images = Tensor::from_vec(&[count, 1, SIDE, SIDE], pixels).unwrap();
    ArrayDataset::new([("x", images), ("y", Tensor::vector(labels))]).unwrap()
}
