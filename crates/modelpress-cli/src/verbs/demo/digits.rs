//! The embedded dataset and network; see `demo/README.md` for their source and licence.

use modelpress::tensor::{Tensor, TensorError};
use std::ops::Range;

/// A convolutional network that was trained on the records before [`TRAINING`].
pub(super) const NETWORK: &[u8] = include_bytes!("../../../demo/digits_cnn.onnx");

const RECORDS: &[u8] = include_bytes!("../../../demo/digits.bin");

/// The number of records that trained the network; those behind are held out.
pub(super) const TRAINING: usize = 1297;

/// The largest value of a pixel.
pub(super) const WHITEST: u8 = 15;

const PIXELS: usize = 64;
/// Two pixels in each byte, and the label.
const RECORD: usize = PIXELS / 2 + 1;

/// Images of 8 x 8 pixels from 0 to 15, and their labels.
pub(super) struct Digits {
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

/// The records; `None` if they are not whole.
pub(super) fn unpack() -> Option<Digits> {
    let mut digits = Digits {
        pixels: Vec::with_capacity(RECORDS.len() * 2),
        labels: Vec::new(),
    };
    let records = RECORDS.chunks_exact(RECORD);
    if !records.remainder().is_empty() {
        return None;
    }
    for record in records {
        let (&label, packed) = record.split_last()?;
        digits
            .pixels
            .extend(packed.iter().flat_map(|b| [b & 15, b >> 4]));
        digits.labels.push(label);
    }
    (digits.len() > TRAINING).then_some(digits)
}

impl Digits {
    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The images `[n, 1, 8, 8]` as bytes.
    pub(super) fn images(&self, records: Range<usize>) -> Result<Tensor, TensorError> {
        let pixels = self.pixels[records.start * PIXELS..records.end * PIXELS].to_vec();
        Tensor::from_vec(&[records.len(), 1, 8, 8], pixels)
    }

    /// The labels `[n]`.
    pub(super) fn labels(&self, records: Range<usize>) -> Tensor {
        Tensor::vector(self.labels[records].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_digit_is_a_zero() {
        let digits = unpack().unwrap();
        assert_eq!(digits.len(), 1797);
        let first = digits.images(0..1).unwrap();
        let pixels = first.as_slice::<u8>().unwrap();
        assert_eq!(
            pixels[..16],
            [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
        );
        assert_eq!(digits.labels(0..3).as_slice::<u8>().unwrap(), [0, 1, 2]);
        let each = (0..10).map(|d| digits.labels.iter().filter(|&&l| l == d).count());
        assert_eq!(
            each.collect::<Vec<_>>(),
            [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
        );
    }
}
