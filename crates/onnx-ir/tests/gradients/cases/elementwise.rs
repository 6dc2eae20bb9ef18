//! Arithmetic and activations; kinks stay two steps away.

use crate::harness::{Case, case, microsoft};
use compress_tensor::Tensor;

fn unary(op: &str, low: f64, high: f64) -> Case {
    case(op).real(&[2, 3], low, high)
}

fn binary(op: &str) -> Vec<Case> {
    let shapes: [[&[usize]; 2]; 4] = [
        [&[2, 3], &[2, 3]],
        [&[2, 3], &[3]],
        [&[1, 3], &[2, 1]],
        [&[], &[2, 2]],
    ];
    shapes
        .into_iter()
        .map(|[a, b]| case(op).real(a, 0.4, 2.3).real(b, 0.6, 2.9))
        .collect()
}

fn scalar(v: f64) -> Tensor {
    Tensor::scalar(v)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = vec![
        unary("Abs", -2.0, 2.0),
        unary("Acos", -0.9, 0.9),
        unary("Acosh", 1.2, 3.0),
        unary("Asin", -0.9, 0.9),
        unary("Asinh", -2.0, 2.0),
        unary("Atan", -2.0, 2.0),
        unary("Atanh", -0.9, 0.9),
        unary("Cos", -2.0, 2.0),
        unary("Cosh", -2.0, 2.0),
        unary("Erf", -2.0, 2.0),
        unary("Exp", -2.0, 2.0),
        unary("Log", 0.3, 3.0),
        unary("Neg", -2.0, 2.0),
        unary("Reciprocal", 0.4, 2.0),
        unary("Sin", -2.0, 2.0),
        unary("Sinh", -2.0, 2.0),
        unary("Sqrt", 0.3, 2.0),
        unary("Tan", -1.2, 1.2),
        unary("Tanh", -2.0, 2.0),
        unary("Identity", -2.0, 2.0),
        unary("Cast", -2.0, 2.0).with("to", 11i64),
        unary("CastLike", -2.0, 2.0).constant(scalar(1.0)),
        unary("Celu", -3.0, 3.0).opset(28).with("alpha", 1.7f32),
        unary("Elu", -3.0, 3.0).with("alpha", 0.7f32),
        unary("Gelu", -3.0, 3.0),
        unary("Gelu", -3.0, 3.0).with("approximate", "tanh"),
        unary("HardSigmoid", -4.0, 4.0),
        unary("HardSwish", -5.0, 5.0),
        unary("LeakyRelu", -2.0, 2.0),
        unary("LogSoftmax", -2.0, 2.0),
        unary("LogSoftmax", -2.0, 2.0).with("axis", 0i64),
        unary("Mish", -3.0, 3.0),
        unary("Relu", -2.0, 2.0),
        unary("Selu", -2.0, 2.0),
        unary("Shrink", -2.0, 2.0).with("bias", 0.3f32),
        unary("Sigmoid", -3.0, 3.0),
        unary("Softmax", -2.0, 2.0),
        case("Softmax")
            .real(&[2, 3, 2], -2.0, 2.0)
            .with("axis", 1i64),
        unary("Softmax", -2.0, 2.0).opset(13),
        case("Softmax").real(&[0, 3], -2.0, 2.0),
        case("Relu").real(&[0, 2], -2.0, 2.0),
        case("Mul").real(&[0, 2], -2.0, 2.0).real(&[2], -2.0, 2.0),
        unary("Softplus", -3.0, 3.0),
        unary("Softsign", -3.0, 3.0),
        unary("Swish", -3.0, 3.0).with("alpha", 1.3f32),
        unary("ThresholdedRelu", -2.0, 3.0),
        case("SwiGLU")
            .opset(28)
            .real(&[2, 3], -2.0, 2.0)
            .real(&[2, 3], -2.0, 2.0),
        case("PRelu")
            .real(&[2, 3, 2], -2.0, 2.0)
            .real(&[3, 1], 0.1, 0.4),
        case("Mod")
            .with("fmod", 1i64)
            .real(&[5], -7.0, 7.0)
            .real(&[1], 1.9, 2.1),
        case("Where")
            .bools(&[2, 1], &[true, false])
            .real(&[2, 3], -1.0, 1.0)
            .real(&[3], -1.0, 1.0),
        unary("Clip", -2.0, 2.0)
            .constant(scalar(-0.77))
            .constant(scalar(0.83)),
        unary("Clip", -2.0, 2.0).without().constant(scalar(0.83)),
        unary("Clip", -2.0, 2.0)
            .real(&[], -0.8, -0.7)
            .real(&[], 0.7, 0.8),
        case("Sum")
            .real(&[2, 3], -1.0, 1.0)
            .real(&[3], -1.0, 1.0)
            .real(&[2, 1], -1.0, 1.0),
        case("Mean").real(&[2, 3], -1.0, 1.0).real(&[3], -1.0, 1.0),
        case("Max")
            .real(&[2, 3], -1.0, 1.0)
            .real(&[3], -1.0, 1.0)
            .real(&[2, 1], -0.3, 0.3),
        case("Min").real(&[2, 3], -1.0, 1.0).real(&[3], -1.0, 1.0),
        case("CumSum").real(&[2, 4], -1.0, 1.0).ints(&[], &[1]),
        case("CumSum")
            .real(&[3, 2], -1.0, 1.0)
            .ints(&[], &[0])
            .with("exclusive", 1i64)
            .with("reverse", 1i64),
        case("CumProd")
            .opset(26)
            .real(&[2, 4], 0.5, 1.5)
            .ints(&[], &[1]),
        case("CumProd")
            .opset(26)
            .real(&[2, 4], 0.5, 1.5)
            .ints(&[], &[1])
            .with("exclusive", 1i64)
            .with("reverse", 1i64),
        case("Pow")
            .real(&[2, 3], 0.4, 2.0)
            .constant(Tensor::scalar(3i64)),
        case("Pow").real(&[2, 3], -2.0, 2.0).constant(scalar(2.0)),
        case("Dropout")
            .with("seed", 5i64)
            .real(&[3, 5], -1.0, 1.0)
            .constant(Tensor::scalar(0.4f32))
            .constant(Tensor::scalar(true)),
        case("Dropout").real(&[3], -1.0, 1.0),
        case("Dropout")
            .opset(13)
            .with("seed", 5i64)
            .outputs(2)
            .real(&[3, 5], -1.0, 1.0)
            .without()
            .constant(Tensor::scalar(true)),
    ];
    for op in ["Add", "Sub", "Mul", "Div", "Pow"] {
        all.extend(binary(op));
    }
    all.extend([
        microsoft("BiasGelu")
            .real(&[2, 3], -2.0, 2.0)
            .real(&[3], -1.0, 1.0),
        microsoft("FastGelu")
            .real(&[2, 3], -2.0, 2.0)
            .real(&[3], -1.0, 1.0),
        microsoft("FastGelu").real(&[2, 3], -2.0, 2.0),
        microsoft("Gelu").real(&[2, 3], -2.0, 2.0),
        microsoft("QuickGelu").real(&[2, 3], -2.0, 2.0),
    ]);
    all
}
