//! Digests: short texts that tell one thing from another, made of what a bounded part of it holds.

use crate::data::{Batch, BatchPlan, Column, DataError, Dataset, Values, read_batch};
use compress_tensor::Tensor;

/// Samples of a data set that are looked at.
const SAMPLES: usize = 64;
/// Bytes of a tensor that are looked at.
const BYTES: usize = 4096;

/// FNV-1a over words of 64 bits. It finds differences, not intent: each step `h ← (h ⊕ word) · p` maps different `h` and different
/// words to different results, so that one changed word always shows.
#[derive(Clone, Copy)]
pub(crate) struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    pub(crate) fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// The length, then the bytes as words, the last filled up with zeros.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    /// 16 hexadecimal digits.
    pub(crate) fn text(self) -> String {
        format!("{:016x}", self.0)
    }

    fn shape(&mut self, name: &str, dtype: &str, shape: &[usize]) {
        self.bytes(name.as_bytes());
        self.bytes(dtype.as_bytes());
        self.word(shape.len() as u64);
        shape.iter().for_each(|&n| self.word(n as u64));
    }
}

/// Of a data set: the number of samples, the fields, and the numbers of samples that are evenly spread over it, the first and the last among
/// them; 64 at most.
///
/// # Errors
/// Those of reading the samples.
pub fn of_samples(data: &dyn Dataset) -> Result<String, DataError> {
    let mut hash = Hash::default();
    hash.word(data.len() as u64);
    let looked_at = data.len().min(SAMPLES);
    let mut batch = Batch::default();
    for at in 0..looked_at {
        let index = at * (data.len() - 1) / (looked_at - 1).max(1);
        read_batch(data, &BatchPlan::of(&[index]), &mut batch)?;
        batch
            .columns
            .iter()
            .for_each(|column| of_column(&mut hash, column));
    }
    Ok(hash.text())
}

fn of_column(hash: &mut Hash, column: &Column) {
    let kind = format!("{:?}", column.field.kind);
    hash.shape(&column.field.name, &kind, &column.field.shape);
    match &column.values {
        Values::F32(values) => values
            .iter()
            .for_each(|v| hash.word(u64::from(v.to_bits()))),
        Values::I64(values) => values.iter().for_each(|&v| hash.word(v as u64)),
        Values::U8(values) => hash.bytes(values),
    }
}

/// Of tensors by name: their types, shapes and bytes; of large ones the bytes of blocks that are evenly spread over them, 4096 altogether.
pub fn of_tensors<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> String {
    let mut hash = Hash::default();
    for (name, tensor) in tensors {
        hash.shape(name, tensor.dtype().name(), tensor.shape());
        let bytes = tensor.bytes();
        if bytes.len() <= BYTES {
            hash.bytes(bytes);
            continue;
        }
        let (blocks, block) = (64, BYTES / 64);
        for at in 0..blocks {
            let start = at * (bytes.len() - block) / (blocks - 1);
            hash.bytes(&bytes[start..start + block]);
        }
    }
    hash.text()
}

/// Of the nodes of a graph: their operators, attributes, inputs and outputs.
#[cfg(feature = "graph")]
pub fn of_nodes(graph: &onnx_ir::Graph) -> String {
    let mut hash = Hash::default();
    for (_, node) in graph.nodes() {
        hash.bytes(node.domain.as_bytes());
        hash.bytes(node.op_type.as_bytes());
        hash.bytes(format!("{:?}", node.attributes).as_bytes());
        for values in [node.inputs(), node.outputs()] {
            hash.word(values.len() as u64);
            for value in values {
                hash.bytes(value.map_or("", |value| graph.name_of(value)).as_bytes());
            }
        }
    }
    hash.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ArrayDataset;

    fn data(change: impl Fn(&mut Vec<f32>)) -> ArrayDataset {
        let mut values: Vec<f32> = (0..300).map(|i| i as f32).collect();
        change(&mut values);
        let x = Tensor::from_vec(&[values.len() / 3, 3], values).unwrap();
        ArrayDataset::new([("x", x)]).unwrap()
    }

    #[test]
    fn samples_of_other_numbers_counts_and_names_differ() {
        let of = |data: &ArrayDataset| of_samples(data).unwrap();
        let own = of(&data(|_| {}));
        assert_eq!(own, of(&data(|_| {})));
        for other in [
            data(|v| v[0] = 0.5),
            data(|v| v[299] = 0.5),
            data(|v| v.truncate(297)),
            data(|v| v.clear()),
        ] {
            assert_ne!(own, of(&other));
        }
    }

    #[test]
    fn tensors_of_other_bytes_shapes_and_names_differ() {
        let large = |change: usize| {
            let mut values = vec![1f32; 5000];
            values[change] = 2.0;
            Tensor::vector(values)
        };
        let of = |name, tensor: &Tensor| of_tensors([(name, tensor)]);
        assert_eq!(of("w", &large(0)), of("w", &large(0)));
        assert_ne!(of("w", &large(0)), of("v", &large(0)));
        assert_ne!(of("w", &large(0)), of("w", &large(4999)));
        let (row, column) = (
            Tensor::from_vec(&[1, 2], vec![1f32; 2]).unwrap(),
            Tensor::from_vec(&[2, 1], vec![1f32; 2]).unwrap(),
        );
        assert_ne!(of("w", &row), of("w", &column));
    }
}
