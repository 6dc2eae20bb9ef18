//! `MatMul`: `y = a * b`, matrices in the last two axes, the others broadcast; vectors are taken as a
//! row or a column whose axis the result does not have (NumPy's `matmul`).
//! <https://onnx.ai/onnx/operators/onnx__MatMul.html>. Opset 9 adds integers, 13 bfloat16.

use super::matrix;
use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;

/// `MatMul` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct MatMul;

impl Operator for MatMul {
    const SIGNATURE: Signature = Signature::onnx("MatMul", &[1, 9, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        let shape = match (&a.shape, &b.shape) {
            (Some(a), Some(b)) => Some(matrix::infer(a, b)?),
            _ => None,
        };
        Ok(vec![
            TensorFact::with_shape(a.dtype.or(b.dtype), shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        let y = dispatch!(a.dtype(), T in numbers => matrix::product::<T>(cx, a, b))?;
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::Weighted {
            weight: 1,
            channel_axis: -1,
            bias: None,
        }
    }
}

fn gradient(_: &MatMul, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    matrix::give_product(cx, cx.input(0), cx.input(1), cx.dy(), |a| a, |b| b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_leaves_no_axis_behind() {
        let four = [2i64, 3, 4, 5].map(Dim::from);
        assert_eq!(matrix::infer(&four, &[5i64.into()]).unwrap().len(), 3);
        assert_eq!(
            matrix::infer(&[5i64.into()], &[5i64.into()]).unwrap().len(),
            0
        );
        let error = matrix::infer(&four, &[4i64.into()]).unwrap_err();
        assert_eq!(error.to_string(), "inner sizes must be equal: 5 and 4");
    }
}
