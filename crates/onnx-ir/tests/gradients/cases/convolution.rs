//! Convolution and pooling.

use crate::harness::{Case, case};

fn conv(op: &str, x: &[usize], w: &[usize]) -> Case {
    case(op).real(x, -1.0, 1.0).real(w, -1.0, 1.0)
}

fn pool(op: &str, x: &[usize], kernel: &[i64]) -> Case {
    let kernel = kernel.to_vec();
    case(op).real(x, -1.0, 1.0).with("kernel_shape", kernel)
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        conv("Conv", &[2, 3, 4, 5], &[2, 3, 3, 2])
            .real(&[2], -1.0, 1.0)
            .with("pads", vec![1i64, 0, 1, 1]),
        conv("Conv", &[1, 4, 5, 5], &[4, 2, 2, 2])
            .with("group", 2i64)
            .with("strides", vec![2i64, 1]),
        conv("Conv", &[1, 3, 5, 5], &[3, 1, 3, 3])
            .with("group", 3i64)
            .with("auto_pad", "SAME_UPPER")
            .with("strides", vec![2i64, 2]),
        conv("Conv", &[2, 2, 7], &[3, 2, 3])
            .real(&[3], -1.0, 1.0)
            .with("dilations", vec![2i64])
            .with("strides", vec![2i64]),
        conv("Conv", &[1, 1, 3, 3, 3], &[2, 1, 2, 2, 2]),
        conv("ConvTranspose", &[2, 3, 3, 2], &[3, 2, 3, 2])
            .real(&[2], -1.0, 1.0)
            .with("strides", vec![2i64, 1])
            .with("pads", vec![1i64, 0, 1, 0]),
        conv("ConvTranspose", &[1, 4, 3], &[4, 2, 3])
            .with("group", 2i64)
            .with("strides", vec![2i64])
            .with("output_padding", vec![1i64]),
        conv("ConvTranspose", &[1, 2, 3, 3], &[2, 1, 2, 2])
            .with("dilations", vec![2i64, 2])
            .with("output_shape", vec![6i64, 6])
            .with("strides", vec![2i64, 2]),
        conv("ConvTranspose", &[1, 2, 2, 2, 2], &[2, 1, 2, 2, 2]),
        pool("AveragePool", &[2, 2, 5, 4], &[3, 2])
            .with("pads", vec![1i64, 0, 1, 1])
            .with("strides", vec![2i64, 1]),
        pool("AveragePool", &[1, 2, 5], &[3])
            .with("pads", vec![1i64, 1])
            .with("count_include_pad", 1i64)
            .with("ceil_mode", 1i64)
            .with("strides", vec![2i64]),
        pool("MaxPool", &[2, 2, 5, 4], &[3, 2])
            .with("pads", vec![1i64, 0, 1, 1])
            .with("strides", vec![2i64, 1]),
        pool("MaxPool", &[1, 2, 7], &[2])
            .outputs(2)
            .with("dilations", vec![2i64]),
        pool("LpPool", &[1, 2, 4, 4], &[2, 2])
            .with("p", 3i64)
            .with("strides", vec![2i64, 2]),
        case("GlobalAveragePool").real(&[2, 3, 2, 4], -1.0, 1.0),
        case("GlobalMaxPool").real(&[2, 3, 2, 4], -1.0, 1.0),
        case("GlobalLpPool")
            .real(&[2, 3, 4], -1.0, 1.0)
            .with("p", 3i64),
    ]
}
