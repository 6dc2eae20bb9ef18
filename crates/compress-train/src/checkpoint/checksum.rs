//! The checksum of a checkpoint: a hash of all that it holds. It finds damage, not intent.

use crate::digest::Hash;
use compress_tensor::Tensor;
use std::collections::BTreeMap;

/// 16 hexadecimal digits.
pub(super) fn of(state: &str, tensors: &BTreeMap<String, Tensor>) -> String {
    let mut hash = Hash::default();
    hash.bytes(state.as_bytes());
    for (name, tensor) in tensors {
        hash.bytes(name.as_bytes());
        hash.bytes(tensor.dtype().to_string().as_bytes());
        hash.word(tensor.rank() as u64);
        tensor.shape().iter().for_each(|&n| hash.word(n as u64));
        hash.bytes(tensor.bytes());
    }
    hash.text()
}
