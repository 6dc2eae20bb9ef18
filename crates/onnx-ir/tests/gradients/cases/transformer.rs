//! Attention.

use crate::harness::{Case, case};
use compress_tensor::Tensor;

fn attention(q: &[usize], k: &[usize], v: &[usize]) -> Case {
    case("Attention")
        .real(q, -1.0, 1.0)
        .real(k, -1.0, 1.0)
        .real(v, -1.0, 1.0)
}

pub(crate) fn cases() -> Vec<Case> {
    let mask = Tensor::from_vec(&[3, 4], (0..12).map(|i| i % 5 != 1).collect());
    vec![
        attention(&[2, 2, 3, 4], &[2, 2, 4, 4], &[2, 2, 4, 3]),
        attention(&[1, 4, 3, 2], &[1, 2, 4, 2], &[1, 2, 4, 2])
            .with("softcap", 0.7f32)
            .with("is_causal", 1i64),
        attention(&[1, 2, 3, 4], &[1, 2, 4, 4], &[1, 2, 4, 3])
            .real(&[3, 4], -1.0, 1.0)
            .with("scale", 0.6f32),
        attention(&[2, 2, 3, 4], &[2, 1, 4, 4], &[2, 1, 4, 3]).real(&[2, 1, 1, 3], -1.0, 1.0),
        attention(&[1, 3, 4], &[1, 4, 4], &[1, 4, 6])
            .constant(mask.unwrap())
            .with("q_num_heads", 2i64)
            .with("kv_num_heads", 2i64),
        case("RotaryEmbedding")
            .real(&[1, 2, 3, 4], -1.0, 1.0)
            .fed(&[5, 2], -1.0, 1.0)
            .fed(&[5, 2], -1.0, 1.0)
            .ints(&[1, 3], &[0, 3, 1]),
        case("RotaryEmbedding")
            .real(&[1, 3, 8], -1.0, 1.0)
            .fed(&[1, 3, 2], -1.0, 1.0)
            .fed(&[1, 3, 2], -1.0, 1.0)
            .with("num_heads", 2i64)
            .with("interleaved", 1i64),
    ]
}
