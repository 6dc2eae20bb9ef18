//! What moves, gathers and scatters elements.

use crate::harness::{Case, case, private};
use compress_tensor::Tensor;

fn real(op: &str, shape: &[usize]) -> Case {
    case(op).real(shape, -1.0, 1.0)
}

fn scales(scales: &[f32]) -> Tensor {
    Tensor::vector(scales.to_vec())
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        real("Reshape", &[2, 6]).ints(&[3], &[3, -1, 2]),
        real("Flatten", &[2, 3, 2]),
        real("Squeeze", &[2, 1, 3, 1]).ints(&[1], &[1]),
        real("Squeeze", &[2, 1, 3]),
        real("Unsqueeze", &[2, 3]).ints(&[2], &[0, -1]),
        real("Transpose", &[2, 3, 4]).with("perm", vec![2i64, 0, 1]),
        real("Transpose", &[2, 3]),
        real("Expand", &[3, 1]).ints(&[3], &[2, 1, 4]),
        real("Concat", &[2, 3])
            .real(&[2, 1], -1.0, 1.0)
            .real(&[2, 2], -1.0, 1.0)
            .with("axis", -1i64),
        real("Concat", &[2, 3]).with("axis", 0i64),
        real("Split", &[5, 2]).ints(&[2], &[2, 3]).outputs(2),
        real("Split", &[5, 2])
            .with("num_outputs", 3i64)
            .outputs(3)
            .ignoring(&[1]),
        real("Slice", &[4, 5])
            .ints(&[2], &[1, -3])
            .ints(&[2], &[3, 1000])
            .ints(&[2], &[0, 1]),
        real("Slice", &[4, 5])
            .ints(&[1], &[-1])
            .ints(&[1], &[-6])
            .ints(&[1], &[1])
            .ints(&[1], &[-2]),
        real("Pad", &[2, 3]).ints(&[4], &[1, 0, 2, -1]),
        real("Pad", &[2, 3])
            .ints(&[2], &[1, 2])
            .real(&[], -1.0, 1.0)
            .ints(&[1], &[1]),
        real("Pad", &[2, 3])
            .ints(&[4], &[1, 2, 0, 1])
            .with("mode", "reflect"),
        real("Pad", &[2, 3])
            .ints(&[4], &[1, 2, 0, 1])
            .with("mode", "edge"),
        real("Pad", &[2, 3])
            .ints(&[4], &[1, 2, 0, 1])
            .with("mode", "wrap"),
        real("Tile", &[2, 3]).ints(&[2], &[2, 3]),
        real("DepthToSpace", &[1, 8, 2, 1]).with("blocksize", 2i64),
        real("DepthToSpace", &[1, 8, 2, 1])
            .with("blocksize", 2i64)
            .with("mode", "CRD"),
        real("SpaceToDepth", &[1, 2, 4, 2]).with("blocksize", 2i64),
        real("Trilu", &[2, 3, 4]).ints(&[], &[1]),
        real("Trilu", &[3, 3]).with("upper", 0i64),
        real("ReverseSequence", &[3, 2, 2]).ints(&[2], &[3, 2]),
        real("CenterCropPad", &[4, 3]).ints(&[2], &[2, 6]),
        real("Gather", &[4, 3]).ints(&[2, 2], &[0, -1, 2, 0]),
        real("Gather", &[2, 4, 2])
            .ints(&[3], &[1, 1, 3])
            .with("axis", 1i64),
        real("Gather", &[4]).ints(&[], &[2]),
        real("GatherElements", &[3, 3]).ints(&[2, 3], &[0, 2, 1, 0, -1, 1]),
        real("GatherND", &[2, 3, 2]).ints(&[3, 2], &[0, 1, 1, 2, 0, 1]),
        real("GatherND", &[2, 3, 2])
            .ints(&[2, 1], &[2, 0])
            .with("batch_dims", 1i64),
        real("Compress", &[3, 2])
            .bools(&[3], &[true, false, true])
            .with("axis", 0i64),
        real("Compress", &[3, 2]).bools(&[5], &[true, false, true, false, true]),
        real("TopK", &[3, 4]).ints(&[1], &[2]).outputs(2),
        real("TopK", &[4, 2])
            .ints(&[1], &[3])
            .outputs(2)
            .with("axis", 0i64)
            .with("largest", 0i64),
        real("ScatterElements", &[3, 3])
            .ints(&[2, 2], &[1, 0, 2, 1])
            .real(&[2, 2], -1.0, 1.0),
        real("ScatterElements", &[3, 3])
            .ints(&[1, 2], &[1, 1])
            .real(&[1, 2], -1.0, 1.0)
            .with("axis", 1i64)
            .with("reduction", "add"),
        real("ScatterElements", &[3, 3])
            .ints(&[2, 2], &[1, 0, 1, 1])
            .real(&[2, 2], 0.5, 1.5)
            .with("reduction", "mul"),
        real("ScatterND", &[3, 2])
            .ints(&[2, 1], &[2, 0])
            .real(&[2, 2], -1.0, 1.0),
        real("ScatterND", &[3, 2])
            .ints(&[2, 1], &[2, 2])
            .real(&[2, 2], -1.0, 1.0)
            .with("reduction", "add"),
        real("TensorScatter", &[2, 4, 2])
            .real(&[2, 2, 2], -1.0, 1.0)
            .ints(&[2], &[1, 3])
            .with("mode", "circular"),
        case("OneHot")
            .ints(&[3], &[0, 2, 1])
            .ints(&[], &[3])
            .real(&[2], -1.0, 1.0),
        real("Resize", &[1, 2, 3, 3])
            .without()
            .without()
            .ints(&[4], &[1, 2, 5, 4])
            .with("mode", "linear"),
        real("Resize", &[1, 1, 4, 3])
            .without()
            .constant(scales(&[1.0, 1.0, 2.0, 1.5])),
        real("Resize", &[1, 1, 6, 5])
            .without()
            .constant(scales(&[1.0, 1.0, 0.5, 0.6]))
            .with("mode", "cubic")
            .with("antialias", 1i64),
        real("Resize", &[5, 4])
            .without()
            .constant(scales(&[1.7]))
            .with("axes", vec![1i64])
            .with("mode", "linear")
            .with("coordinate_transformation_mode", "align_corners"),
        real("Resize", &[3, 4])
            .constant(scales(&[-0.2, 0.1, 0.8, 1.3]))
            .without()
            .ints(&[2], &[4, 5])
            .with("mode", "linear")
            .with("coordinate_transformation_mode", "tf_crop_and_resize"),
        real("MaxUnpool", &[1, 1, 2, 2])
            .ints(&[1, 1, 2, 2], &[1, 6, 8, 15])
            .with("kernel_shape", vec![2i64, 2])
            .with("strides", vec![2i64, 2]),
        real("AffineGrid", &[2, 2, 3]).ints(&[4], &[2, 1, 3, 2]),
        real("AffineGrid", &[1, 3, 4])
            .ints(&[5], &[1, 1, 2, 2, 3])
            .with("align_corners", 1i64),
        private("SeededDropout")
            .real(&[4, 5], -1.0, 1.0)
            .constant(scales(&[0.3]).reshape(&[]).unwrap())
            .ints(&[], &[77])
            .with("stream", 3i64),
        private("ReduceToShape")
            .real(&[2, 3, 2], -1.0, 1.0)
            .ints(&[2], &[3, 1]),
    ]
}
