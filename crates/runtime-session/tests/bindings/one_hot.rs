//! Products of one-hot rows.

use crate::net::Net;
use compress_tensor::{DType, Tensor};
use onnx_ir::io::code_of_dtype;
use onnx_ir::{Node, ValueId};

/// Integers of -6 to 6 along an axis of one; only 0 to 4 are classes.
fn integers(net: &mut Net, to: DType) -> ValueId {
    let six = net.constant(Tensor::scalar(6.4f32));
    let x = net.op("Mul", &[net.x, six]);
    cast(net, x, to)
}

fn cast(net: &mut Net, x: ValueId, to: DType) -> ValueId {
    let code = i64::from(code_of_dtype(to).unwrap());
    net.node(Node::new("Cast", [Some(x)], [None::<ValueId>; 0]).with("to", code))
}

/// The one-hot rows over five classes times a matrix, with a bias and an activation.
fn embedded(net: &mut Net, classes: ValueId, range: &Tensor) -> ValueId {
    let range = net.constant(range.clone());
    let rows = net.op("Equal", &[classes, range]);
    let rows = cast(net, rows, DType::F32);
    let (w, b) = (net.weight(&[5, 7]), net.weight(&[7]));
    let y = net.op("MatMul", &[rows, w]);
    let y = net.op("Add", &[y, b]);
    net.op("Relu", &[y])
}

#[test]
fn one_hot_rows_times_a_matrix_are_rows_of_a_table() {
    // Floats are rounded to integers by reference evaluation.
    let gather = ["gather.one-hot", "reference", "elementwise.f32"];
    for (to, range) in [
        (DType::I64, Tensor::vector((0..5i64).collect::<Vec<_>>())),
        (
            DType::I32,
            Tensor::from_vec(&[1, 5], (0..5i32).collect::<Vec<_>>()).unwrap(),
        ),
    ] {
        let mut net = Net::new(&[3, 9, 1]);
        let classes = integers(&mut net, to);
        let y = embedded(&mut net, classes, &range);
        net.check_equal(y, &gather);
        // Repeated along the last axis before they are compared, as some exporters write it.
        let mut net = Net::new(&[3, 9, 1]);
        let classes = integers(&mut net, to);
        let shape = net.constant(Tensor::vector(vec![3i64, 9, 5]));
        let classes = net.op("Expand", &[classes, shape]);
        let y = embedded(&mut net, classes, &range);
        net.check_equal(y, &gather);
    }
}

#[test]
fn other_comparisons_and_repetitions_stay_products() {
    let product = "gemm.f32";
    // Not 0, 1, 2, ..
    let mut net = Net::new(&[4, 1]);
    let classes = integers(&mut net, DType::I64);
    let y = embedded(&mut net, classes, &Tensor::vector(vec![0i64, 1, 2, 4, 3]));
    let (found, expected, kernels) = net.run(y);
    assert_eq!(kernels.first(), Some(&product));
    assert!(found.iter().all(|found| *found == expected));
    // Repeated along another axis too.
    let mut net = Net::new(&[4, 1, 1]);
    let classes = integers(&mut net, DType::I64);
    let shape = net.constant(Tensor::vector(vec![4i64, 3, 5]));
    let classes = net.op("Expand", &[classes, shape]);
    let y = embedded(
        &mut net,
        classes,
        &Tensor::vector((0..5i64).collect::<Vec<_>>()),
    );
    let (found, expected, kernels) = net.run(y);
    assert_eq!(kernels.first(), Some(&product));
    assert!(found.iter().all(|found| *found == expected));
}
