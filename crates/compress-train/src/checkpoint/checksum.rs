//! The checksum of a checkpoint: FNV-1a over words of 64 bits.
//!
//! It finds damage, not intent. Each step `h ← (h ⊕ word) · p` maps different `h` and different words to different results, so that
//! one changed word always shows.

use compress_tensor::Tensor;
use std::collections::BTreeMap;

/// 16 hexadecimal digits.
pub(super) fn of(state: &str, tensors: &BTreeMap<String, Tensor>) -> String {
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    hash.bytes(state.as_bytes());
    for (name, tensor) in tensors {
        hash.bytes(name.as_bytes());
        hash.bytes(tensor.dtype().to_string().as_bytes());
        hash.word(tensor.rank() as u64);
        tensor.shape().iter().for_each(|&n| hash.word(n as u64));
        hash.bytes(tensor.bytes());
    }
    format!("{:016x}", hash.0)
}

struct Hash(u64);

impl Hash {
    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// The length, then the bytes as words, the last filled up with zeros.
    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }
}
