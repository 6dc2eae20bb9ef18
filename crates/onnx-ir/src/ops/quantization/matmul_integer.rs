//! `MatMulInteger`: `Y = (A - a_zero_point) · (B - b_zero_point)` in i32.
//! <https://onnx.ai/onnx/operators/onnx__MatMulInteger.html>

use super::integer_matmul::{infer_shape, product};
use crate::operator::prelude::*;

/// `MatMulInteger` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct MatMulInteger;

impl Operator for MatMulInteger {
    const SIGNATURE: Signature = Signature::onnx("MatMulInteger", &[10]);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let shape = infer_shape(&cx.tensor(0)?, &cx.tensor(1)?)?;
        Ok(vec![TensorFact::with_shape(Some(DType::I32), shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let a = (cx.tensor(0)?, cx.optional_tensor(2)?);
        let b = (cx.tensor(1)?, cx.optional_tensor(3)?);
        let product = product(cx, a, b)?;
        Ok(vec![Tensor::from_vec(&product.shape, product.data)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}
