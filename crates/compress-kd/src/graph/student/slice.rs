//! Slices of tensors: some positions of each axis.

use compress_tensor::{Tensor, TensorError};

/// The tensor with the listed positions of each axis, in their order; types of whole bytes only.
pub(super) fn slice(tensor: &Tensor, kept: &[Vec<usize>]) -> Result<Tensor, TensorError> {
    let width = tensor.dtype().bits().unwrap_or(0) / 8;
    let shape: Vec<usize> = kept.iter().map(Vec::len).collect();
    // Bytes from one position of an axis to the next.
    let mut strides = vec![width; kept.len()];
    for axis in (0..kept.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * tensor.shape()[axis + 1];
    }
    let mut starts = vec![0usize];
    for (positions, stride) in kept.iter().zip(&strides) {
        let ahead = starts.iter();
        starts = ahead
            .flat_map(|start| positions.iter().map(move |at| start + at * stride))
            .collect();
    }
    let bytes = tensor.bytes();
    let elements = starts.into_iter().flat_map(|at| &bytes[at..at + width]);
    let bytes: Vec<u8> = elements.copied().collect();
    Tensor::from_bytes(tensor.dtype(), &shape, bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_taken_of_each_axis() {
        let tensor = Tensor::from_vec(&[2, 3, 2], (0..12).map(|n| n as f32).collect()).unwrap();
        let found = slice(&tensor, &[vec![1], vec![0, 2], vec![1]]).unwrap();
        assert_eq!(found.shape(), [1, 2, 1]);
        assert_eq!(found.to_f64_vec().unwrap(), [7.0, 11.0]);
        let whole = slice(&tensor, &[vec![0, 1], vec![0, 1, 2], vec![0, 1]]).unwrap();
        assert_eq!(whole.bytes(), tensor.bytes());
    }
}
